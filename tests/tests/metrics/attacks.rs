//! A server, its honest client, and all who try what they must not.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use sealwire_testkit::openssl::{Authority, Leaf, Pair, Validity, s_client};
use sealwire_testkit::{ChaosProxy, Connect, Cut, Home, Serve, wait_until};
use sealwire_tests::link_client::LinkClient;
use sealwire_tests::{CORE, call_echo, echo_table, honest_session};
use serde_json::json;

use crate::{ADMIN, admin_address, metrics, value};

/// Who may do what, and how often.
const RULES: &str = "rate_limiting.tools = { count = { max_requests_per_sec = 0.000001, burst_size = 1 } }\n\
     [security.rate_limiting]\nenabled = true\nmax_requests_per_sec = 10000.0\nburst_size = 10000\n\
     [[policy.deny]]\nmethods = [\"prompts/list\"]\n\
     [incidents.denied_requests]\ntrigger = 2\nwindow = \"1h\"\naction = \"notify\"\nexpiry = \"1h\"\n";

/// Two of whom one may write to the other.
const AGENTS: &str = "[agent_security]\nagents = [\"Writer\", \"Reader\"]\n\
     [agent_security.trust.Writer]\ncan_communicate_with = [\"Reader\"]\n";

pub(crate) struct Scene {
    pub(crate) home: Home,
    pub(crate) serve: Serve,
    pub(crate) admin: SocketAddr,
}

impl Scene {
    pub(crate) fn new() -> Self {
        // Without an end to how large it may be, there is nothing to show of that.
        let audit = "[audit]\nmax_total_size = \"1GiB\"\n";
        let home = Home::with_config(&format!("{}{RULES}{ADMIN}{audit}{AGENTS}", echo_table()));
        home.run(&["key", "new", "--all"]).ok();
        home.run(&["cert", "issue", "mallory", "--kind", "agent"]).ok();
        let serve = Serve::start(&home);
        let admin = admin_address(&serve);
        Self { home, serve, admin }
    }

    /// One of each attack, and honest work beside it.
    pub(crate) fn play(&self) {
        honest_session(&self.home, self.serve.address());
        self.is_cut();
        self.strangers();
        self.stale();
        self.denied();
        self.mail();
        self.home
            .run(&[
                "quarantine",
                "add",
                "peer",
                "spiffe://sealwire.internal/agent/mallory",
                "--reason",
                "test",
            ])
            .ok();
        let text = metrics(self.admin);
        assert_eq!(value(&text, "sealwire_audit_failures_total{}"), Some(0), "{text}");
    }

    /// The network breaks between two calls.
    fn is_cut(&self) {
        let proxy = ChaosProxy::start(self.serve.address());
        let mut client = Connect::start(&self.home, "echo", proxy.address());
        client.initialize();
        call_echo(&mut client, "before");
        proxy.cut(Cut::Reset);
        call_echo(&mut client, "after");
        client.finish();
    }

    /// Who has no certificate, or none that is any good.
    fn strangers(&self) {
        let home = &self.home;
        let leaf = Leaf::client(CORE);
        let foreign = Authority::create(&home.file("foreign")).issue(&leaf);
        let authority = home.authority();
        let past = authority.issue(&Leaf { validity: Validity::Past, ..leaf.clone() });
        let forged = forged(&authority.issue(&leaf));
        for (pair, code) in [
            (None, "certificate_missing"),
            (Some(foreign), "unknown_issuer"),
            (Some(past), "certificate_expired"),
            (Some(forged), "certificate_signature"),
        ] {
            let mark = self.serve.log().mark();
            let client = s_client(self.serve.address(), "echo", pair.as_ref(), &["-tls1_3"]);
            self.serve.refused(mark, code);
            drop(client);
        }
    }

    /// Somebody comes back with what has been used before.
    fn stale(&self) {
        let dial =
            || LinkClient::dial(&self.home, &self.home.core_pair(), "echo", self.serve.address());
        let granted = dial().open();
        let mark = self.serve.log().mark();
        let mut late = dial();
        late.hello(Some(granted.resume(0)), 0);
        assert_eq!(late.granted(), Err("resume_stale".to_owned()));
        drop(late);
        self.serve.refused(mark, "resume_stale");
    }

    /// By processes of their own, which tell `serve` what they record.
    fn mail(&self) {
        for (from, to, code) in [("Writer", "Reader", 0), ("Reader", "Writer", 1)] {
            let mut command = self.home.sealwire();
            command.args(["agent", "send", "--from", from, "--to", to]);
            let output = sealwire_testkit::run(command, b"hello");
            assert_eq!(output.code, Some(code), "{output}");
        }
        self.home.run(&["agent", "recv", "--as", "Reader"]).ok();
    }

    /// Who asks for what he may not have, and for more than he may.
    fn denied(&self) {
        let mut client = Connect::start(&self.home, "echo", self.serve.address());
        client.initialize();
        for _ in 0..3 {
            let answer = client.request("prompts/list", &json!({}));
            assert_eq!(answer["error"]["data"]["sealwire"], "not_authorized", "{answer}");
        }
        let count = json!({"name": "count", "arguments": {}});
        client.request("tools/call", &count);
        let answer = client.request("tools/call", &count);
        assert_eq!(answer["error"]["data"]["sealwire"], "shared_limit", "{answer}");
        client.finish();
        wait_until("the incident is told", || {
            let text = metrics(self.admin);
            value(&text, "sealwire_incidents_total{kind=\"denied_requests\"}") == Some(1)
        });
    }
}

/// The same certificate, as if somebody had put another signature under it.
fn forged(pair: &Pair) -> Pair {
    let dir = pair.cert.parent().unwrap();
    let (der, cert) = (dir.join("forged.der"), dir.join("forged.pem"));
    convert("PEM", &pair.cert, "DER", &der);
    let mut bytes = fs::read(&der).unwrap();
    // Within the last number of the ECDSA signature, which ends the certificate.
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    fs::write(&der, bytes).unwrap();
    convert("DER", &der, "PEM", &cert);
    // The authority that is said to have signed it stands behind it, as it did.
    let (end, mut chain) = ("-----END CERTIFICATE-----\n", fs::read_to_string(&cert).unwrap());
    let whole = fs::read_to_string(&pair.cert).unwrap();
    chain.push_str(whole.split_once(end).unwrap().1);
    fs::write(&cert, chain).unwrap();
    Pair { cert, key: pair.key.clone() }
}

fn convert(from: &str, input: &Path, to: &str, output: &Path) {
    let mut command = std::process::Command::new("openssl");
    command.args(["x509", "-inform", from, "-outform", to]);
    command.arg("-in").arg(input).arg("-out").arg(output);
    sealwire_testkit::run(command, b"").ok();
}
