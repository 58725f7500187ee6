//! Where everything lives: every path below the home directory is made here.

use std::io;
use std::path::{Component, Path, PathBuf};

use sealwire_names::{Kind, PeerId};

/// The name of the configuration file.
pub const CONFIG_FILE: &str = "sealwire.toml";

const STATE_FILE: &str = "state.db";

/// Names of directories below `certs/` that a core's own directory must not take.
const RESERVED: [&str; 4] = ["ca", "mcp-servers", "agents", "users"];

/// The layout of a home directory, which need not exist yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
    state: PathBuf,
}

/// A certificate file and the file with its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePair {
    /// The PEM chain, leaf first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl Home {
    /// The home at `root`, made absolute; a leading `~/` is the user's own directory.
    ///
    /// # Errors
    /// If `root` is empty, or the current directory or the user's own is unknown.
    pub fn at(root: &Path) -> io::Result<Self> {
        Ok(Self::absolute(std::path::absolute(expand(root)?)?))
    }

    /// `~/.sealwire`.
    ///
    /// # Errors
    /// If the user's own directory is unknown.
    pub fn default_location() -> io::Result<Self> {
        Self::at(Path::new("~/.sealwire"))
    }

    /// A root known to be absolute.
    pub(crate) fn absolute(root: PathBuf) -> Self {
        let state = state_of(&root).unwrap_or_else(|| root.clone());
        Self { root, state }
    }

    /// The same home with its state in that directory, an absolute path.
    #[must_use]
    pub fn with_state_dir(self, state: PathBuf) -> Self {
        Self { state, ..self }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The configuration, `sealwire.toml`.
    pub fn config_file(&self) -> PathBuf {
        self.root.join(CONFIG_FILE)
    }

    /// All certificates and their keys.
    pub fn certs_dir(&self) -> PathBuf {
        self.root.join("certs")
    }

    /// The certificate authority's certificate and key.
    pub fn ca_dir(&self) -> PathBuf {
        self.certs_dir().join("ca")
    }

    /// The certificate authority's certificate.
    pub fn ca_cert(&self) -> PathBuf {
        self.ca_dir().join("ca-cert.pem")
    }

    /// The certificate authority's private key.
    pub fn ca_key(&self) -> PathBuf {
        self.ca_dir().join("ca-key.pem")
    }

    /// The certificates of the authority below that one, which issues; while one takes another's
    /// place, of both. Not there where the first one issues itself.
    pub fn issuing_cert(&self) -> PathBuf {
        self.ca_dir().join("issuing-cert.pem")
    }

    /// Its private key.
    pub fn issuing_key(&self) -> PathBuf {
        self.ca_dir().join("issuing-key.pem")
    }

    /// What the root has revoked of those below it, as a list (RFC 5280).
    pub fn root_list(&self) -> PathBuf {
        self.ca_dir().join("root-crl.pem")
    }

    /// Whether certificates can be issued here.
    pub fn has_authority(&self) -> bool {
        self.issuing_key().exists() || self.ca_key().exists()
    }

    /// What an authority that issues here is made of.
    pub fn authority_files(&self) -> [PathBuf; 4] {
        [self.ca_cert(), self.ca_key(), self.issuing_cert(), self.issuing_key()]
    }

    /// The certificate and key of a peer of that kind and name. `name` must be a valid
    /// peer name, so that it cannot lead out of the directory.
    pub fn pair(&self, kind: Kind, name: &str) -> CertificatePair {
        let pair = Self::relative_pair(kind, name);
        CertificatePair { cert: self.root.join(pair.cert), key: self.root.join(pair.key) }
    }

    /// [`Home::pair`], relative to the home, as a configuration names it.
    pub fn relative_pair(kind: Kind, name: &str) -> CertificatePair {
        let dir = Path::new("certs").join(match kind {
            Kind::Core => name,
            Kind::McpServer => "mcp-servers",
            Kind::Agent => "agents",
            Kind::User => "users",
        });
        CertificatePair {
            cert: dir.join(format!("{name}-cert.pem")),
            key: dir.join(format!("{name}-key.pem")),
        }
    }

    /// The certificate and key of `id`, whatever its trust domain.
    pub fn pair_of(&self, id: &PeerId) -> CertificatePair {
        self.pair(id.kind(), id.name())
    }

    /// The keys that sign and decrypt messages.
    pub fn keys_dir(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// This installation's Ed25519 signing key.
    pub fn signing_key(&self) -> PathBuf {
        self.keys_dir().join("ed25519-signing")
    }

    /// The public half of [`Home::signing_key`].
    pub fn signing_public_key(&self) -> PathBuf {
        self.keys_dir().join("ed25519-signing.pub")
    }

    /// The keys of agents, unless the configuration names another directory.
    pub fn agent_keys_dir(&self) -> PathBuf {
        self.keys_dir().join("agents")
    }

    /// What is written while programs run: the home itself, unless the configuration names
    /// another directory. Of a home `/etc/NAME` it is `/var/lib/NAME`, as nothing in `/etc`
    /// changes by itself.
    pub fn state_dir(&self) -> &Path {
        &self.state
    }

    /// What must outlive a process and is no file of its own: messages that wait, who is
    /// quarantined, and what is revoked.
    pub fn state_file(&self) -> PathBuf {
        self.state.join(STATE_FILE)
    }

    /// The state file that would be used if the state were in the home, and is not.
    pub(crate) fn abandoned_state_file(&self) -> Option<PathBuf> {
        (self.state != self.root).then(|| self.root.join(STATE_FILE))
    }

    /// What a running `serve` is reached by.
    pub fn run_dir(&self) -> PathBuf {
        self.state.join("run")
    }

    /// The log of what happened, unless the configuration names another directory.
    pub fn audit_dir(&self) -> PathBuf {
        self.state.join("audit")
    }

    /// The key that signs it: made by the first who writes it, like the log itself.
    pub fn audit_key(&self) -> PathBuf {
        self.state.join("keys").join("audit-signing")
    }

    /// Its public half, with the name of the log: a signed note's verifier key.
    pub fn audit_public_key(&self) -> PathBuf {
        self.state.join("keys").join("audit-signing.pub")
    }

    /// Where a running `serve` takes entries of other processes.
    pub fn audit_socket(&self) -> PathBuf {
        self.run_dir().join("audit.sock")
    }

    /// Where it takes commands.
    pub fn control_socket(&self) -> PathBuf {
        self.run_dir().join("control.sock")
    }

    /// The file that it holds locked.
    pub fn serve_lock(&self) -> PathBuf {
        self.run_dir().join("serve.lock")
    }

    /// The directory with a file for each `connect` that has started a server on this machine.
    pub fn local_dir(&self) -> PathBuf {
        self.run_dir().join("local")
    }

    /// The file that changes whenever the quarantine does, or something is revoked.
    pub fn quarantine_stamp(&self) -> PathBuf {
        self.run_dir().join("quarantine")
    }

    /// The file that whoever makes keys or certificates holds locked meanwhile.
    pub fn lock_file(&self) -> PathBuf {
        self.root.join(".lock")
    }

    /// `path` below the home unless it is absolute or starts with `~/`.
    ///
    /// # Errors
    /// If `path` starts with `~/` and the user's own directory is unknown.
    pub fn resolve(&self, path: &str) -> io::Result<PathBuf> {
        Ok(self.root.join(expand(Path::new(path))?))
    }

    /// Whether a core may have this name: its directory stands beside those of the
    /// other kinds, and must not be one of them on any file system.
    pub fn core_name_is_free(name: &str) -> bool {
        !RESERVED.iter().any(|taken| taken.eq_ignore_ascii_case(name))
    }
}

/// The user's own directory for a leading `~/`, from the environment or, where that is
/// stripped, from the user database. `~name` is left alone.
fn expand(path: &Path) -> io::Result<PathBuf> {
    let Ok(rest) = path.strip_prefix("~") else { return Ok(path.to_owned()) };
    let own = std::env::home_dir().filter(|own| own.is_absolute()).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, "the user's home directory is unknown")
    })?;
    Ok(own.join(rest))
}

