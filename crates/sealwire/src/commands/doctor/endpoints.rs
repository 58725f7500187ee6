//! The servers that are connected to: is each there, is it the one, does it take us, does it
//! answer?

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use sealwire::Reach;
use sealwire::config::{SecureMcpConfig, ServerEntry, ServerRole};
use sealwire::home::CertificatePair;
use sealwire_guard::AllowAuthenticated;
use sealwire_identity::{VerifiedPeer, is_by_peer};
use sealwire_names::{Refusal, RefusalCode, Timestamp};
use sealwire_relay::link::LinkError;
use sealwire_relay::{ConnectConfig, Connection, Lines};
use tokio::io::{duplex, split};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::finding::{Finding, Id, Severity};
use super::progress::Checks;
use super::report::Report;
use super::{Case, servers, validity};
use crate::commands::mcp::{self, Answered, Failed, Fault};
use crate::commands::out_of_date;

/// Bytes that may wait between us and the link.
const BUFFER: usize = 256 * 1024;
/// How long the serving side may take to end a conversation.
const GOODBYE: Duration = Duration::from_secs(3);

/// Adds a connection to each endpoint.
pub(super) fn reach_all(case: &Case<'_>, report: &Report, checks: &mut Checks) {
    let Some(config) = &case.config else { return };
    for entry in case.entries() {
        let ServerRole::Connect { endpoint, .. } = &entry.role else { continue };
        let target = Target {
            name: entry.name.clone(),
            server_name: entry.server_name.clone(),
            own: presented(config, entry),
            endpoint: endpoint.clone(),
            config_place: case.table(entry),
            patience: case.patience,
            now: case.now,
        };
        let reach = way(config, entry, report);
        checks.add(entry.name.clone(), target.check(reach));
    }
}

/// How to reach an entry as ourselves; `None` if something has been found to be wrong with
/// what we would present: its refusal would be no fault of the other side.
pub(super) fn way(config: &SecureMcpConfig, entry: &ServerEntry, report: &Report) -> Option<Reach> {
    let CertificatePair { cert, key } = presented(config, entry);
    let files = [cert, key];
    let is_wrong = |found: &Finding| {
        let is_ours = files.iter().any(|file| found.place == file.display().to_string());
        found.severity == Severity::Error && is_ours
    };
    if report.findings().any(is_wrong) {
        return None;
    }
    Reach::configured(config, &entry.name, None).ok()
}

/// What we present to the server of an entry.
pub(super) fn presented(config: &SecureMcpConfig, entry: &ServerEntry) -> CertificatePair {
    let (cert, key) = match &entry.role {
        ServerRole::Connect { tls_cert, tls_key, .. } => (tls_cert, tls_key),
        ServerRole::Serve { .. } | ServerRole::Local { .. } => {
            (&config.client_cert, &config.client_key)
        }
    };
    CertificatePair { cert: cert.clone(), key: key.clone() }
}

/// A server to be reached.
pub(super) struct Target {
    pub(super) name: String,
    /// The end of the name in its certificate.
    pub(super) server_name: String,
    /// What we present.
    pub(super) own: CertificatePair,
    pub(super) endpoint: String,
    /// Where the configuration says so.
    pub(super) config_place: String,
    pub(super) patience: Duration,
    pub(super) now: Timestamp,
}

/// A server that was reached and took us.
pub(super) struct Reached {
    pub(super) server: VerifiedPeer,
    pub(super) we_are: String,
    pub(super) answer: Result<Answered, Failed>,
}

impl Target {
    async fn check(self, reach: Option<Reach>) -> Report {
        let mut report = Report::default();
        match (self.lookup().await, reach) {
            (Err(found), _) => report.found(found),
            // What keeps us from presenting ourselves has been found with the files.
            (Ok(()), None) => self.knock(&mut report).await,
            (Ok(()), Some(reach)) => match self.reach(&reach).await {
                Ok(reached) => self.reached(&reached, &mut report),
                Err(error) => report.found(self.failed(&error)),
            },
        }
        report.adjust(0, |finding| finding.of(&self.name));
        report
    }

