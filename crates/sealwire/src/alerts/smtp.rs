//! One mail by SMTP (RFC 5321), with STARTTLS (RFC 3207) and AUTH (RFC 4954).
//!
//! Of what a server says only its codes are told on: it may say anything, also what it has just
//! been told.

use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealwire::config::SmtpSecurity;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use zeroize::Zeroizing;

use super::dial::{Dialer, Stream, Undelivered};

/// Longest line of a reply, in bytes, and most lines (RFC 5321 §4.5.3.1.5 has 512).
const MAX_LINE: u64 = 1_024;
const MAX_LINES: usize = 64;

/// A mail server, and how it is spoken to.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: SmtpSecurity,
    pub(super) login: Option<(String, Zeroizing<String>)>,
}

/// A mail with its envelope.
pub(super) struct Mail<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a [String],
    /// As SMTP carries it: no line begins with a dot, and the last one ends.
    pub(super) text: &'a str,
}

impl Server {
    /// Sends a mail. It is the server's as soon as this returns.
    pub(super) async fn send(&self, dialer: &Dialer, mail: &Mail<'_>) -> Result<(), Undelivered> {
        let mut session = self.open(dialer).await?;
        session.command(&format!("MAIL FROM:<{}>", mail.from), "MAIL FROM", 250).await?;
        let mut refused = None;
        let mut accepted = 0;
        for to in mail.to {
            match session.command(&format!("RCPT TO:<{to}>"), "RCPT TO", 250).await {
                Ok(_) => accepted += 1,
                Err(why) if why.is_reply => {
                    tracing::warn!(
                        to,
                        reason = why.undelivered.reason,
                        "no alerts for this address"
                    );
                    refused = Some(why);
                }
                Err(why) => return Err(why.into()),
            }
        }
        if let Some(why) = refused.filter(|_| accepted == 0) {
            return Err(why.into());
        }
        session.command("DATA", "DATA", 354).await?;
        let end = format!("{}.", mail.text);
        session.command(&end, "the message", 250).await?;
        // It has been taken; how the connection ends matters to nobody.
        drop(session.command("QUIT", "QUIT", 221).await);
        Ok(())
    }

    /// Goes as far as a mail could be sent, and sends none.
    pub(super) async fn try_out(&self, dialer: &Dialer) -> Result<(), Undelivered> {
        let mut session = self.open(dialer).await?;
        drop(session.command("QUIT", "QUIT", 221).await);
        Ok(())
    }

    /// A session that is protected and logged in as configured.
    async fn open(&self, dialer: &Dialer) -> Result<Session<Box<dyn Stream>>, Undelivered> {
        let in_clear = self.security == SmtpSecurity::None;
        let stream = dialer.connect(&self.host, self.port, in_clear).await?;
        let us = stream.local_addr().map_or_else(|_| "[127.0.0.1]".to_owned(), literal);
        let stream: Box<dyn Stream> = match self.security {
            SmtpSecurity::None => Box::new(stream),
            SmtpSecurity::Tls => Box::new(dialer.secure(&self.host, stream).await?),
            SmtpSecurity::StartTls => {
                let mut session = Session::new(stream);
                session.greeting().await?;
                if !session.hello(&us).await?.iter().any(|word| word == "STARTTLS") {
                    let host = &self.host;
                    return Err(Undelivered::new(format!(
                        "{host} does not offer STARTTLS: nothing is sent in the clear"
                    )));
                }
                session.command("STARTTLS", "STARTTLS", 220).await?;
                Box::new(dialer.secure(&self.host, session.into_stream()?).await?)
            }
        };
        let mut session = Session::new(stream);
        if self.security != SmtpSecurity::StartTls {
            session.greeting().await?;
        }
        // What was offered before TLS may have been somebody else's (RFC 3207 §4.2).
        let offered = session.hello(&us).await?;
        if let Some((name, password)) = &self.login {
            session.log_in(&offered, name, password).await?;
        }
        Ok(session)
    }
}

/// Why a command was not obeyed.
#[derive(Debug)]
struct Refused {
    undelivered: Undelivered,
    /// The server has said so, and goes on.
    is_reply: bool,
}

impl From<Refused> for Undelivered {
    fn from(refused: Refused) -> Self {
        refused.undelivered
    }
}

impl Refused {
    fn broken(reason: impl Into<String>) -> Self {
        Self { undelivered: Undelivered::new(reason), is_reply: false }
    }
}