/// Where the state of a home in `/etc` is, by the Filesystem Hierarchy Standard (5.8).
fn state_of(root: &Path) -> Option<PathBuf> {
    let name = root.strip_prefix("/etc").ok()?;
    let mut parts = name.components();
    let one = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    one.then(|| Path::new("/var/lib").join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_documented_one() {
        let home = Home::at(Path::new("/h")).unwrap();
        for (path, text) in [
            (home.config_file(), "/h/sealwire.toml"),
            (home.ca_cert(), "/h/certs/ca/ca-cert.pem"),
            (home.ca_key(), "/h/certs/ca/ca-key.pem"),
            (home.pair(Kind::Core, "core").cert, "/h/certs/core/core-cert.pem"),
            (home.pair(Kind::McpServer, "gh").key, "/h/certs/mcp-servers/gh-key.pem"),
            (home.pair(Kind::Agent, "A").cert, "/h/certs/agents/A-cert.pem"),
            (home.pair(Kind::User, "ann").cert, "/h/certs/users/ann-cert.pem"),
            (home.signing_key(), "/h/keys/ed25519-signing"),
            (home.signing_public_key(), "/h/keys/ed25519-signing.pub"),
        ] {
            assert_eq!(path, Path::new(text));
        }
    }

    #[test]
    fn the_state_is_in_the_home_unless_that_is_in_etc() {
        for (root, state) in [
            ("/h", "/h"),
            ("/etc/sealwire", "/var/lib/sealwire"),
            ("/etc/sealwire/", "/var/lib/sealwire/"),
            ("/etc", "/etc"),
            ("/etc/a/b", "/etc/a/b"),
            ("/etc/..", "/etc/.."),
        ] {
            let home = Home::at(Path::new(root)).unwrap();
            assert_eq!(home.state_dir(), Path::new(state));
            assert_eq!(home.control_socket(), Path::new(state).join("run/control.sock"));
        }
        let home = Home::at(Path::new("/h")).unwrap().with_state_dir("/s".into());
        assert_eq!(home.state_file(), Path::new("/s/state.db"));
        assert_eq!(home.config_file(), Path::new("/h/sealwire.toml"));
    }

    #[test]
    fn paths_resolve_against_the_home_or_the_users_own() {
        let home = Home::at(Path::new("/h")).unwrap();
        let own = std::env::home_dir().unwrap();
        assert_eq!(home.resolve("a/b").unwrap(), Path::new("/h/a/b"));
        assert_eq!(home.resolve("/etc/x").unwrap(), Path::new("/etc/x"));
        assert_eq!(home.resolve("~/x").unwrap(), own.join("x"));
        assert_eq!(home.resolve("~x/y").unwrap(), Path::new("/h/~x/y"));
        assert_eq!(Home::default_location().unwrap().root(), own.join(".sealwire"));
        assert!(Home::at(Path::new("")).is_err());
    }

    #[test]
    fn a_core_cannot_take_the_place_of_the_authority() {
        for name in ["ca", "CA", "mcp-servers", "agents", "users"] {
            assert!(!Home::core_name_is_free(name), "{name}");
        }
        assert!(Home::core_name_is_free("core"));
    }
}
