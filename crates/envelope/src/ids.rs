use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use sealwire_names::AgentId;

/// Crockford's base 32, in lower case: no `i`, `l`, `o` or `u` to be misheard.
const SPOKEN: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Letters of a fingerprint that is read aloud: 100 bits, so that nobody makes a second
/// key with the fingerprint of a first.
const SPOKEN_LETTERS: usize = 20;

/// A key's identity: SHA-256 of the 32 bytes of the public key.
///
/// It is shown as a fingerprint short enough to be read aloud, five groups of four letters;
/// [`to_hex`](Self::to_hex) is all of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// The identity of this public key.
    pub fn of(public_key: &[u8; 32]) -> Self {
        Self(sha256(&[public_key]))
    }

    /// An identity that was computed elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 hexadecimal digits.
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }

    /// Whether a person typed this key's fingerprint: capitals, spaces and hyphens do not
    /// matter, and neither does `o` for `0`, nor `i` or `l` for `1`. The 64 digits of
    /// [`to_hex`](Self::to_hex) are taken, too.
    pub fn is_fingerprint(&self, typed: &str) -> bool {
        let plain: String = typed
            .chars()
            .filter(|c| !c.is_whitespace() && *c != '-')
            .map(|c| c.to_ascii_lowercase())
            .collect();
        let heard = plain.replace('o', "0").replace(['i', 'l'], "1");
        plain == self.to_hex() || heard == self.to_string().replace('-', "")
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in 0..SPOKEN_LETTERS {
            if letter % 4 == 0 && letter > 0 {
                f.write_str("-")?;
            }
            // Five bits from `letter * 5` on; they lie in two neighbouring bytes.
            let (byte, shift) = (letter * 5 / 8, letter * 5 % 8);
            let pair = u16::from_be_bytes([self.0[byte], self.0[byte + 1]]);
            let index = usize::from(pair >> (11 - shift)) % SPOKEN.len();
            write!(f, "{}", char::from(SPOKEN[index]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A message's identity: 16 random bytes, `cti` of RFC 8392 §3.1.7. Shown as 32
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId([u8; 16]);

impl MessageId {
    /// An identity that was made elsewhere.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message id is 32 lower-case hexadecimal digits")]
pub struct MessageIdError;

impl FromStr for MessageId {
    type Err = MessageIdError;

    fn from_str(text: &str) -> Result<Self, MessageIdError> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 32 || !text.bytes().all(digit) {
            return Err(MessageIdError);
        }
        u128::from_str_radix(text, 16).map(|v| Self(v.to_be_bytes())).map_err(|_| MessageIdError)
    }
}

/// Where a message stands among the sender's: `seq` counts up within `epoch`.
///
/// An epoch is 64 random bits. Whoever keeps the last `seq` on disk, per signing key and
/// audience, goes on in the same epoch after a restart; whoever cannot, starts another.
/// A `seq` is never used twice in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nonce {
    /// Random; another one for each loss of the counter.
    pub epoch: u64,
    /// Counts up by one.
    pub seq: u64,
}

macro_rules! message_types {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal, $text:literal;)+) => {
        /// What a message is for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum MessageType {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl MessageType {
            /// Every type, in the order users are shown them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word for users.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// The number on the wire.
            pub const fn code(self) -> u64 {
                match self {
                    $(Self::$variant => $code,)+
                }
            }
        }
    };
}

message_types! {
    /// A piece of work for the receiver.
    TaskRequest = 1, "task_request";
    /// The outcome of one.
    TaskResponse = 2, "task_response";
    /// How far something is.
    StatusUpdate = 3, "status_update";
    /// Something went wrong.
    ErrorNotification = 4, "error_notification";
    /// The receiver is to stop; only privileged agents may say so.
    Shutdown = 5, "shutdown";
}

impl MessageType {
    /// The type with this number on the wire.
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.code() == code)
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is no message type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a message type is one of task_request, task_response, status_update, error_notification, shutdown"
)]
pub struct MessageTypeError;

impl FromStr for MessageType {
    type Err = MessageTypeError;

    fn from_str(text: &str) -> Result<Self, MessageTypeError> {
        Self::ALL.iter().copied().find(|known| known.as_str() == text).ok_or(MessageTypeError)
    }
}

/// Whom a message is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Audience {
    /// One agent.
    Agent(AgentId),
    /// Two or more, in ascending order, none twice. Each of them sees the list.
    Agents(Vec<AgentId>),
    /// The members of a group, as of a stated version of its roster.
    Group(GroupRef),
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(agent) => agent.fmt(f),
            Self::Agents(agents) => {
                let names: Vec<_> = agents.iter().map(AgentId::as_str).collect();
                f.write_str(&names.join(","))
            }
            Self::Group(group) => group.fmt(f),
        }
    }
}

/// A group's name and the version of its roster that is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupRef {
    /// The group's name, of the form of an agent's.
    pub name: AgentId,
    /// Which roster: grows with each change.
    pub version: u64,
}

impl fmt::Display for GroupRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {} (roster {})", self.name, self.version)
    }
}

/// SHA-256 of the concatenation of `parts`.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let digest = match parts {
        [part] => digest(&SHA256, part),
        parts => {
            let mut context = aws_lc_rs::digest::Context::new(&SHA256);
            parts.iter().for_each(|part| context.update(part));
            context.finish()
        }
    };
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_short_and_forgive_the_ear() {
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::try_from(index * 37 % 256).unwrap();
        }
        let kid = KeyId::from_bytes(bytes);
        // The first 100 bits of 00254a6f94b9de03284d7297bc, five by five.
        assert_eq!(kid.to_string(), "00jm-mvwm-q7f0-6a2d-eabv");
        assert!(kid.is_fingerprint("OOJM MVWM Q7FO 6A2D EABV"));
        assert!(kid.is_fingerprint(&kid.to_hex()));
        assert!(kid.is_fingerprint(&kid.to_hex().to_uppercase()));
        for wrong in ["", "00jm-mvwm-q7f0-6a2d-eab", "00jm-mvwm-q7f0-6a2d-eabw"] {
            assert!(!kid.is_fingerprint(wrong), "{wrong}");
        }
    }

    #[test]
    fn words_and_numbers_of_types_lead_back() {
        for kind in MessageType::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
            assert_eq!(MessageType::from_code(kind.code()), Some(*kind));
        }
        assert_eq!(MessageType::from_code(0), None);
        assert_eq!("Shutdown".parse::<MessageType>(), Err(MessageTypeError));
    }

    #[test]
    fn message_ids_lead_back_and_are_written_in_one_way() {
        let id = MessageId::from_bytes([0x0a; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "0A0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a", "+a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"] {
            assert_eq!(wrong.parse::<MessageId>(), Err(MessageIdError), "{wrong}");
        }
    }
}
