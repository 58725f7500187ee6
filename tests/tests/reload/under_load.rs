use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use sealwire_testkit::openssl::Authority;
use sealwire_testkit::{Connect, soak, wait_until};
use sealwire_tests::{call_echo, echo_table, honest_session};

use super::{
    CA, CERT, REFUSED, RELOADED, bundle, install, issue, lines, replace, serving, truncated,
};

/// Clients that call without a pause on connections of their own.
const LONG: usize = 3;

/// Certificate, trust anchors and configuration are replaced again and again while clients
/// call, on connections that stay and on ever new ones. No call fails and no connection is
/// dropped; a truncated certificate in between is refused and told.
#[test]
fn replaced_fifty_times_under_load_and_no_call_fails() {
    let replacements = soak(50, 1_000);
    let listen =
        |idle: usize| format!("[listen]\naddress = \"127.0.0.1:0\"\nidle_timeout = \"{idle}s\"\n");
    let (home, serve) = serving(&format!("{}{}", listen(30), echo_table()));
    let address = serve.address();
    let stop = AtomicBool::new(false);
    let calls: Vec<AtomicUsize> = (0..LONG).map(|_| AtomicUsize::new(0)).collect();
    let sessions = AtomicUsize::new(0);
    let base = home.file("base.pem");
    fs::copy(home.file(CA), &base).unwrap();

    thread::scope(|scope| {
        // However this ends, the clients end too.
        let _stop = StopOnDrop(&stop);
        for calls in &calls {
            let (home, stop) = (&home, &stop);
            scope.spawn(move || {
                let mut client = Connect::start(home, "echo", address);
                client.initialize();
                while !stop.load(Ordering::Relaxed) {
                    call_echo(&mut client, "still here");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
                let (status, rest) = client.finish();
                assert!(status.success() && rest.is_empty(), "{status}, {rest:?}");
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                honest_session(&home, address);
                sessions.fetch_add(1, Ordering::Relaxed);
            }
        });
        let counts = || -> Vec<usize> {
            calls.iter().chain([&sessions]).map(|count| count.load(Ordering::Relaxed)).collect()
        };
        let everybody_calls = || {
            let before = counts();
            wait_until("every client has called again", || {
                counts().iter().zip(&before).all(|(now, before)| now > before)
            });
        };

        let mut authority = home.authority();
        for number in 0..replacements {
            everybody_calls();
            let mark = serve.log().mark();
            let said = match number % 5 {
                // A new authority is trusted beside the old one, issues, and is the only
                // one besides that of the clients.
                0 => {
                    let next = Authority::create(&home.file(&format!("authority-{number}")));
                    let (old, new) = (&authority.pair().cert, &next.pair().cert);
                    replace(&home, CA, bundle(&[&base, old, new]));
                    authority = next;
                    "trust anchors"
                }
                1 | 4 => {
                    install(&home, &issue(&authority));
                    "certificate"
                }
                2 => {
                    replace(&home, CA, bundle(&[&base, &authority.pair().cert]));
                    "trust anchors"
                }
                _ => {
                    let config = format!("{}{}", listen(31 + number), echo_table());
                    replace(&home, "sealwire.toml", config);
                    "idle_timeout"
                }
            };
            serve.log().wait_after(mark, &[RELOADED, said]);
            assert!(lines(&serve, mark, REFUSED).is_empty(), "a good file was refused");

            if number % 10 == 4 {
                let mark = serve.log().mark();
                let good = fs::read(home.file(CERT)).unwrap();
                replace(&home, CERT, truncated(&home, CERT));
                let line = serve.log().wait_after(mark, &[REFUSED, CERT]);
                assert!(line.contains("ERROR") && line.contains("to fix:"), "{line}");
                everybody_calls();
                replace(&home, CERT, good);
                serve.log().wait_after(mark, &["nothing has changed that matters here"]);
            }
        }
        everybody_calls();
    });

    let reloads = lines(&serve, 0, RELOADED).len();
    assert!(reloads >= replacements, "{reloads} reloads");
    let told = lines(&serve, 0, REFUSED).len();
    assert_eq!(told, replacements / 10, "each truncated certificate is told of once");
    let accepted = lines(&serve, 0, "connection accepted").len();
    let resumed = lines(&serve, 0, "connection resumed").len();
    let refused = lines(&serve, 0, "connection refused");
    assert_eq!((accepted, resumed), (LONG + sessions.into_inner(), 0), "a connection was dropped");
    assert!(refused.is_empty(), "{refused:#?}");
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
