//! Configuration, certificates and trust anchors are replaced while `serve` runs: what is
//! good is taken up without a connection dropped, what is bad is refused and told.

mod bad_files;
mod changes;
mod connecting;
mod operations;
mod peers;
mod under_load;

use std::fs;
use std::path::Path;

use sealwire_testkit::openssl::{Authority, Leaf, Pair};
use sealwire_testkit::{Home, Serve};
use sealwire_tests::{ECHO, echo_table};

const CERT: &str = "certs/mcp-servers/echo-cert.pem";
const KEY: &str = "certs/mcp-servers/echo-key.pem";
const CA: &str = "certs/ca/ca-cert.pem";

/// What the log says of a reload that was carried out, and of one that was not.
const RELOADED: &str = "configuration reloaded";
const REFUSED: &str = "reload refused";

/// A home that serves `echo`, running, with a log of all that happens.
fn serving(config: &str) -> (Home, Serve) {
    let home = Home::with_config(config);
    let serve = start(&home, &[]);
    (home, serve)
}

/// `serve NAMES`. Returns once it watches its files.
fn start(home: &Home, names: &[&str]) -> Serve {
    let serve = Serve::start_with(home, &["--log-level", "debug"], names);
    serve.log().wait_for(&["following the files"]);
    serve
}

fn serving_echo() -> (Home, Serve) {
    serving(&echo_table())
}

/// Replaces a file as a careful program does: nobody ever reads half of it.
fn replace(home: &Home, file: &str, content: impl AsRef<[u8]>) {
    let new = home.write(&format!("{file}.new"), content);
    if file.ends_with("-key.pem") {
        home.chmod(&format!("{file}.new"), 0o600);
    }
    fs::rename(new, home.file(file)).unwrap();
}

/// Puts a certificate and its key where `echo` has its own.
fn install(home: &Home, pair: &Pair) {
    replace(home, CERT, fs::read(&pair.cert).unwrap());
    replace(home, KEY, fs::read(&pair.key).unwrap());
}

/// A new certificate for `echo`.
fn issue(authority: &Authority) -> Pair {
    authority.issue(&Leaf::server(ECHO))
}

/// The file's certificates one after the other.
fn bundle(certs: &[&Path]) -> Vec<u8> {
    certs.iter().flat_map(|cert| fs::read(cert).unwrap()).collect()
}

fn truncated(home: &Home, file: &str) -> Vec<u8> {
    let mut content = fs::read(home.file(file)).unwrap();
    content.truncate(content.len() / 2);
    content
}

/// Reads everything again at once.
fn hang_up(serve: &mut Serve) {
    serve.process().hang_up();
}

/// Lines of the log, after `mark`, that hold `part`.
fn lines(serve: &Serve, mark: usize, part: &str) -> Vec<String> {
    serve.log().lines().into_iter().skip(mark).filter(|line| line.contains(part)).collect()
}
