//! Issuing certificates into a home: for whom, and into which files.

use std::fs::{File, TryLockError};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sealwire::config::{SecureMcpConfig, ServerRole};
use sealwire::home::{CertificatePair, Home};
use sealwire::revocations::{MOST_AHEAD, revoked};
use sealwire_identity::join::ServiceCredential;
use sealwire_identity::{
    CertificateAuthority, IssuedCertificate, IssuedLeaf, KeyAlgorithm, LeafRequest, RequestedKey,
    Revocations, TokenUri, files, token_of,
};
use sealwire_names::{Fingerprint, Kind, PeerId, Timestamp};

use crate::cli::{Context, Failure};

/// How long a leaf is valid when nobody says, in days.
pub(crate) const DEFAULT_DAYS: u32 = 90;

/// A certificate to be issued, and where it goes.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) id: PeerId,
    pub(crate) pair: CertificatePair,
}

/// The authority of this home, and the names that it must give nothing that is revoked already.
#[derive(Debug)]
pub(crate) struct Issuer {
    authority: CertificateAuthority,
    revocations: Revocations,
}

/// Whether a certificate and its key are there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Absent,
    Complete,
}

/// Keeps other processes from making keys in this home at the same time. Released when
/// dropped; the operating system releases it when the process dies.
#[derive(Debug)]
pub(crate) struct HomeLock {
    _file: File,
}

impl HomeLock {
    /// Makes the home directory if there is none, and waits for the lock.
    pub(crate) fn acquire(home: &Home) -> Result<Self, Failure> {
        let file = Self::open(home)?;
        file.lock().map_err(|error| Self::failed(home, &error))?;
        Ok(Self { _file: file })
    }

    /// The same without waiting: `None` if somebody else has it.
    pub(crate) fn try_acquire(home: &Home) -> Result<Option<Self>, Failure> {
        let file = Self::open(home)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Self::failed(home, &error)),
        }
    }

    /// The same for what the owner of the home does: root, by `sudo`, would leave files in it that
    /// the owner could not read any more.
    pub(crate) fn acquire_as_owner(home: &Home) -> Result<Self, Failure> {
        Self::check_owner(home)?;
        Self::acquire(home)
    }

    /// The same, and the configuration, which nobody changes until the lock is released. Where that
    /// cannot be used, no home is made either.
    pub(crate) fn with_config(context: &Context) -> Result<(Self, SecureMcpConfig), Failure> {
        Self::check_owner(&context.home)?;
        context.load_config()?;
        let lock = Self::acquire(&context.home)?;
        Ok((lock, context.load_config()?))
    }

    fn check_owner(home: &Home) -> Result<(), Failure> {
        #[cfg(unix)]
        if rustix::process::geteuid().is_root()
            && let Ok(metadata) = std::fs::metadata(home.root())
        {
            let owner = std::os::unix::fs::MetadataExt::uid(&metadata);
            if owner != 0 {
                return Err(Failure::new("this home is another user's")
                    .at(home.root().display())
                    .because(format!(
                        "it belongs to user {owner}, and what root writes there is root's"
                    ))
                    .fix(
                        "run this as that user, without sudo, or name your own home with --home",
                    ));
            }
        }
        #[cfg(not(unix))]
        let _ = home;
        Ok(())
    }

    fn open(home: &Home) -> Result<File, Failure> {
        files::create_private_dir(home.root())?;
        let mut options = File::options();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, files::PRIVATE_FILE);
        options.open(home.lock_file()).map_err(|error| Self::failed(home, &error))
    }

    fn failed(home: &Home, error: &std::io::Error) -> Failure {
        Failure::new("cannot lock the home directory")
            .at(home.lock_file().display())
            .because(error)
            .fix("check that this user owns the home directory")
    }
}

impl Target {
    /// The certificate for `name`. Without a kind: that of an MCP server if one is
    /// served under that name, of an agent if there is one, else of a core.
    pub(crate) fn new(
        config: &SecureMcpConfig,
        name: &str,
        kind: Option<Kind>,
    ) -> Result<Self, Failure> {
        let kind = match kind {
            Some(kind) => kind,
            None => kind_of(config, name)?,
        };
        let id = PeerId::new(config.trust_domain.clone(), kind, name).map_err(|error| {
            Failure::usage(format!("{name:?} cannot be a name"))
                .because(error)
                .fix("choose another")
        })?;
        if kind == Kind::Core && !Home::core_name_is_free(name) {
            let what = format!("a core cannot be called {name:?}: that directory has another use");
            return Err(Failure::usage(what).fix("choose another name"));
        }
        let served = served(config).find(|(server_name, _)| *server_name == name);
        let pair = match served {
            Some((_, pair)) if kind == Kind::McpServer => pair,
            _ => config.layout().pair_of(&id),
        };
        Ok(Self { id, pair })
    }

