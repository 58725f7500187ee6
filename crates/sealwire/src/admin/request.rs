//! One request, and its answer.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::{Answers, Readiness};
use crate::cli::lost_log_lines;

/// What is answered.
struct Told {
    status: StatusCode,
    content_type: &'static str,
    body: String,
}

impl Told {
    fn json(status: StatusCode, body: &Value) -> Self {
        Self { status, content_type: "application/json", body: format!("{body}\n") }
    }
}

/// Answers. The request's body is never read.
pub(super) fn answer(
    request: &Request<Incoming>,
    local: SocketAddr,
    answers: &Answers,
) -> Response<Full<Bytes>> {
    let Told { status, content_type, body } = decide(request, local, answers);
    // A HEAD has the head of the GET; hyper leaves the body out.
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

fn decide<B>(request: &Request<B>, local: SocketAddr, answers: &Answers) -> Told {
    let refused = |status, reason: &str| Told::json(status, &json!({ "error": reason }));
    if !is_for_us(request, local) {
        return refused(
            StatusCode::MISDIRECTED_REQUEST,
            "the Host is not this machine's loopback, or not this port",
        );
    }
    if is_of_a_page(request.headers()) {
        return refused(StatusCode::FORBIDDEN, "web pages have no business here");
    }
    let told: fn(&Answers) -> Told = match request.uri().path() {
        "/healthz" => |_| health(),
        "/readyz" => |answers| readiness(&answers.readiness),
        "/metrics" => |answers| Told {
            status: StatusCode::OK,
            content_type: sealwire::metrics::CONTENT_TYPE,
            body: (answers.metrics)(),
        },
        _ => return refused(StatusCode::NOT_FOUND, "there is /healthz, /readyz and /metrics"),
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return refused(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD");
    }
    told(answers)
}

fn health() -> Told {
    let lost = lost_log_lines();
    let body = json!({
        "status": "alive",
        "version": env!("CARGO_PKG_VERSION"),
        "log_lines_lost": lost.lines,
        "audit_lines_lost": lost.audit,
    });
    Told::json(StatusCode::OK, &body)
}

fn readiness(readiness: &Readiness) -> Told {
    let report = readiness.report();
    let status = match report.is_ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    Told::json(status, &report.body)
}

/// Whether the request names this listener. A page whose own name was made to lead to
/// 127.0.0.1 after it was loaded (DNS rebinding) names itself.
fn is_for_us<B>(request: &Request<B>, local: SocketAddr) -> bool {
    // RFC 9112 §3.2: exactly one Host, and a target in absolute form counts instead of it;
    // here it must pass as well.
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let host = Authority::try_from(host.as_bytes());
    let target = request.uri().authority();
    host.is_ok_and(|host| is_local(&host, local)) && target.is_none_or(|it| is_local(it, local))
}

fn is_local(authority: &Authority, local: SocketAddr) -> bool {
    let host = authority.host();
    let name = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_loopback = host.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    let port_fits = match authority.port() {
        Some(port) => port.as_u16() == local.port(),
        // Without a port it is HTTP's own; a colon without one is nothing.
        None => !authority.as_str().ends_with(':'),
    };
    is_loopback && port_fits && !authority.as_str().contains('@')
}

/// Whether a browser sent it for a page: those say where the page is from, or, where they
/// leave `Origin` out, that it is from elsewhere (Fetch Metadata).
fn is_of_a_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    headers.contains_key(header::ORIGIN)
        || site.is_some_and(|site| !matches!(site.as_bytes(), b"none" | b"same-origin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_meant() {
        let local = SocketAddr::from(([127, 0, 0, 1], 9443));
        let answer = |target: &str, hosts: &[&str]| {
            let mut request = Request::get(target);
            for host in hosts {
                request = request.header("host", *host);
            }
            is_for_us(&request.body(()).unwrap(), local)
        };
        for host in
            ["localhost:9443", "LOCALHOST:9443", "127.0.0.1:9443", "127.9.9.9:9443", "[::1]:9443"]
        {
            assert!(answer("/healthz", &[host]), "{host}");
        }
        assert!(answer("/healthz", &["localhost"]));
        // As `address` may be written, and `sealwire health` then has it.
        assert!(answer("/healthz", &["[::ffff:127.0.0.1]:9443"]));
        assert!(answer("http://localhost:9443/healthz", &["localhost:9443"]));
        for host in [
            "",
            "evil.example",
            "evil.example:9443",
            "localhost.evil.example:9443",
            "localhost:80",
            "localhost:",
            "localhost.:9443",
            "127.0.0.1.nip.io:9443",
            "10.0.0.1:9443",
            "0.0.0.0:9443",
            "2130706433:9443",
            "[::]:9443",
            "[::ffff:10.0.0.1]:9443",
            "a@localhost:9443",
            "localhost:9443@evil.example",
        ] {
            assert!(!answer("/healthz", &[host]), "{host}");
        }
        assert!(!answer("/healthz", &[]));
        assert!(!answer("/healthz", &["localhost:9443", "localhost:9443"]));
        assert!(!answer("http://evil.example/healthz", &["localhost:9443"]));
        assert!(!answer("http://localhost:9443/healthz", &["evil.example"]));
    }
}