struct Session<S>(BufReader<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    fn new(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    /// The stream, for TLS. What came before TLS must not count as if it had come through it.
    fn into_stream(self) -> Result<S, Undelivered> {
        match self.0.buffer().is_empty() {
            true => Ok(self.0.into_inner()),
            false => Err(Undelivered::new("the mail server went on in the clear after STARTTLS")),
        }
    }

    async fn greeting(&mut self) -> Result<(), Undelivered> {
        self.reply("the connection", 220).await?;
        Ok(())
    }

    /// What the server offers, in capitals.
    async fn hello(&mut self, us: &str) -> Result<Vec<String>, Undelivered> {
        let lines = self.command(&format!("EHLO {us}"), "EHLO", 250).await?;
        Ok(lines.into_iter().map(|line| line.to_ascii_uppercase()).collect())
    }

    async fn log_in(
        &mut self,
        offered: &[String],
        name: &str,
        password: &str,
    ) -> Result<(), Undelivered> {
        let ways = offered.iter().find_map(|line| line.strip_prefix("AUTH "));
        let has = |way: &str| ways.is_some_and(|ways| ways.split_whitespace().any(|it| it == way));
        if has("PLAIN") {
            let secret = Zeroizing::new(format!("\0{name}\0{password}"));
            let line = Zeroizing::new(format!("AUTH PLAIN {}", STANDARD.encode(secret.as_bytes())));
            self.command(&line, "AUTH", 235).await?;
        } else if has("LOGIN") {
            self.command("AUTH LOGIN", "AUTH", 334).await?;
            self.command(&STANDARD.encode(name), "AUTH", 334).await?;
            let line = Zeroizing::new(STANDARD.encode(password));
            self.command(&line, "AUTH", 235).await?;
        } else {
            return Err(Undelivered::new("the mail server offers neither AUTH PLAIN nor LOGIN"));
        }
        Ok(())
    }

    /// Says a line; what the reply is to say. `called` is what it is called in an error.
    async fn command(
        &mut self,
        line: &str,
        called: &str,
        expected: u16,
    ) -> Result<Vec<String>, Refused> {
        let line = Zeroizing::new(format!("{line}\r\n"));
        let said = self.0.write_all(line.as_bytes()).await;
        let said = match said {
            Ok(()) => self.0.flush().await,
            failed => failed,
        };
        said.map_err(|error| Refused::broken(format!("the mail server broke off: {error}")))?;
        self.reply(called, expected).await
    }

    async fn reply(&mut self, called: &str, expected: u16) -> Result<Vec<String>, Refused> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await?;
            let no_reply = || Refused::broken("the mail server answers something else than SMTP");
            let (code, rest) = line.split_at_checked(3).ok_or_else(no_reply)?;
            let code: u16 = code.parse().map_err(|_| no_reply())?;
            let is_last = match rest.bytes().next() {
                Some(b'-') => false,
                None | Some(b' ') => true,
                Some(_) => return Err(no_reply()),
            };
            let rest = rest.get(1..).unwrap_or_default();
            lines.push(rest.to_owned());
            if is_last && code == expected {
                return Ok(lines);
            }
            if is_last {
                let reason = format!("the mail server refuses {called}: {code}{}", enhanced(rest));
                let undelivered = Undelivered::new(reason);
                return Err(Refused { undelivered, is_reply: true });
            }
            if lines.len() >= MAX_LINES {
                return Err(Refused::broken("the mail server's reply does not end"));
            }
        }
    }

    async fn line(&mut self) -> Result<String, Refused> {
        let mut line = Vec::new();
        let read = (&mut self.0).take(MAX_LINE).read_until(b'\n', &mut line).await;
        read.map_err(|error| Refused::broken(format!("the mail server broke off: {error}")))?;
        if line.pop() != Some(b'\n') {
            return Err(Refused::broken("the mail server broke off, or its line does not end"));
        }
        Ok(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned())
    }
}

/// The enhanced code of a reply (RFC 3463), if it begins with one.
fn enhanced(text: &str) -> String {
    let word = text.split_whitespace().next().unwrap_or_default();
    let parts: Vec<&str> = word.split('.').collect();
    let is_number = |part: &&str| (1..=3).contains(&part.len()) && part.parse::<u16>().is_ok();
    match parts.len() == 3 && parts.iter().all(is_number) {
        true => format!(" {word}"),
        false => String::new(),
    }
}

/// Our address as a name (RFC 5321 §4.1.3): a host's own name need not be known to anybody.
fn literal(us: SocketAddr) -> String {
    match us.ip().to_canonical() {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    async fn after(said: &[u8]) -> Result<Vec<String>, Refused> {
        let (us, mut them) = duplex(1 << 20);
        them.write_all(said).await.unwrap();
        drop(them);
        Session::new(us).reply("EHLO", 250).await
    }

    #[tokio::test]
    async fn replies() {
        assert_eq!(after(b"250 hi\r\n").await.unwrap(), ["hi"]);
        assert_eq!(after(b"250-a\r\n250-STARTTLS\r\n250 c\n").await.unwrap()[1], "STARTTLS");
        let refused = after(b"550 5.7.1 your password is s3cret\r\n").await.unwrap_err();
        assert_eq!(refused.undelivered.reason, "the mail server refuses EHLO: 550 5.7.1");
        assert!(refused.is_reply);
        let long = [b"250-".to_vec(), vec![b'x'; 5_000]].concat();
        let many = b"250-x\r\n".repeat(1_000);
        for bad in [
            &b""[..],
            b"250",
            b"hello\r\n",
            b"25\r\n",
            b"250xy\r\n",
            "é50 x\r\n".as_bytes(),
            &long,
            &many,
        ] {
            assert!(!after(bad).await.unwrap_err().is_reply, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn what_is_said_before_tls_is_not_taken_for_what_is_said_within_it() {
        let (us, mut them) = duplex(1 << 20);
        them.write_all(b"220 go\r\n250 injected\r\n").await.unwrap();
        let mut session = Session::new(us);
        session.reply("STARTTLS", 220).await.unwrap();
        let refused = session.into_stream().expect_err("refused");
        assert!(refused.reason.contains("in the clear after STARTTLS"), "{}", refused.reason);
    }
}
