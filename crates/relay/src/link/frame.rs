//! Frames on the wire: docs/spec/link.md §3, byte for byte.
//!
//! `length: u32` (of what follows), `type: u8`, then the body. All integers are
//! big-endian. There is no frame without a type and no optional tail: a body of
//! another length than its type calls for is an error.

use sealwire_names::RefusalCode;

use crate::memory::reserve;

/// The application protocol this link speaks (RFC 7301).
pub const ALPN: &[u8] = b"sealwire/1";

/// Bytes before the body: length and type.
pub const HEADER: usize = 5;
/// Bytes of a DATA frame besides its message.
pub const DATA_OVERHEAD: usize = HEADER + 8;
/// Largest body of any frame but DATA.
const MAX_CONTROL_BODY: usize = 1024;

const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const REFUSED: u8 = 3;
const DATA: u8 = 4;
const ACK: u8 = 5;
const PING: u8 = 6;
const PONG: u8 = 7;
const FIN: u8 = 8;
const DRAIN: u8 = 9;
const CONTROL: u8 = 10;

/// Names one run of a serving process.
pub type InstanceId = [u8; 16];
/// Names one conversation within a run; unguessable.
pub type Handle = [u8; 16];

/// One frame; what it borrows, it borrows from the receive buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The connecting side's first frame.
    Hello(Hello<'a>),
    /// The serving side's answer to a hello it accepts.
    Welcome(Welcome<'a>),
    /// The serving side's answer to a hello it does not: a [`RefusalCode`] word.
    Refused(&'a str),
    /// One MCP message.
    Data {
        /// Its sequence number in this direction, from 1, without gaps.
        seq: u64,
        /// The message, without a line end.
        message: &'a [u8],
    },
    /// All messages up to this one have been handed on; their room is free again.
    Ack(u64),
    /// Answer with [`Frame::Pong`] and the same number.
    Ping(u64),
    /// The answer to a ping.
    Pong(u64),
    /// No message follows in this direction, ever.
    Fin {
        /// Its sequence number: one more than the last message's.
        seq: u64,
        /// Why.
        ending: Ending,
    },
    /// The serving side is about to stop: start nothing new.
    Drain,
    /// An extension; kinds that the receiver does not know are ignored.
    Control {
        /// Which extension.
        kind: u8,
        /// Its content.
        body: &'a [u8],
    },
}

/// What the connecting side wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The MCP server, the same as in SNI.
    pub server_name: &'a str,
    /// The conversation to go on with; `None` for a new one.
    pub resume: Option<Resume>,
    /// The last sequence number received from the serving side; 0 for none.
    pub received: u64,
    /// How many unacknowledged bytes we accept.
    pub window: u32,
    /// The largest message we accept, in bytes.
    pub max_message: u32,
}

/// Which conversation to go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The run it belongs to.
    pub instance: InstanceId,
    /// The conversation.
    pub handle: Handle,
    /// Larger than in every earlier attempt for this conversation.
    pub generation: u64,
}

/// What the serving side grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// This run of the serving process.
    pub instance: InstanceId,
    /// The conversation.
    pub handle: Handle,
    /// The last sequence number received from the connecting side; 0 for none.
    pub received: u64,
    /// How many unacknowledged bytes we accept.
    pub window: u32,
    /// The largest message we accept, in bytes.
    pub max_message: u32,
    /// The connecting side's verified name, as the serving side knows it.
    pub peer: &'a str,
}

/// Why a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client closed its side, or the server ended of its own accord.
    Orderly,
    /// The server's process ended with an error.
    ServerFailed,
    /// The serving side is shutting down.
    Drained,
}

/// What breaks the rules of the wire; always fatal to the conversation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A frame type that this version does not have.
    #[error("unknown frame type {0}")]
    UnknownType(u8),
    /// A body that its type does not allow.
    #[error("frame type {kind} with a body of {length} bytes")]
    Body {
        /// The frame's type.
        kind: u8,
        /// The length of its body.
        length: usize,
    },
    /// A message larger than was agreed.
    #[error("a message of {length} bytes; at most {limit} were agreed")]
    TooLarge {
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
    },
}

impl<'a> Frame<'a> {
    /// Reads the first frame of `buffer`, and how many bytes it takes; `Ok(None)` if
    /// more bytes are needed, which the header tells before a large body arrives.
    ///
    /// # Errors
    /// [`FrameError`] as soon as the header or body breaks a rule.
    pub fn parse(
        buffer: &'a [u8],
        max_message: usize,
    ) -> Result<Option<(Self, usize)>, FrameError> {
        let Some((kind, length)) = parse_header(buffer, max_message)? else { return Ok(None) };
        let Some(body) = buffer.get(HEADER..HEADER + length) else { return Ok(None) };
        let frame = Self::parse_body(kind, body).ok_or(FrameError::Body { kind, length })?;
        Ok(Some((frame, HEADER + length)))
    }

