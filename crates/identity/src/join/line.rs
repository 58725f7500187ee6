use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use sealwire_names::Fingerprint;
use zeroize::Zeroizing;

use super::proof::Token;

/// What a line begins with: the format's version is in it.
const START: &str = "sealwire-join-1";
/// Longest line that is looked at.
const MAX_LINE: usize = 512;

/// All that one needs to join: `sealwire-join-1/<authority>/<token>/<host:port>`.
///
/// It holds a secret: whoever has it first is the peer that it invites.
#[derive(Debug)]
pub struct JoinLine {
    /// SHA-256 of the authority's subjectPublicKeyInfo.
    pub authority: Fingerprint,
    /// What proves that one is invited.
    pub token: Token,
    /// Where the authority's service listens, `host:port`. Not checked here.
    pub address: String,
}

impl JoinLine {
    /// The line, without a line feed.
    pub fn text(&self) -> Zeroizing<String> {
        // Sized once: a buffer that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(MAX_LINE));
        text.push_str(START);
        text.push('/');
        text.push_str(&BASE64.encode(self.authority.as_bytes()));
        text.push('/');
        text.push_str(&Zeroizing::new(BASE64.encode(self.token.bytes())));
        text.push('/');
        text.push_str(&self.address);
        text
    }

    /// Reads a line. White space around it does not count.
    ///
    /// # Errors
    /// [`JoinLineError`], which never repeats what the line says.
    pub fn parse(text: &str) -> Result<Self, JoinLineError> {
        let text = text.trim();
        if text.len() > MAX_LINE {
            return Err(JoinLineError::Form);
        }
        let mut parts = text.splitn(4, '/');
        if parts.next() != Some(START) {
            return Err(JoinLineError::Start);
        }
        let (Some(authority), Some(token), Some(address)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(JoinLineError::Form);
        };
        let authority = BASE64.decode(authority).map_err(|_| JoinLineError::Form)?;
        let authority = authority.try_into().map_err(|_| JoinLineError::Form)?;
        let token = Zeroizing::new(BASE64.decode(token).map_err(|_| JoinLineError::Form)?);
        let token = Token::from_slice(&token).ok_or(JoinLineError::Form)?;
        if address.is_empty() || !address.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(JoinLineError::Form);
        }
        let authority = Fingerprint::from_sha256(authority);
        Ok(Self { authority, token, address: address.to_owned() })
    }
}

/// Why a text is no line to join by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinLineError {
    /// It does not begin as one.
    Start,
    /// It begins as one, and is cut off or damaged.
    Form,
}

impl fmt::Display for JoinLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => write!(f, "it does not begin with {START}/"),
            Self::Form => f.write_str("it is cut off or damaged"),
        }
    }
}

impl std::error::Error for JoinLineError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let line = JoinLine {
            authority: Fingerprint::from_sha256([7; 32]),
            token: Token::generate().unwrap(),
            address: "[::1]:7444".into(),
        };
        let text = line.text();
        let read = JoinLine::parse(&format!(" {}\n", *text)).unwrap();
        assert_eq!(read.authority, line.authority);
        assert_eq!(read.token.bytes(), line.token.bytes());
        assert_eq!(read.address, line.address);

        assert_eq!(JoinLine::parse("").unwrap_err(), JoinLineError::Start);
        assert_eq!(JoinLine::parse(&text.replace("-1/", "-2/")).unwrap_err(), JoinLineError::Start);
        for cut in 16..text.len() - line.address.len() + 1 {
            assert_eq!(JoinLine::parse(&text[..cut]).unwrap_err(), JoinLineError::Form, "{cut}");
        }
        for damaged in
            [format!("{} x", *text), text.replace("//", "/"), text.replacen('/', "/+", 2)]
        {
            if damaged != *text {
                assert_eq!(JoinLine::parse(&damaged).unwrap_err(), JoinLineError::Form);
            }
        }
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let line = JoinLine {
            authority: Fingerprint::from_sha256([7; 32]),
            token: Token::from_slice(&[0xab; 24]).unwrap(),
            address: "a:1".into(),
        };
        let shown = format!("{line:?}");
        assert!(!shown.contains("171") && !shown.contains("q6ur"), "{shown}");
    }
}