    /// One for every served server and every agent of the configuration.
    pub(crate) fn all(config: &SecureMcpConfig) -> Result<Vec<Self>, Failure> {
        let servers = served(config).map(|(name, _)| (name, Kind::McpServer));
        let agents = config.agent_security.agents.iter().map(|agent| (agent.as_str(), Kind::Agent));
        servers.chain(agents).map(|(name, kind)| Self::new(config, name, Some(kind))).collect()
    }

    /// Whether it has been issued already.
    pub(crate) fn presence(&self) -> Result<Presence, Failure> {
        // Whether a key in a token is there need not be known: it is used then, and made otherwise.
        let key_exists = match TokenUri::is_in(&self.pair.key) {
            true => self.pair.cert.exists(),
            false => self.pair.key.exists(),
        };
        match (self.pair.cert.exists(), key_exists) {
            (true, true) => Ok(Presence::Complete),
            (false, false) => Ok(Presence::Absent),
            (true, false) => Err(half(&self.pair.cert, &self.pair.key)),
            (false, true) => Err(half(&self.pair.key, &self.pair.cert)),
        }
    }

    /// Issues it and writes both files.
    pub(crate) fn issue(&self, issuer: &Issuer, terms: &Terms) -> Result<IssuedLeaf, Failure> {
        let leaf = issuer.issue(self.token(terms)?.as_ref(), &leaf_request(&self.id, terms))?;
        self.write(&leaf)?;
        Ok(leaf)
    }

    /// The token that the key is in, or is to be made in. One that is in a token stays there: it is
    /// certified again, rather than replaced by one in a file.
    fn token(&self, terms: &Terms) -> Result<Option<TokenUri>, Failure> {
        let present = token_of(&self.pair.key)?;
        if terms.token.is_some() && TokenUri::is_in(&self.pair.key) && present != terms.token {
            return Err(Failure::new(format!(
                "the configuration names another key for {}",
                self.id
            ))
            .at(self.pair.key.display())
            .fix("leave --key out, or change tls_key in the configuration"));
        }
        Ok(terms.token.clone().or(present))
    }

    /// Issues it in the place of an existing pair, which is kept as `.old`, over what was
    /// kept so before.
    pub(crate) fn replace(&self, issuer: &Issuer, terms: &Terms) -> Result<IssuedLeaf, Failure> {
        // Nothing is put aside before there is something to take its place. The key is put
        // aside last: while it is there alone, nobody takes the place for empty.
        let leaf = issuer.issue(self.token(terms)?.as_ref(), &leaf_request(&self.id, terms))?;
        for file in [&self.pair.cert, &self.pair.key].into_iter().filter(|file| file.exists()) {
            std::fs::rename(file, old(file)).map_err(|error| {
                Failure::new("cannot put the old file aside")
                    .at(file.display())
                    .because(error)
                    .fix("check that this user may write to its directory")
            })?;
        }
        self.write(&leaf)?;
        Ok(leaf)
    }

    fn write(&self, leaf: &IssuedLeaf) -> Result<(), Failure> {
        let files = [&self.pair.key, &self.pair.cert].into_iter();
        for file in files.filter(|file| !TokenUri::is_in(file)) {
            file.parent().map_or(Ok(()), files::create_private_dir)?;
        }
        Ok(leaf.write(&self.pair.cert, &self.pair.key)?)
    }
}

