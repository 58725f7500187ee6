use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::{Kept, Listener, Wire, accept_tls, tls_config};
use crate::openssl::Pair;

/// A webhook, which keeps each request and answers with what it is told to.
pub struct Webhook {
    listener: Listener,
    scheme: &'static str,
    posted: Arc<Kept<Posted>>,
    answer: Arc<Mutex<String>>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Posted {
    /// Method, target and version.
    pub request: String,
    /// The header fields, with their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, which is text.
    pub body: String,
}

impl Posted {
    /// The value of a header field; nothing if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

impl Webhook {
    /// Listens on a free port, with TLS if there is a certificate, and answers 200.
    pub fn start(pair: Option<&Pair>) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), pair)
    }

    /// The same at an address.
    pub fn start_at(address: SocketAddr, pair: Option<&Pair>) -> Self {
        let posted = Kept::new();
        let answer = Arc::new(Mutex::new("200 OK".to_owned()));
        let (keep, say, tls) = (Arc::clone(&posted), Arc::clone(&answer), pair.map(tls_config));
        let listener = Listener::start(address, move |stream| {
            let mut wire: Box<dyn Wire> = match &tls {
                Some(config) => accept_tls(config, stream),
                None => Box::new(stream),
            };
            // Who breaks off gets no answer.
            let Ok(Some(request)) = read(&mut wire) else { return };
            let status = say.lock().unwrap().clone();
            keep.push(request);
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = wire.write_all(head.as_bytes()).and_then(|()| wire.flush());
        });
        let scheme = if pair.is_some() { "https" } else { "http" };
        Self { listener, scheme, posted, answer }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.listener.address
    }

    /// Its URL with this path, by the name `localhost`.
    pub fn url(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", self.scheme, self.address().port())
    }

    /// From now on answers with this status line's end, and header lines after it.
    pub fn answer(&self, status: &str) {
        status.clone_into(&mut self.answer.lock().unwrap());
    }

    /// All requests so far.
    pub fn posted(&self) -> Vec<Posted> {
        self.posted.all()
    }

    /// The first request whose body holds `part`; waits for it.
    pub fn wait_for(&self, part: &str) -> Posted {
        self.posted.wait_for(part, |posted| posted.body.contains(part))
    }
}

fn read(wire: &mut Box<dyn Wire>) -> io::Result<Option<Posted>> {
    let mut reader = BufReader::new(wire);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    let request = line.trim_end().to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8(body).map_err(io::Error::other)?;
    Ok(Some(Posted { request, headers, body }))
}
