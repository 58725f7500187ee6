//! A client that speaks the link protocol frame by frame, so that it can also speak it
//! wrongly: what `sealwire connect` never would send.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};
use sealwire_identity::{Credential, TrustAnchors, client_config};
use sealwire_relay::link::frame::{ALPN, Frame, Handle, Hello, InstanceId, Resume};
use sealwire_testkit::openssl::Pair;
use sealwire_testkit::{GUARD, Home};

/// Largest message taken from the server.
const MAX_MESSAGE: u32 = 1 << 20;

/// One connection: TLS stands, nothing has been said yet.
pub struct LinkClient {
    stream: StreamOwned<ClientConnection, TcpStream>,
    received: Vec<u8>,
    server_name: String,
}

/// A conversation as the serving side named it in a welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The run of the serving process.
    pub instance: InstanceId,
    /// The conversation.
    pub handle: Handle,
    /// The last sequence number that the serving side has received.
    pub received: u64,
}

impl Granted {
    /// An attempt to come back to it.
    pub fn resume(&self, generation: u64) -> Resume {
        Resume { instance: self.instance, handle: self.handle, generation }
    }
}

/// One frame, as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Raw(Vec<u8>);

impl Raw {
    /// What it says.
    pub fn frame(&self) -> Frame<'_> {
        Frame::parse(&self.0, MAX_MESSAGE as usize).expect("a frame").expect("a whole frame").0
    }

    /// The sequence number and text of the message it carries, if it does.
    pub fn message(&self) -> Option<(u64, String)> {
        match self.frame() {
            Frame::Data { seq, message } => {
                Some((seq, String::from_utf8(message.to_vec()).expect("UTF-8")))
            }
            _ => None,
        }
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.frame().fmt(f)
    }
}

impl LinkClient {
    /// Connects to `server_name` with this certificate, trusting the home's authority.
    pub fn dial(home: &Home, pair: &Pair, server_name: &str, address: SocketAddr) -> Self {
        Self::dial_with(&Self::tls(home, pair), server_name, address)
    }

    /// What such a client needs for TLS, the sessions that it may resume included.
    pub fn tls(home: &Home, pair: &Pair) -> Arc<ClientConfig> {
        let credential = Credential::load(&pair.cert, &pair.key).expect("a credential");
        let trust_domain = credential.id().trust_domain().clone();
        let anchors = TrustAnchors::load(&home.file("certs/ca/ca-cert.pem"), trust_domain);
        let anchors = Arc::new(anchors.expect("trust anchors"));
        client_config(&credential, anchors, None, &[ALPN]).expect("TLS")
    }

    /// Connects to `server_name` with TLS as it is.
    pub fn dial_with(tls: &Arc<ClientConfig>, server_name: &str, address: SocketAddr) -> Self {
        let name = ServerName::try_from(server_name.to_owned()).expect("a DNS name");
        let mut tls = ClientConnection::new(Arc::clone(tls), name).expect("TLS");
        let mut tcp = TcpStream::connect(address).expect("somebody listens");
        tcp.set_nodelay(true).expect("nodelay");
        tcp.set_read_timeout(Some(GUARD)).expect("a timeout");
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp).expect("a handshake");
        }
        let stream = StreamOwned::new(tls, tcp);
        Self { stream, received: Vec::new(), server_name: server_name.to_owned() }
    }

    /// Whether the handshake went on with an earlier session.
    pub fn has_resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Sends these bytes. What happens if the connection is gone shows when reading.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
    }

    /// Sends one frame.
    pub fn send(&mut self, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.send_bytes(&bytes);
    }

    /// Sends one message.
    pub fn send_message(&mut self, seq: u64, message: &str) {
        self.send(&Frame::Data { seq, message: message.as_bytes() });
    }

    /// Says hello, for the server that the handshake named.
    pub fn hello(&mut self, resume: Option<Resume>, received: u64) {
        let server_name = self.server_name.clone();
        self.send(&Frame::Hello(Hello {
            server_name: &server_name,
            resume,
            received,
            window: 4 * MAX_MESSAGE,
            max_message: MAX_MESSAGE,
        }));
    }

    /// Opens a new conversation.
    ///
    /// # Panics
    /// If that is refused.
    pub fn open(&mut self) -> Granted {
        self.hello(None, 0);
        self.granted().unwrap_or_else(|word| panic!("refused: {word}"))
    }

    /// The answer to a hello: the conversation, or the word of the refusal.
    ///
    /// # Panics
    /// If the connection ends without an answer.
    pub fn granted(&mut self) -> Result<Granted, String> {
        let answer = self.next().expect("an answer to the hello");
        match answer.frame() {
            Frame::Welcome(welcome) => Ok(Granted {
                instance: welcome.instance,
                handle: welcome.handle,
                received: welcome.received,
            }),
            Frame::Refused(word) => Err(word.to_owned()),
            other => panic!("neither a welcome nor a refusal: {other:?}"),
        }
    }

    /// The next message; acknowledgements and pings before it are skipped.
    ///
    /// # Panics
    /// If the connection ends first.
    pub fn message(&mut self) -> (u64, String) {
        loop {
            let raw = self.next().expect("a message, not the end of the connection");
            if let Some(message) = raw.message() {
                return message;
            }
        }
    }

    /// Every frame until the serving side closes the connection; waits for that.
    pub fn until_closed(&mut self) -> Vec<Raw> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// The next frame; `None` at the end of the connection, in whatever way it ends.
    ///
    /// # Panics
    /// If nothing comes for [`GUARD`].
    #[expect(clippy::should_implement_trait, reason = "it waits and panics, as no iterator should")]
    pub fn next(&mut self) -> Option<Raw> {
        loop {
            let parsed = Frame::parse(&self.received, MAX_MESSAGE as usize).expect("a frame");
            if let Some((_, length)) = parsed {
                let rest = self.received.split_off(length);
                return Some(Raw(std::mem::replace(&mut self.received, rest)));
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(error) => match error.kind() {
                    // Without a TLS close, or because our bytes were not read any more.
                    io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe => return None,
                    io::ErrorKind::Interrupted => {}
                    _ => panic!("the connection hangs: {error}"),
                },
            }
        }
    }
}
