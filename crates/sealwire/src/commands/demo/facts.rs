//! What the handshake shows, and who does not get through it.

use std::io;
use std::sync::Arc;

use sealwire::{AdHoc, Reach};
use sealwire_identity::{files, io_refusal, parse_pem_certificates, provider};
use sealwire_relay::Connection;
use sealwire_relay::link::{ALPN, Dialer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, version};

use super::stage::Stage;
use super::{Refused, Tls};
use crate::cli::Failure;

/// Connects as the home's own client: what was agreed, and the server's verified name.
pub(super) async fn handshake(stage: &mut Stage) -> Result<(Tls, String), Failure> {
    let reach = Reach::unconfigured(&stage.config, "demo", &stage.address)?;
    let dialed = Dialer::new(reach.dial().clone()).dial().await.map_err(sealwire::Error::from)?;
    let session = dialed.stream.get_ref().1;
    let tls = Tls {
        version: session.protocol_version().map_or_else(String::new, |version| {
            format!("{version:?}").replace("TLSv1_3", "TLSv1.3")
        }),
        suite: session
            .negotiated_cipher_suite()
            .map_or_else(String::new, |suite| format!("{:?}", suite.suite())),
        group: session
            .negotiated_key_exchange_group()
            .map_or_else(String::new, |group| format!("{:?}", group.name())),
    };
    let server = dialed.server.id.to_string();
    drop(dialed);
    // It left without a hello, which the serving side takes for a refusal of its own.
    stage.next_refusal().await?;
    Ok((tls, server))
}

/// Someone who is not to get in.
#[derive(Clone, Copy)]
pub(super) enum Attempt {
    WithoutCertificate,
    WithStrangersCertificate,
}

impl Attempt {
    pub(super) const ALL: [Self; 2] = [Self::WithoutCertificate, Self::WithStrangersCertificate];

    fn case(self) -> &'static str {
        match self {
            Self::WithoutCertificate => "no client certificate",
            Self::WithStrangersCertificate => "another authority's certificate",
        }
    }

    /// The code under which the serving side has to log it.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::WithoutCertificate => "certificate_missing",
            Self::WithStrangersCertificate => "unknown_issuer",
        }
    }

    /// Tries, and sees what both sides say about it.
    pub(super) async fn make(self, stage: &mut Stage) -> Result<Refused, Failure> {
        let told = match self {
            Self::WithoutCertificate => without_certificate(stage).await?,
            Self::WithStrangersCertificate => with_strangers_certificate(stage).await?,
        };
        let reason = match &told {
            Some(_) => Some(stage.next_refusal().await?),
            None => None,
        };
        Ok(Refused { case: self.case(), reason, told })
    }
}

/// A client that trusts the server but shows no certificate; what it is told.
async fn without_certificate(stage: &Stage) -> Result<Option<String>, Failure> {
    let cannot = |error: &dyn std::fmt::Display| {
        Failure::new("cannot try without a certificate").because(error)
    };
    let pem = files::read_public(&stage.config.ca_cert)?;
    let mut roots = RootCertStore::empty();
    for anchor in parse_pem_certificates(&pem).map_err(|error| cannot(&error))? {
        roots.add(anchor).map_err(|error| cannot(&error))?;
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|error| cannot(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    let name = ServerName::try_from("demo").map_err(|error| cannot(&error))?;
    let tcp = TcpStream::connect(&stage.address).await.map_err(|error| cannot(&error))?;
    let exchange = async {
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        // In TLS 1.3 the server's verdict on the client comes after the handshake.
        stream.flush().await?;
        match stream.read(&mut [0; 16]).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => io::Result::Ok(()),
        }
    };
    Ok(exchange.await.err().map(|error| io_refusal(&error).reason))
}

/// A client whose certificate another authority issued under the same name.
async fn with_strangers_certificate(stage: &Stage) -> Result<Option<String>, Failure> {
    let theirs = sealwire::home::Home::at(&stage.stranger())
        .map_err(|error| Failure::new("cannot find the stranger's home").because(error))?;
    let pair = theirs.pair(sealwire::names::Kind::Core, "core");
    let reach = Reach::ad_hoc(&AdHoc {
        endpoint: stage.address.clone(),
        server_name: "demo".to_owned(),
        ca: stage.config.ca_cert.clone(),
        cert: pair.cert,
        key: pair.key,
        expected_cn: None,
    })?;
    let opened = Connection::open(reach.trial_config()).await;
    Ok(opened.err().map(|error| error.to_string()))
}
