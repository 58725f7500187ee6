//! A certificate that expires in mid-connection ends the connection, on either side; whoever has
//! another one by then goes on, and no call is lost.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sealwire_testkit::openssl::{Authority, ForeignServer, Leaf, Pair, Validity};
use sealwire_testkit::{Connect, Home, Serve};
use sealwire_tests::link_client::LinkClient;
use sealwire_tests::{CORE, ECHO, call_echo, echo_table, honest_session, serving_echo, wire_table};

const OWN: &str = "certs/core/core";
const EXPIRED: &str = "certificate_expired";
/// As `serve` and `connect` say it of a connection that stood.
const ENDED: &str = "the peer's certificate, or a revocation list, has expired";

/// How long the leaves live, in seconds: long enough for what is done before.
fn life() -> u64 {
    if std::env::var_os("SEALWIRE_SOAK").is_some() { 60 } else { 8 }
}

fn short_lived(home: &Home, mut leaf: Leaf) -> Pair {
    leaf.validity = Validity::Seconds(life());
    home.authority().issue(&leaf)
}

/// Puts a pair in the place of one of the home's.
fn put(home: &Home, pair: &Pair, place: &str) {
    for (from, end) in [(&pair.key, "key"), (&pair.cert, "cert")] {
        replace(from, &home.file(&format!("{place}-{end}.pem")));
    }
}

fn replace(from: &Path, to: &Path) {
    let beside = to.with_extension("new");
    fs::copy(from, &beside).unwrap();
    fs::rename(&beside, to).unwrap();
}

fn note(text: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/note","params":{{"text":"{text}"}}}}"#)
}

fn exchange(client: &mut LinkClient, seq: u64) {
    let text = note(&seq.to_string());
    client.send_message(seq, &text);
    assert_eq!(client.message(), (seq, text));
}

