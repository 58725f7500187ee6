use std::fs;

use sealwire_testkit::openssl::{Authority, Leaf, Pair};
use sealwire_testkit::{ChaosProxy, Connect, Cut, Home, Serve};
use sealwire_tests::{CORE, call_echo, serving_echo};

use super::{CA, bundle, install, issue, replace};

const CORE_CERT: &str = "certs/core/core-cert.pem";
const CORE_KEY: &str = "certs/core/core-key.pem";

/// A conversation over a network that can be cut.
struct Cuttable {
    client: Connect,
    proxy: ChaosProxy,
    serve: Serve,
    home: Home,
}

impl Cuttable {
    fn new() -> Self {
        let (home, serve) = serving_echo("");
        let proxy = ChaosProxy::start(serve.address());
        let mut client = Connect::start(&home, "echo", proxy.address());
        client.initialize();
        Self { client, proxy, serve, home }
    }

    /// Cuts the connection, calls, and says under which certificate the client is back.
    fn come_back(&mut self) -> String {
        let mark = self.serve.log().mark();
        self.proxy.cut(Cut::Reset);
        call_echo(&mut self.client, "back");
        let line = self.serve.log().wait_after(mark, &["connection resumed"]);
        let (_, rest) = line.split_once("certificate=").expect("the certificate is told");
        rest.split_whitespace().next().unwrap_or_default().to_owned()
    }

    fn install(&self, pair: &Pair) {
        replace(&self.home, CORE_CERT, fs::read(&pair.cert).unwrap());
        replace(&self.home, CORE_KEY, fs::read(&pair.key).unwrap());
    }
}

/// `connect` may run for weeks, longer than its certificate is valid.
#[test]
fn connect_comes_back_with_a_renewed_certificate() {
    let mut there = Cuttable::new();
    let old = there.come_back();
    assert_eq!(there.come_back(), old, "another certificate without a reason");
    let authority = there.home.authority();
    there.install(&authority.issue(&Leaf::client(CORE)));
    let renewed = there.come_back();
    assert_ne!(renewed, old);

    // What cannot be used is told of, and what it has stays.
    let good = fs::read(there.home.file(CORE_CERT)).unwrap();
    replace(&there.home, CORE_CERT, &good[..good.len() / 2]);
    assert_eq!(there.come_back(), renewed);
    there.client.log().wait_for(&["WARN", "the old ones stay", CORE_CERT, "to fix:"]);
    let mark = there.client.log().mark();
    assert_eq!(there.come_back(), renewed);
    let told = there.client.log().lines();
    assert!(!told[mark..].iter().any(|line| line.contains("the old ones stay")), "told again");

    // Nor does it become somebody else, whose conversation this is not.
    there.install(&authority.issue(&Leaf::client("spiffe://sealwire.internal/core/other")));
    assert_eq!(there.come_back(), renewed);
    there.client.log().wait_after(mark, &["WARN", "core/other"]);
    replace(&there.home, CORE_CERT, &good);
}

/// The server has moved to another authority when the client comes back.
#[test]
fn connect_comes_back_with_renewed_trust_anchors() {
    let mut there = Cuttable::new();
    let next = Authority::create(&there.home.file("next"));
    let old = there.home.file("old.pem");
    fs::copy(there.home.file(CA), &old).unwrap();
    let mark = there.serve.log().mark();
    replace(&there.home, CA, bundle(&[&old, &next.pair().cert]));
    install(&there.home, &issue(&next));
    there.serve.log().wait_after(mark, &["configuration reloaded", "echo: certificate"]);
    there.come_back();
}