    async fn lookup(&self) -> Result<(), Finding> {
        let looked_up = timeout(self.patience, lookup_host(&self.endpoint)).await;
        let why = match looked_up {
            Ok(Ok(addresses)) => match addresses.count() {
                0 => "it has no address".to_owned(),
                _ => return Ok(()),
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {:?}", self.patience),
        };
        let host = self.endpoint.rsplit_once(':').map_or(&*self.endpoint, |(host, _)| host);
        let what = format!("the name {host} cannot be resolved: {why}");
        let remedy = format!("correct endpoint in {}, or mend the name service", self.config_place);
        Err(Finding::error(Id::EndpointUnresolved, what).at(&self.endpoint).fix(remedy))
    }

    /// Whether anything listens, where more cannot be tried.
    async fn knock(&self, report: &mut Report) {
        match timeout(self.patience, TcpStream::connect(&self.endpoint)).await {
            Ok(Ok(_)) => {
                let what =
                    "something listens; who it is cannot be tried without a good certificate";
                report.passed(what, &self.endpoint);
            }
            Ok(Err(source)) => {
                let endpoint = self.endpoint.clone();
                report.found(self.failed(&LinkError::Unreachable { endpoint, source }));
            }
            Err(_) => report.found(self.failed(&self.too_late())),
        }
    }

    /// Connects as `connect` does, and asks the server for its tools.
    pub(super) async fn reach(&self, reach: &Reach) -> Result<Reached, LinkError> {
        let mut config: ConnectConfig = reach.trial_config();
        // What the server offers us is asked for; what our own policy leaves of it, `policy` shows.
        config.gate = Arc::new(AllowAuthenticated);
        config.dial.endpoint.clone_from(&self.endpoint);
        config.dial.handshake_timeout = self.patience;
        config.drain_timeout = GOODBYE;
        let max_message = config.dial.max_message;
        let opening = timeout(self.patience, Connection::open(config)).await;
        let mut connection = opening.unwrap_or_else(|_| Err(self.too_late()))?;
        let we_are = connection.we_are().to_owned();
        let Some(server) = connection.server().cloned() else { return Err(self.too_late()) };

        let (ours, theirs) = duplex(BUFFER);
        let (input, output) = split(theirs);
        let lines = Lines::new(input, output, max_message);
        let relaying = connection.relay(lines, std::future::pending());
        let asking = async {
            let (input, output) = split(ours);
            mcp::ask(input, output, max_message, self.patience).await
            // Both halves are dropped: the conversation ends in good order.
        };
        let relaying = async {
            // How it ended shows in what was answered.
            let _ended = relaying.await;
        };
        let (answer, ()) = tokio::join!(asking, relaying);
        Ok(Reached { server, we_are, answer })
    }

    fn ending(&self, server: &VerifiedPeer) -> Option<Finding> {
        let valid = (server.not_before, server.not_after);
        validity::ending(&server.id.to_string(), valid, self.now)
    }

    fn reached(&self, reached: &Reached, report: &mut Report) {
        let Reached { server, we_are, answer } = reached;
        let place = &self.endpoint;
        report.passed(format!("reached {} as {we_are}", server.id), place);
        if let Some(found) = self.ending(server) {
            let remedy = format!(
                "on that machine: sealwire cert issue {} --kind mcp-server --force, and restart \
                 its serve if it has not taken it by itself",
                server.id.name()
            );
            report.found(found.at(place).fix(remedy));
        }
        match answer {
            Ok(answered) => servers::answers(answered, place, report),
            Err(Failed { fault, .. }) => {
                let id = match fault {
                    Fault::Silent(_) => Id::ServerSilent,
                    Fault::Ended(_) => Id::ServerEnded,
                    _ => Id::ServerRefuses,
                };
                let found = Finding::error(id, fault.to_string()).at(place);
                report.found(found.fix(format!(
                    "on that machine, run: sealwire doctor {}; or give it longer: --timeout 120s",
                    server.id.name()
                )));
            }
        }
    }

    fn too_late(&self) -> LinkError {
        LinkError::Timeout { endpoint: self.endpoint.clone(), limit: self.patience }
    }

    /// Why there is no connection, as a finding.
    pub(super) fn failed(&self, error: &LinkError) -> Finding {
        let (place, config) = (&self.endpoint, &self.config_place);
        let found =
            |id: Id, remedy: String| Finding::error(id, error.to_string()).at(place).fix(remedy);
        match error {
            LinkError::Unreachable { source, .. }
                if source.kind() == ErrorKind::ConnectionRefused =>
            {
                found(
                    Id::EndpointClosed,
                    format!(
                        "start `sealwire serve` on that machine, or correct endpoint in {config}"
                    ),
                )
            }
            LinkError::Unreachable { .. } => found(
                Id::EndpointUnreachable,
                format!(
                    "correct endpoint in {config}, or look at the network and the firewalls between"
                ),
            ),
            LinkError::Timeout { .. } => found(
                Id::EndpointSilent,
                format!(
                    "see whether a sealwire, and nothing else, listens there, and whether a \
                     firewall drops packets; correct endpoint in {config}; on a slow network: \
                     --timeout 60s"
                ),
            ),
            LinkError::Interrupted { .. } => found(
                Id::EndpointNotTls,
                format!(
                    "see whether a sealwire, and nothing else, listens there; correct endpoint in {config}"
                ),
            ),
            LinkError::Refused(refusal) => self.refused(refusal),
            LinkError::Declined(word) => found(
                Id::EndpointDeclines,
                match word.as_str() {
                    "server_start" => {
                        "on that machine, run: sealwire doctor; its server cannot be started"
                    }
                    "peer_limit" | "connection_limit" => {
                        "end other sessions, or raise the limit in [listen] there"
                    }
                    "certificate_revoked" => {
                        "our certificate was revoked there: where the authority is, run: sealwire \
                         cert issue NAME --force; on another machine, take a new bundle"
                    }
                    "draining" => "it is just stopping: try again",
                    _ => "see the log of the serving side, and docs/errors.md for the word",
                }
                .to_owned(),
            )
            .because(word.as_str()),
            _ => found(
                Id::EndpointBroken,
                "compare `sealwire --version` on both machines; see the log of the serving side"
                    .into(),
            ),
        }
    }

    /// One end refused the other in the TLS handshake.
    fn refused(&self, refusal: &Refusal) -> Finding {
        use RefusalCode as Code;
        let config = &self.config_place;
        let of_time = out_of_date::remedy(refusal, &self.server_name, &self.own);
        let by_peer = is_by_peer(refusal);
        let (id, remedy) = match (refusal.code, by_peer) {
            _ if let Some(remedy) = of_time => {
                // What is ours has been looked at, and is good by the clock here.
                (if by_peer { Id::ClockSkew } else { Id::EndpointCertificate }, remedy)
            }
            (Code::UnknownServer, _) => (
                Id::EndpointUnknownServer,
                format!(
                    "name it as that machine does, by server_name in {config}; `listening` in the \
                     log of its serve lists what it has"
                ),
            ),
            (Code::TlsProtocol, _) => (
                Id::EndpointNotSealwire,
                format!("correct endpoint in {config}: that is another program's port"),
            ),
            (Code::TlsVersion | Code::TlsParameters, _) => (
                Id::EndpointNotSealwire,
                format!("correct endpoint in {config}, or update that side: TLS 1.3 is needed"),
            ),
            (Code::TlsHandshake, false) => (
                Id::EndpointNotTls,
                format!("correct endpoint in {config}: what answers there does not speak TLS"),
            ),
            (Code::UnknownIssuer, true) => (
                Id::EndpointRejectsUs,
                "that side trusts another authority: take a bundle from the machine that has it \
                 (sealwire cert bundle NAME), here: sealwire init --from-bundle FILE"
                    .into(),
            ),
            (_, true) => (
                Id::EndpointRejectsUs,
                "see the log of the serving side, which names the rule; compare `sealwire cert \
                 list` on both machines"
                    .into(),
            ),
            (code, false) => (Id::EndpointCertificate, certificate_remedy(code, config)),
        };
        let found = Finding::error(id, refusal.reason.as_str()).at(&self.endpoint);
        found.fix(remedy).because(refusal.code.as_str())
    }
}

/// What to do about the certificate that a server presented.
fn certificate_remedy(code: RefusalCode, config: &str) -> String {
    use RefusalCode as Code;
    match code {
        Code::UnknownIssuer => format!(
            "name the authority that issued it, by trusted_ca in {config}; or take a bundle from \
             the machine that has it: sealwire init --from-bundle FILE"
        ),
        Code::PeerName => {
            format!("another server answers there: correct endpoint or server_name in {config}")
        }
        Code::CommonName => format!("correct expected_cn in {config}, or leave it out"),
        Code::TrustDomain => "compare trust_domain under [security] on both machines".into(),
        _ => "on that machine: sealwire cert issue NAME --kind mcp-server --force makes one that \
              keeps the rules"
            .into(),
    }
}
