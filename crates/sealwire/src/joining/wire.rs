//! The two messages, each a length (32 bits, big endian) and so many bytes of JSON.

use std::collections::BTreeMap;
use std::io;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use sealwire_identity::join::TokenId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::anchors::SignedAnchors;
use crate::commands::BundledServer;

/// The version that is spoken; that of the ALPN.
pub(super) const VERSION: u32 = 1;
/// Longest request, in bytes.
pub(super) const MAX_REQUEST: usize = 8 * 1024;
/// Longest lists, in bytes.
pub(super) const MAX_LISTS: usize = 8 * 1024 * 1024;
/// Longest answer, in bytes.
pub(super) const MAX_ANSWER: usize = 1024 * 1024;

/// Servers to connect to, by the name of their table.
pub(crate) type Servers = BTreeMap<String, BundledServer>;

/// What whoever joins sends.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub(super) version: u32,
    /// The name of the token, base64url.
    pub(super) invitation: String,
    /// The certificate request, PEM.
    pub(super) certificate_request: String,
    /// The proof of it, base64url.
    pub(super) proof: String,
}

/// What the service answers.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum Answer {
    /// A [`Grant`] as JSON in a text, and the service's proof over that text, base64url.
    Granted { grant: String, proof: String },
    /// One word: why not.
    Refused { why: Why },
}

/// Why somebody may not join: what he may know of it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Why {
    /// There is no such invitation, or it was not proven.
    Unproven,
    /// It has been used.
    Used,
    /// It has expired.
    Expired,
    /// The name that it is for was revoked since.
    Revoked,
    /// The request is not as it must be.
    Malformed,
    /// The service has failed.
    Failed,
    /// Of a renewal: the certificate was not issued to one who joined.
    NotJoined,
}

/// What whoever has a certificate sends to have it renewed. All else is in the certificate.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RenewalRequest {
    pub(super) version: u32,
}

/// What the service answers.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum RenewalAnswer {
    /// The new certificate, PEM, leaf first; and the trust anchors, of which some may be new, if
    /// there has ever been another one to tell of.
    Renewed {
        certificate: String,
        #[serde(default)]
        anchors: Option<SignedAnchors>,
    },
    /// One word: why not.
    Refused { why: Why },
}

/// What whoever has a certificate sends to be told what is revoked.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListsRequest {
    pub(super) version: u32,
}

/// What the service answers: lists, and others whenever there are.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum ListsAnswer {
    Lists(Lists),
    /// One word: why not, or why no more.
    Refused {
        why: Why,
    },
}

/// What is revoked.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lists {
    /// The text of a [`Denylist`](sealwire::denylist::Denylist).
    pub(super) text: String,
    /// The authority's signature of it, base64url.
    pub(super) signature: String,
    /// The list of RFC 5280, PEM, if the authority writes any.
    #[serde(default)]
    pub(super) crl: Option<String>,
}

/// What whoever joins gets.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Grant {
    /// His name, a SPIFFE ID.
    pub(super) id: String,
    /// The certificate, PEM, leaf first.
    pub(super) certificate: String,
    /// The trust anchors, PEM.
    pub(super) ca_cert: String,
    pub(super) servers: Servers,
}

pub(super) fn encode(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// The name of a token.
pub(super) fn token_id(text: &str) -> Option<TokenId> {
    decode(text)?.try_into().ok()
}

/// Reads one message of at most so many bytes.
pub(super) async fn read<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
    most: usize,
) -> io::Result<T> {
    let length = stream.read_u32().await? as usize;
    if length > most {
        return Err(invalid(format!("a message of {length} bytes, and {most} are the most")));
    }
    // Only as much memory as has arrived.
    let mut message = Vec::new();
    stream.take(length as u64).read_to_end(&mut message).await?;
    if message.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // The error's own text would show the message.
    serde_json::from_slice(&message).map_err(|error| {
        invalid(format!("a message that is not as it must be: {:?}", error.classify()))
    })
}

/// Writes one message.
pub(super) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &impl Serialize,
) -> io::Result<()> {
    let message = serde_json::to_vec(message)?;
    let length = u32::try_from(message.len()).map_err(|_| invalid("too long".to_owned()))?;
    stream.write_u32(length).await?;
    stream.write_all(&message).await?;
    stream.flush().await
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_as_it_must_be_is_refused() {
        async fn request(message: &[u8]) -> io::Result<Request> {
            let mut bytes = (message.len() as u32).to_be_bytes().to_vec();
            bytes.extend(message);
            read(&mut bytes.as_slice(), MAX_REQUEST).await
        }
        let good = r#"{"version":1,"invitation":"a","certificate_request":"b","proof":"c"}"#;
        assert_eq!(request(good.as_bytes()).await.unwrap().proof, "c");
        for bad in [
            &good.replace("proof", "prof"),
            &good.replace("\"version\":1", "\"version\":1,\"more\":2"),
            &good.replace("\"version\":1", "\"version\":1,\"version\":1"),
            &format!("{good} x"),
            &good[1..].to_owned(),
            &format!("{good}{}", " ".repeat(MAX_REQUEST)),
        ] {
            let error = request(bad.as_bytes()).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bad}");
        }
        let cut = read::<Request>(&mut &[0, 0, 0, 9, b'{'][..], MAX_REQUEST).await;
        assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
