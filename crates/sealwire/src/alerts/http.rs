//! One POST to a webhook. Redirects are not followed: where one leads was never configured.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;

use super::dial::{Dialer, Stream, Undelivered};

/// Longest head of an answer, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Where a webhook is.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Webhook {
    host: String,
    port: u16,
    /// As it is written in a request: with the port, and an IPv6 address in brackets.
    authority: String,
    /// Path and query, in which a secret may be.
    path: String,
    in_clear: bool,
}

impl Webhook {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, without anything of it.
    pub(super) fn parse(url: &str) -> Result<Self, &'static str> {
        let uri: Uri = url.parse().map_err(|_| "it is no URL")?;
        let in_clear = match uri.scheme_str() {
            Some("https") => false,
            Some("http") => true,
            _ => return Err("it does not begin with https://"),
        };
        let authority = uri.authority().ok_or("it has no host")?;
        if authority.as_str().contains('@') {
            return Err("it holds a user name; what proves us is a header, or the path");
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let has_port = authority.as_str().len() > authority.host().len();
        if host.is_empty() || (has_port && authority.port_u16().is_none()) {
            return Err("it has no host, or no port that can be");
        }
        let port = authority.port_u16().unwrap_or(if in_clear { 80 } else { 443 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let authority = authority.as_str().to_owned();
        Ok(Self { host, port, authority, path, in_clear })
    }

    /// Whether it would be sent in the clear.
    pub(super) fn is_in_clear(&self) -> bool {
        self.in_clear
    }

    /// Whether it is on this machine, by its name.
    pub(super) fn is_here(&self) -> bool {
        let is_loopback = |address: std::net::IpAddr| address.is_loopback();
        self.host == "localhost" || self.host.parse().is_ok_and(is_loopback)
    }

    /// The host and port, which are not secret.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// Connects, with TLS where there is to be TLS.
    pub(super) async fn connect(&self, dialer: &Dialer) -> Result<Box<dyn Stream>, Undelivered> {
        let stream = dialer.connect(&self.host, self.port, self.in_clear).await?;
        Ok(match self.in_clear {
            true => Box::new(stream),
            false => Box::new(dialer.secure(&self.host, stream).await?),
        })
    }

    /// Sends `body`, which is JSON.
    pub(super) async fn post(
        &self,
        dialer: &Dialer,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
    ) -> Result<(), Undelivered> {
        let mut request = Request::post(&*self.path)
            .header(HOST, &*self.authority)
            .header(USER_AGENT, concat!("sealwire/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| Undelivered::new("the request cannot be written"))?;
        let response = exchange(self.connect(dialer).await?, request)
            .await
            .map_err(|error| Undelivered::new(format!("{} broke off: {error}", self.authority)))?;
        judge(&self.authority, &response)
    }
}

/// One request and the head of its answer; of the rest nothing is read.
async fn exchange(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, hyper::Error> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let answer = sender.send_request(request);
    tokio::pin!(answer, connection);
    tokio::select! {
        biased;
        answer = &mut answer => return answer,
        ended = &mut connection => ended?,
    }
    answer.await
}

fn judge<B>(authority: &str, response: &Response<B>) -> Result<(), Undelivered> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let and = if status.is_redirection() { ": redirects are not followed" } else { "" };
    let seconds = response.headers().get(RETRY_AFTER).map(HeaderValue::to_str);
    let seconds = seconds.and_then(|text| text.ok()?.trim().parse().ok());
    Err(Undelivered {
        reason: format!("{authority} answered {}{and}", status.as_u16()),
        retry_after: seconds.map(Duration::from_secs),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let webhook = Webhook::parse("https://hooks.example/services/T/B?x=1").unwrap();
        assert_eq!((&*webhook.host, webhook.port), ("hooks.example", 443));
        assert_eq!(webhook.path, "/services/T/B?x=1");
        let webhook = Webhook::parse("http://[::1]:8080").unwrap();
        assert_eq!((&*webhook.host, webhook.port, &*webhook.path), ("::1", 8080, "/"));
        assert!(webhook.in_clear);
        for bad in
            ["", "hooks.example/x", "ftp://a/", "https://", "https://u:p@a/", "https://a:99999/"]
        {
            let what = Webhook::parse(bad).err().unwrap_or_else(|| panic!("{bad}"));
            assert!(bad.is_empty() || !what.contains(bad), "{what}");
        }
    }

    #[test]
    fn only_success_is_success() {
        let answer = |status: u16, retry: &str| {
            let response = Response::builder().status(status).header("Retry-After", retry);
            judge("h", &response.body(()).unwrap())
        };
        assert_eq!(answer(204, ""), Ok(()));
        let moved = answer(302, "").unwrap_err();
        assert!(moved.reason.contains("302: redirects are not followed"), "{}", moved.reason);
        assert_eq!(answer(429, "7").unwrap_err().retry_after, Some(Duration::from_secs(7)));
        assert_eq!(answer(500, "Wed, 21 Oct 2015 07:28:00 GMT").unwrap_err().retry_after, None);
        answer(404, "").unwrap_err();
    }
}
