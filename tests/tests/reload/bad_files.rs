use std::fs;
use std::time::{Duration, Instant};

use sealwire_testkit::openssl::{Authority, Leaf, Validity};
use sealwire_testkit::{Connect, Home, run};
use sealwire_tests::{ECHO, call_echo, echo_table, honest_session};

use super::{
    CERT, KEY, REFUSED, RELOADED, hang_up, install, issue, lines, replace, serving, serving_echo,
    truncated,
};

/// How long `serve` waits for the other half of a rotation (docs/config.md).
const PATIENCE: Duration = Duration::from_secs(2);

/// Whatever is wrong with a new file: it is told in one line, with what to do, and what was
/// served is still served, to those who are there and to those who come.
#[test]
fn what_is_bad_is_refused_and_the_old_stays() {
    // The clients have a file of trust anchors of their own.
    let config = format!("{}trusted_ca = \"anchors.pem\"\n", echo_table());
    let home = Home::initialized();
    fs::copy(home.file("certs/ca/ca-cert.pem"), home.file("anchors.pem")).unwrap();
    home.configure(&config);
    home.run(&["cert", "issue", "--all"]).ok();
    let mut serve = super::start(&home, &[]);
    let mut there = Connect::start(&home, "echo", serve.address());
    there.initialize();
    let stranger = issue(&Authority::create(&home.file("stranger")));
    let authority = home.authority();
    let expired = authority.issue(&Leaf { validity: Validity::Past, ..Leaf::server(ECHO) });
    let other = authority.issue(&Leaf::server("spiffe://sealwire.internal/mcp-server/other"));

    type Spoil<'a> = Box<dyn Fn(&Home) + 'a>;
    let cases: Vec<(&str, Spoil<'_>, &[&str])> = vec![
        ("truncated", Box::new(|h| replace(h, CERT, truncated(h, CERT))), &[CERT]),
        ("no key", Box::new(|h| replace(h, KEY, truncated(h, KEY))), &[KEY]),
        ("gone", Box::new(|h| fs::remove_file(h.file(CERT)).unwrap()), &[CERT]),
        ("key of another", Box::new(|h| replace(h, KEY, fs::read(&stranger.key).unwrap())), &[KEY]),
        ("open key", Box::new(|h| h.chmod(KEY, 0o644)), &[KEY, "0644", "chmod 600"]),
        ("expired", Box::new(|h| install(h, &expired)), &[CERT, "expired"]),
        ("other name", Box::new(|h| install(h, &other)), &[CERT, "mcp-server/other"]),
        ("anchors", Box::new(|h| replace(h, "anchors.pem", "nothing")), &["anchors.pem"]),
        ("not TOML", Box::new(|h| h.configure("[mcp_servers.echo\n")), &["sealwire.toml"]),
        (
            "unknown key",
            Box::new(|h| h.configure(&format!("{config}comand = \"x\"\n"))),
            &["sealwire.toml", "comand", "command"],
        ),
        ("nothing left", Box::new(|h| h.configure("")), &["nothing to serve"]),
    ];
    let good: Vec<_> = [CERT, KEY, "anchors.pem", "sealwire.toml"]
        .map(|file| (file, fs::read(home.file(file)).unwrap()))
        .into();
    for (case, spoil, parts) in cases {
        let mark = serve.log().mark();
        spoil(&home);
        hang_up(&mut serve);
        let line = serve.log().wait_after(mark, &[REFUSED]);
        for part in ["ERROR", "to fix:"].iter().chain(parts) {
            assert!(line.contains(part), "{case}: no {part:?} in {line}");
        }
        call_echo(&mut there, case);
        honest_session(&home, serve.address());
        for (file, content) in &good {
            replace(&home, file, content);
        }
        hang_up(&mut serve);
        serve.log().wait_after(mark, &["nothing has changed"]);
        assert!(lines(&serve, mark, RELOADED).is_empty(), "{case}: taken up");
    }
}

