//! A client of the service that does not play by the rules.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use sealwire_identity::join::{Binding, JoinLine, Side, client_config, tls_exporter};
use sealwire_identity::{KeyAlgorithm, KeyRequest, RequestedKey};
use sealwire_testkit::GUARD;
use serde_json::{Value, json};

pub(crate) struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    line: JoinLine,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr, line: &str) -> Self {
        let line = JoinLine::parse(line).unwrap();
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(GUARD)).unwrap();
        let name = ServerName::from(address.ip());
        let mut tls = ClientConnection::new(client_config(line.authority).unwrap(), name).unwrap();
        let mut tcp = tcp;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp).unwrap();
        }
        Self { stream: StreamOwned::new(tls, tcp), line }
    }

    /// A request that is good, for a key made elsewhere.
    pub(crate) fn request(&self, pem: &str) -> Value {
        let digest = RequestedKey::parse(pem.as_bytes()).unwrap().digest();
        let binding =
            Binding { exporter: tls_exporter(&self.stream.conn).unwrap(), request: digest };
        json!({
            "version": 1,
            "invitation": BASE64.encode(self.line.token.id()),
            "certificate_request": pem,
            "proof": BASE64.encode(self.line.token.secret().prove(Side::Client, &binding)),
        })
    }

    /// The same for a new key.
    pub(crate) fn good_request(&self) -> Value {
        self.request(KeyRequest::generate(KeyAlgorithm::EcdsaP256).unwrap().request_pem())
    }

    pub(crate) fn send(&mut self, request: &Value) -> io::Result<Value> {
        let message = request.to_string();
        self.send_bytes(&[&(message.len() as u32).to_be_bytes(), message.as_bytes()].concat())
    }

    /// Sends these bytes and reads an answer.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<Value> {
        self.stream.write_all(bytes)?;
        self.stream.flush()?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut answer)?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }
}
