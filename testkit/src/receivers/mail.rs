use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::ServerConfig;

use super::{Kept, Listener, Wire, accept_tls, tls_config};
use crate::openssl::Pair;

/// A mail server that delivers nothing and keeps everything.
pub struct MailServer {
    listener: Listener,
    mails: Arc<Kept<Mail>>,
}

/// A mail that it took.
#[derive(Clone, Debug, Default)]
pub struct Mail {
    /// Whether it came within TLS.
    pub is_protected: bool,
    /// What was said to log in, as it was said.
    pub login: String,
    /// The sender and the receivers of the envelope.
    pub from: String,
    /// See there.
    pub to: Vec<String>,
    /// The header.
    pub head: String,
    /// The body as it came, without line ends: base64.
    pub body: String,
}

impl MailServer {
    /// Listens on a free port. With a certificate it offers STARTTLS, and takes no mail without.
    pub fn start(pair: Option<&Pair>) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), pair)
    }

    /// The same at an address.
    pub fn start_at(address: SocketAddr, pair: Option<&Pair>) -> Self {
        let mails = Kept::new();
        let (keep, tls) = (Arc::clone(&mails), pair.map(tls_config));
        let listener = Listener::start(address, move |stream| {
            // Who breaks off has sent nothing.
            let _ = serve(stream, tls.as_ref(), &keep);
        });
        Self { listener, mails }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.listener.address
    }

    /// All mails so far.
    pub fn mails(&self) -> Vec<Mail> {
        self.mails.all()
    }

    /// The first mail that fits; waits for it.
    pub fn wait_for(&self, what: &str, fits: impl Fn(&Mail) -> bool) -> Mail {
        self.mails.wait_for(what, fits)
    }
}

fn serve(stream: TcpStream, tls: Option<&Arc<ServerConfig>>, keep: &Kept<Mail>) -> io::Result<()> {
    let mut wire: Box<dyn Wire> = Box::new(stream.try_clone()?);
    say(&mut wire, "220 localhost ready")?;
    let Some(config) = tls else { return converse(&mut wire, false, keep) };
    // In the clear, only what leads to TLS is answered.
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let line = line(&mut reader)?;
        if line.starts_with("EHLO ") {
            say(&mut wire, "250-localhost\r\n250 STARTTLS")?;
        } else if line == "STARTTLS" {
            say(&mut wire, "220 go on")?;
            break;
        } else {
            say(&mut wire, "530 5.7.0 STARTTLS first")?;
        }
    }
    assert!(reader.buffer().is_empty(), "something came before TLS");
    converse(&mut accept_tls(config, stream), true, keep)
}

fn converse(wire: &mut Box<dyn Wire>, is_protected: bool, keep: &Kept<Mail>) -> io::Result<()> {
    let mut reader = BufReader::new(wire);
    let mut mail = Mail { is_protected, ..Mail::default() };
    loop {
        let said = line(&mut reader)?;
        let wire = reader.get_mut();
        match said.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" => say(wire, "250-localhost\r\n250-8BITMIME\r\n250 AUTH LOGIN PLAIN")?,
            "AUTH" => {
                mail.login = said;
                say(wire, "235 2.7.0 welcome")?;
            }
            "MAIL" => {
                mail.from = said["MAIL FROM:".len()..].to_owned();
                say(wire, "250 2.1.0 fine")?;
            }
            "RCPT" if said.contains("<unknown@") => say(wire, "550 5.1.1 who? s3cret-echo")?,
            "RCPT" => {
                mail.to.push(said["RCPT TO:".len()..].to_owned());
                say(wire, "250 2.1.5 fine")?;
            }
            "DATA" => {
                say(wire, "354 go on")?;
                (mail.head, mail.body) = message(&mut reader)?;
                keep.push(mail.clone());
                say(reader.get_mut(), "250 2.0.0 kept")?;
            }
            "QUIT" => return say(wire, "221 2.0.0 bye"),
            _ => say(wire, "502 5.5.1 no")?,
        }
    }
}

/// The header and the body of a message, to the line that is a dot.
fn message(reader: &mut impl BufRead) -> io::Result<(String, String)> {
    let (mut head, mut body, mut is_head) = (String::new(), String::new(), true);
    loop {
        let line = line(reader)?;
        match &*line {
            "." => return Ok((head, body)),
            "" => is_head = false,
            line if is_head => head.push_str(&format!("{line}\n")),
            line => body.push_str(line),
        }
    }
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn say(wire: &mut impl Write, text: &str) -> io::Result<()> {
    wire.write_all(format!("{text}\r\n").as_bytes())?;
    wire.flush()
}
