//! The bundle: one file with what another machine needs, its private key included.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use sealwire_identity::{Credential, PeerVerifier, Role, TrustAnchors, files};
use sealwire_names::{Kind, PeerId, TrustDomain};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::cli::Failure;

/// The format's version; a file with another is refused.
const VERSION: u32 = 1;

/// What a bundle holds. Everything in it has been checked against everything else.
pub(crate) struct Bundle {
    /// The name in the certificate.
    pub(crate) id: PeerId,
    /// The trust anchors, PEM.
    pub(crate) ca_cert: String,
    /// The certificate, PEM, leaf first.
    pub(crate) cert: String,
    /// Its private key, PEM.
    pub(crate) key: Zeroizing<String>,
    /// Servers to connect to, by the name of their table.
    pub(crate) servers: BTreeMap<String, BundledServer>,
    /// Where the certificate is renewed; a bundle file says nothing of it.
    pub(crate) renew_from: Option<String>,
}

/// A server to connect to.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BundledServer {
    /// `host:port`.
    pub(crate) endpoint: String,
    /// Its identity on the wire.
    pub(crate) server_name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoded {
    version: u32,
    trust_domain: String,
    kind: String,
    name: String,
    ca_cert: String,
    cert: String,
    key: String,
    #[serde(default)]
    servers: BTreeMap<String, BundledServer>,
}

impl Bundle {
    /// Reads a bundle file, which nobody but its owner may read, and checks it.
    pub(crate) fn load(file: &Path) -> Result<Self, Failure> {
        let bytes = files::read_private(file)?;
        let place = file.display().to_string();
        let refuse = |reason: String| {
            Failure::new("not a bundle that can be used")
                .at(&place)
                .because(reason)
                .fix("make it again with `sealwire cert bundle NAME`, and copy it whole")
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| refuse("it is not text".into()))?;
        // Only the message: the error's own text would show the line, perhaps of the key.
        let encoded: Encoded = toml::from_str(text)
            .map_err(|error| refuse(error.message().lines().next().unwrap_or_default().into()))?;
        let bundle = Self::decode(encoded).map_err(&refuse)?;
        bundle.check(&place)?;
        Ok(bundle)
    }

    /// The file's text.
    pub(crate) fn encode(&self) -> Zeroizing<String> {
        // Sized once: a buffer that grows leaves copies of the key behind.
        let size = 4096 + self.ca_cert.len() + self.cert.len() + self.key.len();
        let servers: String = self.servers.iter().map(server_table).collect();
        let mut text = Zeroizing::new(String::with_capacity(size + servers.len()));
        text.push_str(&format!(
            "# A sealwire bundle. It holds a private key: keep it secret, and delete it after\n\
             # `sealwire init --from-bundle FILE` on the machine it is for.\n\
             version = {VERSION}\ntrust_domain = \"{}\"\nkind = \"{}\"\nname = \"{}\"\n",
            self.id.trust_domain(),
            self.id.kind(),
            self.id.name()
        ));
        for (key, pem) in [("ca_cert", &self.ca_cert), ("cert", &self.cert), ("key", &*self.key)] {
            text.push_str(key);
            text.push_str(" = '''\n");
            text.push_str(pem);
            text.push_str("'''\n");
        }
        text.push_str(&servers);
        text
    }

    /// Checks that the key is the certificate's, and that the authority vouches for the
    /// name now.
    pub(crate) fn check(&self, label: &str) -> Result<(), Failure> {
        let domain = self.id.trust_domain().clone();
        let anchors = TrustAnchors::from_pem(self.ca_cert.as_bytes(), domain, label)?;
        let credential = Credential::from_pem(self.cert.as_bytes(), self.key.as_bytes(), label)?;
        verify(&credential, Arc::new(anchors), &self.id).map_err(|reason| {
            Failure::new(format!("the certificate of {} cannot be used", self.id))
                .at(label)
                .because(reason)
                .fix(format!(
                    "run `sealwire cert issue {} --kind {} --force` where the authority is",
                    self.id.name(),
                    self.id.kind()
                ))
        })
    }

    fn decode(encoded: Encoded) -> Result<Self, String> {
        if encoded.version != VERSION {
            return Err(format!("it is of version {}, not {VERSION}", encoded.version));
        }
        let domain: TrustDomain = encoded.trust_domain.parse().map_err(|e| format!("{e}"))?;
        let kind: Kind = encoded.kind.parse().map_err(|e| format!("{e}"))?;
        Ok(Self {
            id: PeerId::new(domain, kind, &encoded.name).map_err(|e| e.to_string())?,
            ca_cert: encoded.ca_cert,
            cert: encoded.cert,
            key: Zeroizing::new(encoded.key),
            servers: encoded.servers,
            renew_from: None,
        })
    }
}

/// Checks a certificate of ours as its peers will.
fn verify(
    credential: &Credential,
    anchors: Arc<TrustAnchors>,
    id: &PeerId,
) -> Result<(), sealwire_names::Refusal> {
    let role = if id.kind() == Kind::McpServer { Role::Server } else { Role::Client };
    let verifier = PeerVerifier::new(anchors, role);
    verifier.verify(credential.chain(), Some(id), SystemTime::now().into()).map(|_| ())
}

/// `name` as a TOML key, quoted where it must be.
pub(crate) fn key(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !name.is_empty() && name.bytes().all(bare) { name.to_owned() } else { quoted(name) }
}

/// `text` as a TOML string.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn server_table((name, server): (&String, &BundledServer)) -> String {
    format!(
        "\n[servers.{}]\nendpoint = {}\nserver_name = {}\n",
        key(name),
        quoted(&server.endpoint),
        quoted(&server.server_name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let server = BundledServer { endpoint: "h:1".into(), server_name: "x\"\n[y]".into() };
        let bundle = Bundle {
            id: "spiffe://example.org/core/laptop".parse().unwrap(),
            ca_cert: "CA\n".into(),
            cert: "CERT\n".into(),
            key: Zeroizing::new("KEY\n".into()),
            servers: [("a.b".to_owned(), server)].into(),
            renew_from: None,
        };
        let decoded = Bundle::decode(toml::from_str(&bundle.encode()).unwrap()).unwrap();
        assert_eq!(decoded.id, bundle.id);
        assert_eq!(decoded.ca_cert, bundle.ca_cert);
        assert_eq!(decoded.cert, bundle.cert);
        assert_eq!(*decoded.key, *bundle.key);
        assert_eq!(decoded.servers, bundle.servers);
    }
}
