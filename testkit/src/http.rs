//! A small HTTP server on loopback, for what a program under test fetches.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::GUARD;

/// Largest body that is read, in bytes.
const MAX_BODY: u64 = 16 << 20;

/// A running server. It ends when it is dropped.
pub struct HttpServer {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What is answered with status 200; nothing at all is a 404.
pub type Answer = Option<(&'static str, String)>;

impl HttpServer {
    /// Starts to answer on a free port of loopback: `answer` gets the request line's
    /// method and target, and the body, and gives a content type and a body.
    pub fn start(answer: impl Fn(&str, &[u8]) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let stopping = Arc::new(AtomicBool::new(false));
        let (stop, answer) = (stopping.clone(), Arc::new(answer));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let answer = answer.clone();
                // Who breaks off gets no answer, and misses none.
                thread::spawn(move || drop(serve(stream, answer.as_ref())));
            }
        });
        Self { address, stopping, thread: Some(thread) }
    }

    /// `http://ADDRESS` and this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes it up.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One request, one answer, and the end of the connection.
fn serve(stream: TcpStream, answer: &(impl Fn(&str, &[u8]) -> Answer + ?Sized)) -> io::Result<()> {
    stream.set_read_timeout(Some(GUARD))?;
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let request = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let mut length = 0;
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let Some((name, value)) = line.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = Vec::new();
    reader.by_ref().take(u64::min(length, MAX_BODY)).read_to_end(&mut body)?;
    let (status, kind, text) = match answer(&request, &body) {
        Some((kind, text)) => ("200 OK", kind, text),
        None => ("404 Not Found", "text/plain", "there is nothing here\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    (&stream).write_all(head.as_bytes())?;
    (&stream).write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(server: &HttpServer, request: &str) -> String {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn answers_with_what_it_is_told() {
        let server = HttpServer::start(|request, body| {
            let text = format!("{request}: {}", String::from_utf8_lossy(body));
            request.starts_with("POST ").then_some(("text/plain", text))
        });
        let answer =
            exchange(&server, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nPOST /a: abc"), "{answer}");
        let answer = exchange(&server, "GET / HTTP/1.1\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
}
