//! Joining: one connection, one request, one answer.

use std::io;
use std::time::SystemTime;

use sealwire_identity::join::{Binding, JoinLine, Secret, Side, client_config, tls_exporter};
use sealwire_identity::{KeyAlgorithm, KeyRequest, describe, io_refusal};
use sealwire_names::RefusalCode;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::PATIENCE;
use super::wire::{self, Answer, Grant, Request, Servers, VERSION, Why};
use crate::cli::Failure;
use crate::commands::out_of_date::CLOCKS;

/// What one has after joining.
pub(crate) struct Joined {
    pub(crate) id: String,
    /// PEM, as they came.
    pub(crate) certificate: String,
    pub(crate) ca_cert: String,
    pub(crate) key: KeyRequest,
    pub(crate) servers: Servers,
}

/// Joins by a line: makes a key, and has it certified.
pub(crate) async fn join(line: &JoinLine) -> Result<Joined, Failure> {
    let key = KeyRequest::generate(KeyAlgorithm::EcdsaP256)?;
    let late = || {
        Failure::new("the service to join at does not answer")
            .at(&line.address)
            .because(format!("{} s have passed", PATIENCE.as_secs()))
    };
    let grant = timeout(PATIENCE, exchange(line, &key)).await.map_err(|_| late())??;
    let trusted = describe(grant.ca_cert.as_bytes(), "the answer")?;
    if !trusted.iter().any(|authority| authority.key_hash == line.authority) {
        return Err(broken(line, "it trusts another authority than the line names"));
    }
    let Grant { id, certificate, ca_cert, servers } = grant;
    Ok(Joined { id, certificate, ca_cert, key, servers })
}

async fn exchange(line: &JoinLine, key: &KeyRequest) -> Result<Grant, Failure> {
    let tcp = TcpStream::connect(&line.address).await;
    let tcp = tcp.map_err(|error| unreachable_service(line, &error))?;
    let name = tcp.peer_addr().map(|address| ServerName::from(address.ip()));
    let name = name.map_err(|error| unreachable_service(line, &error))?;
    let connector = TlsConnector::from(client_config(line.authority)?);
    let mut stream = connector.connect(name, tcp).await.map_err(|error| not_it(line, &error))?;
    let binding = Binding { exporter: tls_exporter(stream.get_ref().1)?, request: key.digest() };
    let secret = line.token.secret();
    let request = Request {
        version: VERSION,
        invitation: wire::encode(&line.token.id()),
        certificate_request: key.request_pem().to_owned(),
        proof: wire::encode(&secret.prove(Side::Client, &binding)),
    };
    let lost = |error: io::Error| {
        Failure::new("the connection to the service was lost")
            .at(&line.address)
            .because(error)
            .fix("try again; if the invitation is used up then, ask for another")
    };
    wire::write(&mut stream, &request).await.map_err(lost)?;
    let answer = wire::read(&mut stream, wire::MAX_ANSWER).await.map_err(lost)?;
    granted(line, &secret, &binding, answer)
}

/// What was granted, if it was by somebody who knows the invitation.
fn granted(
    line: &JoinLine,
    secret: &Secret,
    binding: &Binding,
    answer: Answer,
) -> Result<Grant, Failure> {
    match answer {
        Answer::Granted { grant, proof } => {
            let side = Side::Service { answer: grant.as_bytes() };
            let proof = wire::decode(&proof).unwrap_or_default();
            if !secret.verify(side, binding, &proof) {
                return Err(broken(line, "it does not know the invitation"));
            }
            serde_json::from_str(&grant)
                .map_err(|_| broken(line, "what it grants is not as it must be"))
        }
        Answer::Refused { why } => Err(refused(why)),
    }
}

fn refused(why: Why) -> Failure {
    let reason = match why {
        Why::Unproven => {
            "it is not known there: it may be mistyped, withdrawn, or spoilt by wrong attempts"
        }
        Why::Used => "it has been used: if not by you, somebody else has joined in your place",
        Why::Expired => "it has expired",
        Why::Revoked => "the name that it is for was revoked since",
        Why::Malformed => "the service does not understand the request",
        Why::Failed | Why::NotJoined => "the service failed; its log tells why",
    };
    let remedy = match why {
        Why::Used => "tell whoever invited you; he sees in `cert list` and the audit log who has",
        Why::Malformed => "use the same release on both machines",
        _ => "ask for another: `sealwire invite NAME` where the authority is",
    };
    Failure::new("the invitation was not accepted").because(reason).fix(remedy)
}

fn unreachable_service(line: &JoinLine, error: &io::Error) -> Failure {
    Failure::new("the service to join at cannot be reached").at(&line.address).because(error).fix(
        "see that `sealwire ca serve` runs there, and that the address can be reached from here \
         (`sealwire invite --address HOST:PORT`)",
    )
}

/// TLS did not come about. Nothing has been sent that the line is needed for.
fn not_it(line: &JoinLine, error: &io::Error) -> Failure {
    let refusal = io_refusal(error);
    let failure = Failure::new("this is not the service that the line names").at(&line.address);
    let failure = failure.because(&refusal);
    match refusal.code {
        RefusalCode::CertificateExpired | RefusalCode::CertificateNotYetValid => {
            let now = sealwire_names::Timestamp::from(SystemTime::now());
            failure.fix(format!("{CLOCKS}; it is {now} here"))
        }
        _ => failure.fix(
            "see that `sealwire ca serve` of the home that printed the line listens there; if it \
             does, somebody is between you: nothing secret was sent to him",
        ),
    }
}

fn broken(line: &JoinLine, why: &str) -> Failure {
    Failure::new("the service's answer cannot be believed")
        .at(&line.address)
        .because(why)
        .fix("ask whoever runs it; nothing was changed here")
}