    /// How many bytes of the frame at the start of `buffer` are still to come, as far as its
    /// header tells; whether it may be so long is for [`Self::parse`] to say.
    pub(crate) fn missing(buffer: &[u8]) -> usize {
        let Some((length, body)) = buffer.split_first_chunk() else { return 0 };
        (u32::from_be_bytes(*length) as usize).saturating_sub(body.len())
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([0; 4]);
        match self {
            Self::Hello(hello) => hello.encode(out),
            Self::Welcome(welcome) => welcome.encode(out),
            Self::Refused(word) => {
                out.push(REFUSED);
                out.extend(word.as_bytes());
            }
            Self::Data { seq, message } => {
                reserve(out, DATA_OVERHEAD + message.len());
                out.push(DATA);
                out.extend(seq.to_be_bytes());
                out.extend_from_slice(message);
            }
            Self::Ack(seq) => encode_number(ACK, *seq, out),
            Self::Ping(number) => encode_number(PING, *number, out),
            Self::Pong(number) => encode_number(PONG, *number, out),
            Self::Fin { seq, ending } => {
                encode_number(FIN, *seq, out);
                out.push(ending.to_byte());
            }
            Self::Drain => out.push(DRAIN),
            Self::Control { kind, body } => {
                out.extend([CONTROL, *kind]);
                out.extend_from_slice(body);
            }
        }
        // A message is at most 64 MiB, everything else far less: it fits.
        let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// The frame that tells a peer that it is refused: the word, never the reason.
    pub fn refusal(code: RefusalCode) -> Self {
        Frame::Refused(code.as_str())
    }

    fn parse_body(kind: u8, body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let frame = match kind {
            HELLO => Frame::Hello(Hello::parse(&mut reader)?),
            WELCOME => Frame::Welcome(Welcome::parse(&mut reader)?),
            REFUSED => Frame::Refused(str::from_utf8(reader.rest()).ok()?),
            DATA => Frame::Data { seq: reader.u64()?, message: reader.rest() },
            ACK => Frame::Ack(reader.u64()?),
            PING => Frame::Ping(reader.u64()?),
            PONG => Frame::Pong(reader.u64()?),
            FIN => Frame::Fin { seq: reader.u64()?, ending: Ending::from_byte(reader.u8()?)? },
            DRAIN => Frame::Drain,
            CONTROL => Frame::Control { kind: reader.u8()?, body: reader.rest() },
            _ => return None,
        };
        reader.0.is_empty().then_some(frame)
    }
}

/// The type and body length of the frame at the start of `buffer`, once both are there.
fn parse_header(buffer: &[u8], max_message: usize) -> Result<Option<(u8, usize)>, FrameError> {
    let Some((header, _)) = buffer.split_first_chunk::<HEADER>() else { return Ok(None) };
    let [a, b, c, d, kind] = *header;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let Some(length) = length.checked_sub(1) else {
        return Err(FrameError::Body { kind, length: 0 });
    };
    match kind {
        DATA if length > max_message.saturating_add(8) => {
            Err(FrameError::TooLarge { length: length - 8, limit: max_message })
        }
        DATA => Ok(Some((kind, length))),
        HELLO..=CONTROL if length > MAX_CONTROL_BODY => Err(FrameError::Body { kind, length }),
        HELLO..=CONTROL => Ok(Some((kind, length))),
        unknown => Err(FrameError::UnknownType(unknown)),
    }
}

impl<'a> Hello<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(HELLO);
        encode_text(self.server_name, out);
        out.extend(self.received.to_be_bytes());
        out.extend(self.window.to_be_bytes());
        out.extend(self.max_message.to_be_bytes());
        match &self.resume {
            None => out.push(0),
            Some(resume) => {
                out.push(1);
                out.extend(resume.instance);
                out.extend(resume.handle);
                out.extend(resume.generation.to_be_bytes());
            }
        }
    }

    fn parse(reader: &mut Reader<'a>) -> Option<Self> {
        Some(Self {
            server_name: reader.text()?,
            received: reader.u64()?,
            window: reader.u32()?,
            max_message: reader.u32()?,
            resume: match reader.u8()? {
                0 => None,
                1 => Some(Resume {
                    instance: reader.array()?,
                    handle: reader.array()?,
                    generation: reader.u64()?,
                }),
                _ => return None,
            },
        })
    }
}

impl<'a> Welcome<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(WELCOME);
        out.extend(self.instance);
        out.extend(self.handle);
        out.extend(self.received.to_be_bytes());
        out.extend(self.window.to_be_bytes());
        out.extend(self.max_message.to_be_bytes());
        encode_text(self.peer, out);
    }

    fn parse(reader: &mut Reader<'a>) -> Option<Self> {
        Some(Self {
            instance: reader.array()?,
            handle: reader.array()?,
            received: reader.u64()?,
            window: reader.u32()?,
            max_message: reader.u32()?,
            peer: reader.text()?,
        })
    }
}

