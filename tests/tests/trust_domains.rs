//! Two trust domains, each with an authority of its own: what one authority signs is nobody of the
//! other's domain, in either direction, whoever is asked.

use sealwire_testkit::openssl::{ForeignServer, Leaf, Pair, s_client};
use sealwire_testkit::{Connect, Home, Serve};
use sealwire_tests::{CORE, ECHO, echo_table, honest_session};

const OTHER: &str = "[security]\ntrust_domain = \"other.example\"\n";
const CA: &str = "certs/ca/ca-cert.pem";

/// A home of trust domain `sealwire.internal`, and one of `other.example`.
fn homes() -> (Home, Home) {
    let (ours, theirs) = (Home::with_config(&echo_table()), Home::empty());
    theirs.run(&["init", "--trust-domain", "other.example"]).ok();
    theirs.configure(&format!("{OTHER}{}", echo_table()));
    theirs.run(&["cert", "issue", "--all"]).ok();
    (ours, theirs)
}

/// The home's `serve` refuses a client with that certificate.
fn refuses_client(home: &Home, pair: &Pair, code: &str) {
    let serve = Serve::start(home);
    let mark = serve.log().mark();
    let client = s_client(serve.address(), "echo", Some(pair), &["-tls1_3"]);
    serve.refused(mark, code);
    drop(client);
}

/// The home's `connect` refuses a server with that certificate.
fn refuses_server(home: &Home, pair: &Pair, extra: &str, code: &str) {
    let server = ForeignServer::start(pair, &home.file(CA), &["-tls1_3"]);
    let mut client = Connect::spawn(home.connect_command("echo", server.address(), extra));
    client.log().wait_for(&[&format!("[{code}]")]);
    assert_eq!(client.process().wait().code(), Some(1));
}

#[test]
fn a_name_of_ours_signed_by_their_authority_is_refused_by_both() {
    let (ours, theirs) = homes();
    let client = theirs.authority().issue(&Leaf::client(CORE));
    refuses_client(&ours, &client, "unknown_issuer");
    refuses_client(&theirs, &client, "trust_domain");
    let server = theirs.authority().issue(&Leaf::server(ECHO));
    refuses_server(&ours, &server, "", "unknown_issuer");
    refuses_server(&theirs, &server, OTHER, "trust_domain");
}

#[test]
fn a_name_of_theirs_is_nobody_here_whoever_signed_it() {
    let (ours, theirs) = homes();
    let name = "spiffe://other.example/core/core";
    refuses_client(&ours, &theirs.authority().issue(&Leaf::client(name)), "unknown_issuer");
    refuses_client(&ours, &ours.authority().issue(&Leaf::client(name)), "trust_domain");
    let name = "spiffe://other.example/mcp-server/echo";
    refuses_server(&ours, &theirs.authority().issue(&Leaf::server(name)), "", "unknown_issuer");
    refuses_server(&ours, &ours.authority().issue(&Leaf::server(name)), "", "trust_domain");
    // Where both names are good, each is.
    let serve = Serve::start(&ours);
    honest_session(&ours, serve.address());
}

/// An authority that says whose it is vouches for nobody else's names, not even by mistake.
#[test]
fn the_authority_of_another_domain_is_no_trust_anchor() {
    let (ours, theirs) = homes();
    let both = [ours.file(CA), theirs.file(CA)].map(|file| std::fs::read_to_string(file).unwrap());
    ours.write("both.pem", both.concat());
    ours.configure(&format!("{}trusted_ca = \"both.pem\"\n", echo_table()));
    for command in [&["config", "check"][..], &["serve"]] {
        let refused = ours.run(command);
        assert_eq!(refused.code, Some(78), "{refused}");
        assert!(refused.stderr.contains("made for trust domain other.example"), "{refused}");
    }
}
