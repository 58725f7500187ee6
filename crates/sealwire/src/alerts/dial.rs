//! A connection to whoever is to get an alert: to an address that may be, and with TLS whose
//! certificate is checked.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sealwire_identity::files;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, version};

use super::address::{Place, place};
use crate::cli::Failure;

/// Longest time until a connection is there, and longest for its handshake.
const CONNECT: Duration = Duration::from_secs(10);

/// Why something was not delivered, without anything secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Undelivered {
    pub(crate) reason: String,
    /// After what time the receiver wants to be asked again.
    pub(crate) retry_after: Option<Duration>,
}

impl Undelivered {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry_after: None }
    }
}

/// What a connection is, with TLS or without.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// Connects as the configuration allows.
#[derive(Clone)]
pub(super) struct Dialer {
    allow_private: bool,
    tls: Arc<ClientConfig>,
}

impl Dialer {
    /// Checks servers by the authorities in `ca_cert`, or else by the system's.
    ///
    /// # Errors
    /// If there are none.
    pub(super) fn new(allow_private: bool, ca_cert: Option<&Path>) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        match ca_cert {
            Some(file) => {
                let of_file = |error: String| {
                    Failure::config("[audit.alerts] ca_cert cannot be used")
                        .at(file.display())
                        .because(error)
                        .fix("name a PEM file with the certificates of authorities")
                };
                let pem = files::read_public(file).map_err(|error| of_file(error.to_string()))?;
                for certificate in CertificateDer::pem_slice_iter(&pem) {
                    let certificate = certificate.map_err(|error| of_file(format!("{error:?}")))?;
                    roots.add(certificate).map_err(|error| of_file(error.to_string()))?;
                }
                if roots.is_empty() {
                    return Err(of_file("it holds no certificate".to_owned()));
                }
            }
            None => {
                // Some of a system's are of a kind that nobody can check by.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(Failure::config(
                        "this system has no authorities to check servers by",
                    )
                    .because("[audit.alerts] sends to servers with certificates")
                    .fix("install ca-certificates, or name a PEM file: ca_cert = \"…\""));
                }
            }
        }
        // As everywhere here: TLS 1.3 or nothing. See docs/decisions/0028.
        let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| Failure::new("cannot set TLS up").because(error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { allow_private, tls: Arc::new(tls) })
    }

    /// Connects to the first address of `host` that may be connected to and answers. Without
    /// TLS to come, that is loopback alone.
    pub(super) async fn connect(
        &self,
        host: &str,
        port: u16,
        in_clear: bool,
    ) -> Result<TcpStream, Undelivered> {
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => timeout(CONNECT, lookup_host((host, port)))
                .await
                .map_err(|_| Undelivered::new(format!("{host} could not be resolved in time")))?
                .map_err(|error| Undelivered::new(format!("{host} cannot be resolved: {error}")))?
                .collect(),
        };
        let mut why = Undelivered::new(format!("{host} has no address"));
        for address in addresses {
            if let Err(refused) = self.check(address.ip(), in_clear) {
                why = Undelivered::new(format!("{host} ({}) is {refused}", address.ip()));
                continue;
            }
            match timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // What was asked for is what was got; and nothing in between changed it.
                    let peer = stream.peer_addr().map(|peer| peer.ip());
                    if peer.is_ok_and(|peer| self.check(peer, in_clear).is_ok()) {
                        return Ok(stream);
                    }
                    why = Undelivered::new(format!("{host} is at another address than it said"));
                }
                Ok(Err(error)) => {
                    why = Undelivered::new(format!("{address} cannot be connected to: {error}"));
                }
                Err(_) => why = Undelivered::new(format!("{address} does not answer")),
            }
        }
        Err(why)
    }

    fn check(&self, address: IpAddr, in_clear: bool) -> Result<(), &'static str> {
        match place(address) {
            Place::Never => Err("a link-local or metadata address, to which nothing is ever sent"),
            Place::Loopback | Place::Private if !self.allow_private => {
                Err("a private address, to which nothing is sent unless allow_private = true")
            }
            Place::Public | Place::Private if in_clear => {
                Err("not on this machine, and nothing is sent in the clear beyond it")
            }
            _ => Ok(()),
        }
    }

    /// TLS with `host`, whose certificate must be for that name.
    pub(super) async fn secure(
        &self,
        host: &str,
        stream: impl Stream,
    ) -> Result<TlsStream<impl Stream>, Undelivered> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            Undelivered::new(format!("{host} is no name that a certificate can have"))
        })?;
        let handshake = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream);
        match timeout(CONNECT, handshake).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Undelivered::new(format!("TLS with {host} failed: {error}"))),
            Err(_) => Err(Undelivered::new(format!("TLS with {host} failed: no answer in time"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialer(allow_private: bool) -> Dialer {
        let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&version::TLS13])
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        Dialer { allow_private, tls: Arc::new(tls) }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_not_followed_unless_allowed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost", "::ffff:127.0.0.1", "0.0.0.0"] {
            let refused = dialer(false).connect(host, port, false).await.unwrap_err();
            assert!(refused.reason.contains("to which nothing is"), "{host}: {}", refused.reason);
        }
        dialer(true).connect("127.0.0.1", port, true).await.unwrap();
        // It is "this machine" to the system, and nothing that can be meant.
        dialer(true).connect("0.0.0.0", port, false).await.unwrap_err();
    }

    #[tokio::test]
    async fn metadata_is_never_asked_and_nothing_goes_out_in_the_clear() {
        for host in ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254"] {
            let refused = dialer(true).connect(host, 80, false).await.unwrap_err();
            assert!(refused.reason.contains("link-local"), "{host}: {}", refused.reason);
        }
        for host in ["10.0.0.1", "1.1.1.1"] {
            let refused = dialer(true).connect(host, 25, true).await.unwrap_err();
            assert!(refused.reason.contains("in the clear"), "{host}: {}", refused.reason);
        }
    }
}