/// A server is reached as `localhost` in the first trial; its names for clients that
/// check names are added so that they need not be told.
pub(crate) fn leaf_request(id: &PeerId, terms: &Terms) -> LeafRequest {
    let mut dns = terms.dns.clone();
    let mut ip = terms.ip.clone();
    if id.kind() == Kind::McpServer {
        dns.splice(0..0, [id.name().to_owned(), "localhost".to_owned()]);
        ip.splice(0..0, [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    unique(&mut dns);
    unique(&mut ip);
    LeafRequest {
        id: id.clone(),
        dns,
        ip,
        validity: terms.validity,
        key_algorithm: KeyAlgorithm::EcdsaP256,
    }
}

/// What a certificate says besides the name.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) dns: Vec<String>,
    pub(crate) ip: Vec<IpAddr>,
    pub(crate) validity: Duration,
    /// The key, if it is to be in a token.
    pub(crate) token: Option<TokenUri>,
}

impl Default for Terms {
    fn default() -> Self {
        Self { dns: Vec::new(), ip: Vec::new(), validity: days(DEFAULT_DAYS), token: None }
    }
}

/// A key in a token as the command line names it, with the module that the configuration names.
pub(crate) fn token(
    given: Option<TokenUri>,
    config: &SecureMcpConfig,
) -> Result<Option<TokenUri>, Failure> {
    let Some(uri) = given.map(|uri| uri.or_module(config.pkcs11_module.as_deref())) else {
        return Ok(None);
    };
    if !uri.has_module() {
        return Err(Failure::usage("no module is named that speaks to the token")
            .at(&uri)
            .fix("give module in [pkcs11], or module-path in the URI"));
    }
    Ok(Some(uri))
}

/// So many days.
pub(crate) fn days(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 86_400)
}

/// The authority of this home.
pub(crate) fn open_authority(config: &SecureMcpConfig) -> Result<Issuer, Failure> {
    let home = config.layout();
    if !home.has_authority() {
        return Err(Failure::new("this home has no certificate authority of its own")
            .at(home.ca_key().display())
            .fix(
                "run `sealwire cert bundle NAME` on the machine that has it, and take the \
                  file here with `sealwire init --from-bundle FILE`",
            ));
    }
    let authority = CertificateAuthority::load(&home.ca_dir(), &config.trust_domain)?;
    Ok(Issuer { authority, revocations: Revocations::new(revoked(&home)?) })
}

impl Issuer {
    /// The authority itself.
    pub(crate) fn authority(&self) -> &CertificateAuthority {
        &self.authority
    }

    /// Issues it, and comes back when it is valid: at once, but for a name that was revoked
    /// within this second.
    fn issue(
        &self,
        token: Option<&TokenUri>,
        request: &LeafRequest,
    ) -> Result<IssuedLeaf, Failure> {
        let revoked = self.revocations.of_name(&request.id);
        let leaf = self.authority.issue_in(token, request, revoked)?;
        valid_now(leaf, request, revoked)
    }

    /// The same for a key that somebody else holds.
    pub(crate) fn issue_for(
        &self,
        request: &LeafRequest,
        key: &RequestedKey,
    ) -> Result<IssuedCertificate, Failure> {
        let revoked = self.revocations.of_name(&request.id);
        let leaf = self.authority.issue_for(request, revoked, key)?;
        valid_now(leaf, request, revoked)
    }

    /// What was revoked when this was opened. To issue something because a name is not revoked, go
    /// by this: by what is read at another time, a revocation in between would be taken for one
    /// that what is issued comes after.
    pub(crate) fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// What proves that a service is this authority's own.
    pub(crate) fn service(&self, validity: Duration) -> Result<ServiceCredential, Failure> {
        Ok(ServiceCredential::issue(&self.authority, validity)?)
    }

    /// By which others know it.
    pub(crate) fn key_hash(&self) -> Fingerprint {
        self.authority.key_hash()
    }

    /// The trust anchors of those who get certificates here.
    pub(crate) fn certificate_pem(&self) -> &str {
        self.authority.certificate_pem()
    }
}

/// `leaf`, once it is valid.
fn valid_now<T>(leaf: T, request: &LeafRequest, revoked: Option<Timestamp>) -> Result<T, Failure> {
    let Some(revoked) = revoked else { return Ok(leaf) };
    let valid = Timestamp::from_unix_seconds(revoked.unix_seconds() + 1);
    let left = Timestamp::from(SystemTime::now()).until(valid).unwrap_or_default();
    if left > Duration::from_secs(MOST_AHEAD.unsigned_abs() + 1) {
        return Err(Failure::new(format!(
            "{} was revoked at {revoked}, later than now",
            request.id
        ))
        .because("what is issued would not be valid yet")
        .fix("set the clock, if it is behind; else wait until then"));
    }
    std::thread::sleep(left);
    Ok(leaf)
}

fn served(config: &SecureMcpConfig) -> impl Iterator<Item = (&str, CertificatePair)> {
    config.servers.values().filter_map(|entry| match &entry.role {
        ServerRole::Serve { tls_cert, tls_key, .. } => {
            let pair = CertificatePair { cert: tls_cert.clone(), key: tls_key.clone() };
            Some((entry.server_name.as_str(), pair))
        }
        ServerRole::Local { .. } | ServerRole::Connect { .. } => None,
    })
}

fn kind_of(config: &SecureMcpConfig, name: &str) -> Result<Kind, Failure> {
    if served(config).any(|(server_name, _)| server_name == name) {
        return Ok(Kind::McpServer);
    }
    // A core certificate for the table's name would be of no use to anybody.
    if let Some(entry) = config.servers.get(name)
        && matches!(entry.role, ServerRole::Serve { .. })
    {
        let served_as = &entry.server_name;
        return Err(Failure::usage(format!("{name:?} is served under the name {served_as:?}"))
            .fix(format!("issue the certificate for {served_as}, or say --kind")));
    }
    let agent = config.agent_security.agents.iter().any(|agent| agent.as_str() == name);
    Ok(if agent { Kind::Agent } else { Kind::Core })
}

fn half(present: &Path, missing: &Path) -> Failure {
    Failure::new("a certificate or key lacks its other half")
        .at(present.display())
        .because(format!("{} is missing", missing.display()))
        .fix(format!("put it back, or move {} away and issue again", present.display()))
}

fn old(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".old");
    name.into()
}

fn unique<T: PartialEq + Clone>(list: &mut Vec<T>) {
    let mut seen = Vec::new();
    list.retain(|item| {
        let new = !seen.contains(item);
        seen.push(item.clone());
        new
    });
}
