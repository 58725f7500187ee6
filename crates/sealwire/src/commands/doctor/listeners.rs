//! The addresses that are listened on: free, or taken by a `serve` of ours that is up to
//! date.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use sealwire::Reach;
use sealwire::config::ServerRole;
use sealwire_identity::{describe, files};
use sealwire_names::{Fingerprint, RefusalCode};
use sealwire_relay::link::LinkError;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::endpoints::{Reached, Target};
use super::finding::{Finding, Id};
use super::progress::Checks;
use super::report::Report;
use super::{Case, endpoints, servers};
use crate::commands::health;

/// Adds a look at each address.
pub(super) fn check_all(case: &Case<'_>, report: &Report, checks: &mut Checks) {
    let Some(config) = &case.config else { return };
    let mut listeners: BTreeMap<SocketAddr, Vec<Served>> = BTreeMap::new();
    for entry in case.entries() {
        let ServerRole::Serve { bind_address, tls_cert, .. } = &entry.role else { continue };
        let address = bind_address.unwrap_or(config.listen.address);
        // There is always a free port.
        if address.port() == 0 && address.ip().is_loopback() {
            continue;
        }
        let on_disk = files::read_public(tls_cert).and_then(|pem| describe(&pem, ""));
        listeners.entry(address).or_default().push(Served {
            target: Target {
                name: entry.name.clone(),
                server_name: entry.server_name.clone(),
                own: endpoints::presented(config, entry),
                endpoint: to_dial(address).to_string(),
                config_place: case.table(entry),
                patience: case.patience,
                now: case.now,
            },
            reach: endpoints::way(config, entry, report),
            on_disk: on_disk.ok().and_then(|chain| Some(chain.first()?.fingerprint)),
            serve: case.sealwire("serve"),
        });
    }
    for (address, served) in listeners {
        checks.add(address.to_string(), check(address, served));
    }
    if let Some(admin) = config.admin.address.filter(|admin| admin.port() != 0) {
        checks.add(admin.to_string(), check_admin(admin, case.patience));
    }
}

/// Where health is told: free, or our serve is there and says that it is ready.
async fn check_admin(address: SocketAddr, patience: Duration) -> Report {
    let mut report = Report::default();
    let Err(error) = TcpListener::bind(address).await else {
        report.passed("the address of [admin] can be listened on; no serve runs there", address);
        return report;
    };
    if error.kind() != ErrorKind::AddrInUse {
        report.found(unavailable(address, &error));
        return report;
    }
    match timeout(patience, health::ask(address, "/readyz")).await {
        Ok(Ok((true, answer))) => {
            report.passed("the serve that runs there is ready", address);
            if let Some(reason) = answer["reload_refused"]["reason"].as_str() {
                let what = format!("the serve that runs there goes by older files: {reason}");
                let found = Finding::warning(Id::ServeOutdated, what).at(address);
                report.found(found.fix("put right what it names; serve then takes them by itself"));
            }
        }
        Ok(Ok((false, answer))) => {
            let problems = answer["problems"].as_array().into_iter().flatten();
            let said: Vec<&str> = problems.filter_map(|p| p["what"].as_str()).collect();
            let what = format!("the serve that runs there is not ready: {}", said.join("; "));
            let remedy = "put right what it names; its log says more";
            report.found(Finding::warning(Id::ServeNotReady, what).at(address).fix(remedy));
        }
        Ok(Err(reason)) => report.found(in_use(&address.to_string(), &reason)),
        Err(_) => {
            let why = format!("no answer within {patience:?}");
            report.found(in_use(&address.to_string(), &why));
        }
    }
    report
}

/// A server that is to be found at an address.
struct Served {
    target: Target,
    reach: Option<Reach>,
    /// The certificate in its file.
    on_disk: Option<Fingerprint>,
    /// The command that serves it.
    serve: String,
}

async fn check(address: SocketAddr, served: Vec<Served>) -> Report {
    let mut report = Report::default();
    let Err(error) = TcpListener::bind(address).await else {
        report.passed("the address can be listened on; no serve runs there", address);
        return report;
    };
    if error.kind() != ErrorKind::AddrInUse {
        report.found(unavailable(address, &error));
        return report;
    }
    for served in served {
        let mark = report.mark();
        let answered = served.check(&mut report).await;
        report.adjust(mark, |finding| finding.of(&served.target.name));
        if !answered {
            break;
        }
    }
    report
}

impl Served {
    /// Whether a sealwire answers.
    async fn check(&self, report: &mut Report) -> bool {
        let place = &self.target.endpoint;
        let Some(reach) = &self.reach else {
            let what = "something listens; whether it is our serve cannot be told without a \
                        client certificate";
            report.passed(what, place);
            return false;
        };
        match self.target.reach(reach).await {
            Ok(reached) => {
                self.is_current(&reached, report);
                true
            }
            Err(LinkError::Refused(refusal)) if refusal.code == RefusalCode::UnknownServer => {
                let what = format!("the serve that runs there does not serve {}", self.target.name);
                report.found(self.outdated(what));
                true
            }
            Err(error) => {
                let found = self.target.failed(&error);
                // It speaks for itself if it is a sealwire; anything else is in our way.
                let is_sealwire = found.id == <&str>::from(Id::EndpointDeclines)
                    || found.id == <&str>::from(Id::EndpointRejectsUs);
                report.found(if is_sealwire { found } else { in_use(place, &found.what) });
                is_sealwire
            }
        }
    }

    fn is_current(&self, reached: &Reached, report: &mut Report) {
        let place = &self.target.endpoint;
        if self.on_disk.is_some_and(|on_disk| on_disk != reached.server.fingerprint) {
            let what = format!(
                "the serve that runs there presents another certificate of {} than is in its file",
                reached.server.id
            );
            report.found(self.outdated(what));
        } else {
            report.passed(format!("a serve runs there and presents {}", reached.server.id), place);
        }
        match &reached.answer {
            Ok(answered) => servers::answers(answered, place, report),
            Err(failed) => {
                let (name, fault) = (&self.target.name, failed.fault.to_string());
                let what = format!("{name}, in the serve that runs there: {fault}");
                report.found(self.outdated(what));
            }
        }
    }

    fn outdated(&self, what: String) -> Finding {
        let remedy = format!(
            "see its log for why it has not taken these files, or restart it: {}",
            self.serve
        );
        Finding::warning(Id::ServeOutdated, what).at(&self.target.endpoint).fix(remedy)
    }
}

fn in_use(place: &str, reason: &str) -> Finding {
    let port = place.rsplit(':').next().unwrap_or_default();
    let what = format!("another program listens there ({reason})");
    let remedy = format!(
        "see which: sudo ss -ltnp 'sport = :{port}'; stop it, or choose another port for address \
         or bind_address"
    );
    Finding::error(Id::AddressInUse, what).at(place).fix(remedy)
}

fn unavailable(address: SocketAddr, error: &Error) -> Finding {
    let remedy = match error.kind() {
        ErrorKind::AddrNotAvailable => {
            "write an address of this machine (ip addr shows them) in address or bind_address"
        }
        ErrorKind::PermissionDenied => {
            "choose a port above 1023, or let the program have it: \
             AmbientCapabilities=CAP_NET_BIND_SERVICE in a systemd unit"
        }
        _ => "choose another address",
    };
    let what = format!("cannot be listened on: {error}");
    Finding::error(Id::AddressUnavailable, what).at(address).fix(remedy)
}

/// Where one dials what listens on `address`.
fn to_dial(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