/// One call after the other, each of which is answered.
fn calls_until(client: &mut Connect, end: Instant) {
    while Instant::now() < end {
        call_echo(client, "on and on");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The connection, the TLS session, and the conversation's handle: none of them is any good
/// afterwards. With another certificate of the same name the handle still is.
#[test]
fn a_clients_certificate() {
    let home = Home::initialized();
    let (wire, _) = wire_table(&home);
    home.configure(&format!("{wire}{}", echo_table()));
    home.run(&["cert", "issue", "--all"]).ok();
    let serve = Serve::start(&home);
    let (pair, began) = (short_lived(&home, Leaf::client(CORE)), Instant::now());
    let tls = LinkClient::tls(&home, &pair);
    let dial = || LinkClient::dial_with(&tls, "wire", serve.address());
    let mut first = dial();
    first.open();
    let mut live = dial();
    assert!(live.has_resumed(), "or nothing is shown below");
    let granted = live.open();
    // Whoever says nothing for long is given up before.
    let mut said = 0;
    while began.elapsed() < Duration::from_secs(life() - 3) {
        said += 1;
        exchange(&mut live, said);
        thread::sleep(Duration::from_millis(100));
    }
    assert!(live.until_closed().iter().all(|raw| raw.message().is_none()));
    serve.log().wait_for(&[ENDED]);

    let mark = serve.log().mark();
    let mut back = dial();
    assert!(back.has_resumed(), "or it is only another handshake");
    back.hello(Some(granted.resume(1)), said);
    assert_eq!(back.granted(), Err(EXPIRED.to_owned()));
    assert_eq!(back.until_closed(), []);
    serve.refused(mark, EXPIRED);

    let renewed = home.authority().issue(&Leaf::client(CORE));
    let mut again = LinkClient::dial(&home, &renewed, "wire", serve.address());
    again.hello(Some(granted.resume(2)), said);
    assert_eq!(again.granted().map(|granted| granted.received), Ok(said));
    exchange(&mut again, said + 1);
    honest_session(&home, serve.address());
}

#[test]
fn a_servers_certificate() {
    let home = Home::with_config(&echo_table());
    put(&home, &short_lived(&home, Leaf::server(ECHO)), "certs/mcp-servers/echo");
    let began = Instant::now();
    let serve = Serve::start(&home);
    let mut client = Connect::start(&home, "echo", serve.address());
    client.initialize();
    calls_until(&mut client, began + Duration::from_secs(life() - 3));
    client.log().wait_for(&[&format!("[{EXPIRED}]")]);
    assert_eq!(client.process().wait().code(), Some(1));
    drop(serve);
}

/// Of a handshake that fails by it both ends tell whose it is, since when, and what to do.
#[test]
fn whose_certificate_has_expired_is_told() {
    let (home, serve) = serving_echo("");
    let authority = home.authority();
    let told = |address, expected: &[&str]| {
        let mut client = Connect::start(&home, "echo", address);
        client.log().wait_for(&[EXPIRED]);
        client.log().wait_for(expected);
        assert_eq!(client.process().wait().code(), Some(1));
    };
    // Theirs.
    let past = |mut leaf: Leaf| {
        leaf.validity = Validity::Past;
        authority.issue(&leaf)
    };
    let ca = home.file("certs/ca/ca-cert.pem");
    let options = ["-tls1_3", "-verify_return_error"];
    let old = ForeignServer::start(&past(Leaf::server(ECHO)), &ca, &options);
    told(old.address(), &["the peer's certificate", "expired at 20", "the peer needs a new one"]);
    let expected = ["to fix: compare the clocks", "cert issue echo --kind mcp-server --force"];
    told(old.address(), &expected);

    // Ours is good, and the clock there is wrong.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let in_a_year = (now + 365 * 86_400).to_string();
    let good = authority.issue(&Leaf::server(ECHO));
    let ahead = [&options[..], &["-attime", &in_a_year]].concat();
    let ahead = ForeignServer::start(&good, &ca, &ahead);
    told(ahead.address(), &["to fix:", "core-cert.pem is valid until 20", "date -u"]);

    // Ours.
    put(&home, &past(Leaf::client(CORE)), OWN);
    let mark = serve.log().mark();
    told(serve.address(), &["the peer refused us: our certificate"]);
    serve.refused(mark, EXPIRED);
    serve.log().wait_for(&["the peer's certificate", "expired at 20", "the peer needs a new one"]);
    let expected =
        ["to fix:", "core-cert.pem expired at 20", "cert issue core --kind core --force"];
    told(serve.address(), &expected);

    // Ours is from the future, by the clock there and here.
    put(&home, &authority.issue(&Leaf { validity: Validity::Future, ..Leaf::client(CORE) }), OWN);
    told(serve.address(), &["to fix:", "core-cert.pem is not valid before 2090", "date -u"]);

    // Ours is good, and an authority's that goes with it is not.
    let below = out_of_date_below(&authority, &home);
    put(&home, &below.below_root().issue(&Leaf::client(CORE)), OWN);
    let expected = ["to fix: the authority's certificate in", "core-cert.pem expired at 2021"];
    told(serve.address(), &expected);
}

/// An authority that another has certified until 2021.
fn out_of_date_below(above: &Authority, home: &Home) -> Authority {
    let pair = above.issue(&Leaf {
        is_ca: true,
        key_usage: "critical,keyCertSign,cRLSign",
        validity: Validity::Past,
        ..Leaf::client("spiffe://sealwire.internal")
    });
    Authority::existing(&home.file("below"), &pair.cert, &pair.key)
}

/// A trust anchor of ours is named, and its peer is not told to mend anything.
#[test]
fn an_expired_trust_anchor_is_named_by_whoever_has_it() {
    let home = Home::initialized();
    let old = out_of_date_below(&Authority::create(&home.file("above")), &home);
    let options = ["-tls1_3"];
    let anchor = &old.pair().cert;
    let server = ForeignServer::start(&old.issue(&Leaf::server(ECHO)), anchor, &options);
    let trusted = format!("trusted_ca = \"{}\"", anchor.display());
    let mut client = Connect::spawn(home.connect_command("echo", server.address(), &trusted));
    let said = ["the trust anchor of ours", "CN=sealwire.internal, expired at 2021", "(it is 20"];
    client.log().wait_for(&said);
    client.log().wait_for(&["to fix: compare the clocks", "`sealwire doctor` here"]);
    assert_eq!(client.process().wait().code(), Some(1));
}

/// Another certificate is there in time, and is taken up when the old one ends.
fn renewed_in_time(leaf: Leaf, place: &str, who: &str, ended: impl Fn(&Serve, &Connect)) {
    let home = Home::with_config(&echo_table());
    put(&home, &short_lived(&home, leaf), place);
    let began = Instant::now();
    let serve = Serve::start(&home);
    let mut command = home.connect_command("echo", serve.address(), "");
    command.args(["--log-level", "info"]);
    let mut client = Connect::spawn(command);
    client.initialize();
    home.run(&["cert", "issue", who, "--force"]).ok();
    calls_until(&mut client, began + Duration::from_secs(life() + 3));
    ended(&serve, &client);
    call_echo(&mut client, "after");
    let (status, rest) = client.finish();
    assert!(status.success() && rest.is_empty(), "{status}, {rest:?}");
}

#[test]
fn a_client_that_renews_loses_no_call() {
    renewed_in_time(Leaf::client(CORE), "certs/core/core", "core", |serve, _| {
        serve.log().wait_for(&[ENDED]);
    });
}

#[test]
fn a_server_that_renews_loses_no_call() {
    renewed_in_time(Leaf::server(ECHO), "certs/mcp-servers/echo", "echo", |_, client| {
        client.log().wait_for(&[ENDED]);
    });
}
