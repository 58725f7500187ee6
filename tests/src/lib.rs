//! What several of the end-to-end tests need: an MCP server to serve, and an honest
//! client of it. Everything else is in the testkit.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod compatibility;
pub mod link_client;
pub mod mail;
pub mod restarted;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};

use sealwire_testkit::{Connect, Home, Serve, bin, server_table};
use serde_json::{Value, json};

/// The peer that `sealwire init` makes.
pub const CORE: &str = "spiffe://sealwire.internal/core/core";
/// The peer behind the served entry `echo`.
pub const ECHO: &str = "spiffe://sealwire.internal/mcp-server/echo";

/// Configuration of the served MCP server `echo`, a real one that costs little.
pub fn echo_table() -> String {
    server_table("echo", bin("sealwire-fake-server"), &[])
}

/// Configuration of the served MCP server `wire`: its child sends back each byte that it
/// gets, and keeps a copy of what it got in the file that is returned too.
pub fn wire_table(home: &Home) -> (String, PathBuf) {
    let record = home.file("record");
    (server_table("wire", "tee", &[record.to_str().expect("UTF-8")]), record)
}

/// A home that serves `echo`, running.
pub fn serving_echo(extra: &str) -> (Home, Serve) {
    let home = Home::with_config(&format!("{}{extra}", echo_table()));
    let serve = Serve::start(&home);
    (home, serve)
}

/// A new client session that is initialized, calls a tool, gets the right answer, and
/// ends in good order.
pub fn honest_session(home: &Home, address: SocketAddr) {
    let mut client = Connect::start(home, "echo", address);
    client.initialize();
    call_echo(&mut client, "still here");
    let (status, rest) = client.finish();
    assert!(status.success(), "connect ended with {status}");
    assert!(rest.is_empty(), "more output than answers: {rest:?}");
}

/// Calls the tool `echo` and checks the answer.
pub fn call_echo(client: &mut Connect, text: &str) {
    let answer = client.request("tools/call", &echo_params(text));
    assert_eq!(answer["result"]["content"][0]["text"], json!(text), "{answer}");
}

/// An address for a server whose log cannot tell it. It stays free until then: everybody
/// else listens at, and dials from, 127.0.0.1 or another process's address.
pub fn free_address() -> SocketAddr {
    static NUMBER: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, high | 1, low, NUMBER.fetch_add(1, Ordering::Relaxed));
    TcpListener::bind((ip, 0)).and_then(|listener| listener.local_addr()).expect("loopback")
}

/// The `params` of a call of the tool `echo`.
pub fn echo_params(text: &str) -> Value {
    json!({"name": "echo", "arguments": {"text": text}})
}