impl Ending {
    fn to_byte(self) -> u8 {
        match self {
            Self::Orderly => 0,
            Self::ServerFailed => 1,
            Self::Drained => 2,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Orderly, Self::ServerFailed, Self::Drained].into_iter().find(|e| e.to_byte() == byte)
    }
}

fn encode_number(kind: u8, number: u64, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend(number.to_be_bytes());
}

/// A text behind its length in 16 bits; names are far shorter.
fn encode_text(text: &str, out: &mut Vec<u8>) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend(length.to_be_bytes());
    out.extend_from_slice(&text.as_bytes()[..length.into()]);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.array().map(u16::from_be_bytes)?;
        let (text, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        str::from_utf8(text).ok()
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 4096;

    fn frames() -> Vec<Frame<'static>> {
        let resume = Resume { instance: [1; 16], handle: [2; 16], generation: 3 };
        let hello = Hello {
            server_name: "github",
            resume: None,
            received: 0,
            window: 1 << 22,
            max_message: 1 << 26,
        };
        vec![
            Frame::Hello(hello.clone()),
            Frame::Hello(Hello { resume: Some(resume), received: 9, ..hello }),
            Frame::Welcome(Welcome {
                instance: [7; 16],
                handle: [8; 16],
                received: 5,
                window: 1,
                max_message: 2,
                peer: "spiffe://x/core/a",
            }),
            Frame::refusal(RefusalCode::ResumeUnknown),
            Frame::Data { seq: 1, message: b"{}" },
            Frame::Data { seq: u64::MAX, message: b"" },
            Frame::Ack(7),
            Frame::Ping(8),
            Frame::Pong(9),
            Frame::Fin { seq: 10, ending: Ending::ServerFailed },
            Frame::Drain,
            Frame::Control { kind: 200, body: b"token" },
        ]
    }

    #[test]
    fn each_frame_survives_the_wire_in_any_pieces() {
        let mut wire = Vec::new();
        frames().iter().for_each(|frame| frame.encode(&mut wire));
        let mut at = 0;
        for expected in frames() {
            let (frame, length) = Frame::parse(&wire[at..], LIMIT).unwrap().unwrap();
            assert_eq!(frame, expected);
            for cut in 0..length {
                assert_eq!(Frame::parse(&wire[at..at + cut], LIMIT), Ok(None), "{expected:?}");
            }
            at += length;
        }
        assert_eq!(at, wire.len());
    }

    #[test]
    fn tells_how_much_is_missing() {
        let mut wire = Vec::new();
        Frame::Data { seq: 1, message: &[7; 100] }.encode(&mut wire);
        assert_eq!(Frame::missing(&wire[..3]), 0, "the header says it");
        assert_eq!(Frame::missing(&wire[..4]), 109);
        assert_eq!(Frame::missing(&wire[..50]), wire.len() - 50);
        wire.extend_from_slice(&[0; 20]);
        assert_eq!(Frame::missing(&wire), 0);
    }

    #[test]
    fn refuses_from_the_header_alone() {
        let refused = |bytes: &[u8]| Frame::parse(bytes, LIMIT).unwrap_err();
        assert_eq!(refused(&[0, 0, 0, 1, 0]), FrameError::UnknownType(0));
        assert_eq!(refused(&[0, 0, 0, 1, 11]), FrameError::UnknownType(11));
        assert_eq!(refused(&[0, 0, 0, 0, DRAIN]), FrameError::Body { kind: DRAIN, length: 0 });
        let large = u32::try_from(LIMIT + 10).unwrap().to_be_bytes();
        let header = [large[0], large[1], large[2], large[3], DATA];
        assert_eq!(refused(&header), FrameError::TooLarge { length: LIMIT + 1, limit: LIMIT });
        assert!(matches!(refused(&[0, 1, 0, 0, PING]), FrameError::Body { .. }));
    }

    #[test]
    fn refuses_bodies_of_the_wrong_length() {
        for (kind, length) in [(ACK, 7), (ACK, 9), (PING, 0), (FIN, 8), (DRAIN, 1), (DATA, 7)] {
            let mut bytes = vec![0, 0, 0, length + 1, kind];
            bytes.extend(vec![0; length.into()]);
            assert!(Frame::parse(&bytes, LIMIT).is_err(), "type {kind}, {length} bytes");
        }
        let ending = [0, 0, 0, 10, FIN, 0, 0, 0, 0, 0, 0, 0, 1, 3];
        assert!(Frame::parse(&ending, LIMIT).is_err(), "an ending nobody knows");
    }

    proptest! {
        #[test]
        fn what_parses_encodes_to_the_same_bytes(
            kind in 1u8..=10, body in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut bytes = u32::try_from(body.len() + 1).unwrap().to_be_bytes().to_vec();
            bytes.push(kind);
            bytes.extend(body);
            if let Ok(Some((frame, length))) = Frame::parse(&bytes, LIMIT) {
                let mut again = Vec::new();
                frame.encode(&mut again);
                prop_assert_eq!(&again[..], &bytes[..length]);
            }
        }
    }
}