/// Nobody waits for what may never come, and least of all who is told to stop.
#[test]
fn a_named_pipe_in_the_place_of_the_configuration() {
    let home = Home::initialized();
    home.write("more.toml", "");
    let head = "include = \"more.toml\"\n[listen]\naddress = \"127.0.0.1:0\"\n";
    home.configure(&format!("{head}{}", echo_table()));
    home.run(&["cert", "issue", "--all"]).ok();
    let mut serve = super::start(&home, &[]);
    for file in ["more.toml", "sealwire.toml"] {
        let good = fs::read(home.file(file)).unwrap();
        let mark = serve.log().mark();
        let mut mkfifo = std::process::Command::new("mkfifo");
        mkfifo.arg(home.file("pipe"));
        run(mkfifo, b"").ok();
        fs::rename(home.file("pipe"), home.file(file)).unwrap();
        serve.log().wait_after(mark, &["ERROR", REFUSED, file, "not a regular file"]);
        replace(&home, file, good);
        serve.log().wait_after(mark, &["nothing has changed that matters"]);
    }
    honest_session(&home, serve.address());
    fs::remove_file(home.file("sealwire.toml")).unwrap();
    let mut mkfifo = std::process::Command::new("mkfifo");
    mkfifo.arg(home.file("sealwire.toml"));
    run(mkfifo, b"").ok();
    hang_up(&mut serve);
    serve.process().terminate();
    assert_eq!(serve.process().wait().code(), Some(0));
}

/// Without a signal, too; and what stays bad is not told again and again.
#[test]
fn a_watched_file_that_is_bad_is_told_of_once() {
    let (home, serve) = serving_echo();
    let mark = serve.log().mark();
    replace(&home, CERT, truncated(&home, CERT));
    serve.log().wait_after(mark, &["ERROR", REFUSED, CERT]);
    // As bad as before, with other bytes.
    let mark_again = serve.log().mark();
    replace(&home, CERT, truncated(&home, CERT));
    serve.log().wait_after(mark_again, &["as bad as before"]);
    assert_eq!(lines(&serve, mark, REFUSED).len(), 1);
    honest_session(&home, serve.address());
}

/// A certificate and its key are two files, and cannot be replaced at the same moment.
#[test]
fn half_a_rotation_is_no_alarm() {
    let (home, serve) = serving_echo();
    let both = |rotate: &dyn Fn(usize)| {
        let mark = serve.log().mark();
        let began = Instant::now();
        rotate(mark);
        let took = began.elapsed();
        serve.log().wait_after(mark, &[RELOADED, "echo: certificate"]);
        // Where the machine was too busy to bring the other half in time, it is one.
        assert!(lines(&serve, mark, "ERROR").is_empty() || took > PATIENCE, "after {took:?}");
    };
    let pair = issue(&home.authority());
    both(&|mark| {
        replace(&home, CERT, fs::read(&pair.cert).unwrap());
        serve.log().wait_after(mark, &["not in order, or not yet", KEY]);
        replace(&home, KEY, fs::read(&pair.key).unwrap());
    });
    both(&|_| drop(home.run(&["cert", "issue", "echo", "--force"]).ok()));
    honest_session(&home, serve.address());
}

#[test]
fn a_touch_is_no_change() {
    let (home, mut serve) = serving_echo();
    let mark = serve.log().mark();
    let mut touch = std::process::Command::new("touch");
    touch.arg(home.file(CERT)).arg(home.file("sealwire.toml"));
    run(touch, b"").ok();
    serve.log().wait_after(mark, &["none has changed"]);
    // Nor are other words for the same.
    let config = fs::read_to_string(home.file("sealwire.toml")).unwrap();
    home.write("sealwire.toml", format!("# A remark.\n{config}"));
    serve.log().wait_after(mark, &["nothing has changed that matters"]);
    hang_up(&mut serve);
    serve.log().wait_after(mark, &["INFO", "nothing has changed"]);
    assert!(lines(&serve, mark, RELOADED).is_empty());
}

/// An address that cannot be bound refuses the whole of a new configuration.
#[test]
fn an_address_that_is_taken() {
    let table = echo_table();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let (home, mut serve) = serving(&table);
    let mark = serve.log().mark();
    let other = table.replace("echo", "other");
    home.configure(&format!("{table}bind_address = \"{taken}\"\n{other}"));
    home.run(&["cert", "issue", "--all"]).ok();
    hang_up(&mut serve);
    serve.log().wait_after(mark, &["ERROR", REFUSED, &taken.to_string(), "to fix:"]);
    honest_session(&home, serve.address());

    // Our own port, at more addresses than before.
    let port = serve.address().port();
    home.configure(&format!("[listen]\naddress = \"0.0.0.0:{port}\"\n{table}"));
    hang_up(&mut serve);
    serve.log().wait_after(mark, &["ERROR", REFUSED, "this process holds the port", "restart"]);
    honest_session(&home, serve.address());
}
