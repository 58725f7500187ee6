//! A conversation belongs to the peer that opened it. Whoever else holds its handle is
//! refused, of two who come back the later one has it, and who breaks the rules of the
//! link loses it; honest clients notice nothing. docs/spec/link.md is what is tested.

use std::fs;
use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;

use sealwire_relay::link::frame::{Ending, Frame, Hello, Resume};
use sealwire_testkit::openssl::Pair;
use sealwire_testkit::{Home, Serve, server_table, soak, wait_until};
use sealwire_tests::link_client::{Granted, LinkClient};
use sealwire_tests::{echo_table, honest_session, wire_table};

/// Nobody is pinged, or given up for silence, while a test waits: what happens, happens
/// because of what a peer did.
const LIMITS: &str = "[listen]\naddress = \"127.0.0.1:0\"\nidle_timeout = \"1h\"\n\
                      max_message_size = \"64KiB\"\n";

/// A running `serve` of `wire`, whose child sends everything back and records it, and
/// `echo`.
struct Serving {
    home: Home,
    record: PathBuf,
    serve: Serve,
}

impl Serving {
    fn start() -> Self {
        let home = Home::initialized();
        let (wire, record) = wire_table(&home);
        home.configure(&format!("{LIMITS}{wire}{}", echo_table()));
        home.run(&["cert", "issue", "--all"]).ok();
        let serve = Serve::start(&home);
        Self { home, record, serve }
    }

    /// A connection of the peer that `init` made.
    fn dial(&self, server: &str) -> LinkClient {
        self.dial_as(&self.home.core_pair(), server)
    }

    fn dial_as(&self, pair: &Pair, server: &str) -> LinkClient {
        LinkClient::dial(&self.home, pair, server, self.serve.address())
    }

    /// An attempt that must be refused with `word`, to the peer and in one log line.
    fn refuses(&self, mut client: LinkClient, resume: Resume, word: &str) -> String {
        let mark = self.serve.log().mark();
        client.hello(Some(resume), 0);
        assert_eq!(client.granted(), Err(word.to_owned()));
        assert_eq!(client.until_closed(), [], "more than the word");
        // The log tells when the peer has gone, or has been given time to.
        drop(client);
        self.serve.refused(mark, word)
    }

    /// What the child of `wire` got. It answers first and records then.
    fn has_recorded(&self, expected: &[String]) {
        let expected = expected.join("\n") + "\n";
        wait_until(format_args!("the child has got just {expected}"), || {
            fs::read_to_string(&self.record).is_ok_and(|recorded| recorded == expected)
        });
    }
}

/// A message that comes back from `wire` as it is.
fn note(text: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/note","params":{{"text":"{text}"}}}}"#)
}

/// Sends a message and gets it back, both under the number `seq`.
fn exchange(client: &mut LinkClient, seq: u64, text: &str) {
    client.send_message(seq, &note(text));
    assert_eq!(client.message(), (seq, note(text)));
}

#[test]
fn the_handle_is_worth_nothing_to_anybody_else() {
    let serving = Serving::start();
    serving.home.run(&["cert", "issue", "mallory", "--kind", "agent"]).ok();
    let mallory = Pair {
        cert: serving.home.file("certs/agents/mallory-cert.pem"),
        key: serving.home.file("certs/agents/mallory-key.pem"),
    };
    let mut owner = serving.dial("wire");
    let granted = owner.open();
    exchange(&mut owner, 1, "before");

    // The certificate is as good as the owner's, and the attempt's number as high as can be.
    let stolen = granted.resume(u64::MAX);
    let line = serving.refuses(serving.dial_as(&mallory, "wire"), stolen, "resume_unknown");
    assert!(line.contains("agent/mallory") && line.contains("core/core"), "who? {line}");
    // The owner itself guesses, mistakes the server, mistakes the run.
    let mut guessed = stolen;
    guessed.handle[15] ^= 1;
    serving.refuses(serving.dial("wire"), guessed, "resume_unknown");
    serving.refuses(serving.dial("echo"), stolen, "resume_unknown");
    let mut earlier = stolen;
    earlier.instance[0] ^= 1;
    serving.refuses(serving.dial("wire"), earlier, "resume_unknown");

    // None of it touched the conversation, its connection or its generation.
    exchange(&mut owner, 2, "after");
    let mut back = serving.dial("wire");
    back.hello(Some(granted.resume(1)), 2);
    assert_eq!(back.granted(), Ok(Granted { received: 2, ..granted }));
    exchange(&mut back, 3, "back");
    honest_session(&serving.home, serving.serve.address());
}

#[test]
fn a_conversation_does_not_outlive_its_run() {
    let mut serving = Serving::start();
    let granted = serving.dial("wire").open();
    serving.serve.process().child().kill().unwrap();
    serving.serve.process().wait();
    serving.serve = Serve::start(&serving.home);
    let line = serving.refuses(serving.dial("wire"), granted.resume(1), "resume_unknown");
    assert!(line.contains("earlier run"), "{line}");
    honest_session(&serving.home, serving.serve.address());
}

#[test]
fn a_stale_attempt_is_refused() {
    let serving = Serving::start();
    let mut first = serving.dial("wire");
    let granted = first.open();
    serving.refuses(serving.dial("wire"), granted.resume(0), "resume_stale");
    exchange(&mut first, 1, "still mine");

    let mut second = serving.dial("wire");
    second.hello(Some(granted.resume(5)), 1);
    assert!(second.granted().is_ok());
    for generation in [0, 4, 5] {
        serving.refuses(serving.dial("wire"), granted.resume(generation), "resume_stale");
    }
    exchange(&mut second, 2, "mine now");
    honest_session(&serving.home, serving.serve.address());
}

#[test]
fn the_later_resume_fences_the_earlier() {
    let serving = Serving::start();
    let mut first = serving.dial("wire");
    let granted = first.open();
    first.send_message(1, &note("one"));
    assert_eq!(first.message(), (1, note("one")));

    // Says that the answer did not arrive, so that it comes again.
    let mut second = serving.dial("wire");
    second.hello(Some(granted.resume(1)), 0);
    assert_eq!(second.granted(), Ok(Granted { received: 1, ..granted }));
    assert!(first.until_closed().iter().all(|raw| raw.message().is_none()), "fenced, yet told");

    // Says nothing more, as if its network had died; and the next one comes.
    let mut third = serving.dial("wire");
    third.hello(Some(granted.resume(2)), 0);
    assert_eq!(third.granted(), Ok(Granted { received: 1, ..granted }));
    assert_eq!(third.message(), (1, note("one")));
    // What a fenced connection says is not heard, though its number is the one due.
    first.send_message(2, &note("ghost"));
    second.send_message(2, &note("ghost"));
    exchange(&mut third, 2, "two");
    let told: Vec<_> = second.until_closed().iter().filter_map(|raw| raw.message()).collect();
    assert!(told.is_empty() || told == [(1, note("one"))], "{told:?}");
    serving.has_recorded(&[note("one"), note("two")]);
    honest_session(&serving.home, serving.serve.address());
}

/// Both hellos are under way at the same moment; whichever is read first.
#[test]
fn of_two_resumes_at_once_the_later_one_has_it() {
    let serving = Serving::start();
    let mut current = serving.dial("wire");
    let granted = current.open();
    let rounds = soak(50, 5_000);
    for seq in 1..=rounds {
        let attempt = |generation: u64, start: &Barrier| {
            let mut client = serving.dial("wire");
            start.wait();
            client.hello(Some(granted.resume(generation)), seq - 1);
            client
        };
        let start = Barrier::new(2);
        let (mut earlier, mut later) = thread::scope(|scope| {
            let earlier = scope.spawn(|| attempt(2 * seq - 1, &start));
            let later = attempt(2 * seq, &start);
            (earlier.join().expect("no panic"), later)
        });
        assert_eq!(later.granted(), Ok(Granted { received: seq - 1, ..granted }), "round {seq}");
        exchange(&mut later, seq, &format!("round {seq}"));
        for raw in earlier.until_closed() {
            // Too late, or let in for as long as it took the later one to come.
            let stale = matches!(raw.frame(), Frame::Refused("resume_stale"));
            let welcome = matches!(raw.frame(), Frame::Welcome(_) | Frame::Ack(_));
            assert!(stale || welcome, "round {seq}: {raw:?}");
        }
        assert!(current.until_closed().iter().all(|raw| raw.message().is_none()), "round {seq}");
        current = later;
    }
    serving
        .has_recorded(&(1..=rounds).map(|seq| note(&format!("round {seq}"))).collect::<Vec<_>>());
}

/// A connection that breaks a rule within its conversation: both are over, in the log
/// with `reason`, and the conversation cannot be had again.
fn breaks_a_rule(reason: &str, fault: impl FnOnce(&mut LinkClient)) {
    let serving = Serving::start();
    let mut client = serving.dial("wire");
    let granted = client.open();
    exchange(&mut client, 1, "good");
    serving.has_recorded(&[note("good")]);
    let mark = serving.serve.log().mark();
    fault(&mut client);
    for raw in client.until_closed() {
        assert!(matches!(raw.frame(), Frame::Ack(_)), "an answer to a fault: {raw:?}");
    }
    serving.serve.log().wait_after(mark, &[reason, "core/core"]);
    serving.refuses(serving.dial("wire"), granted.resume(1), "resume_unknown");
    serving.has_recorded(&[note("good")]);
    honest_session(&serving.home, serving.serve.address());
}

#[test]
fn an_acknowledgement_of_what_was_never_sent() {
    breaks_a_rule("acknowledges 2", |client| client.send(&Frame::Ack(2)));
}

#[test]
fn a_gap_in_the_numbers() {
    breaks_a_rule("message 3 arrived where 2 was due", |client| {
        client.send_message(3, &note("bad"));
    });
}

#[test]
fn a_repeated_number() {
    breaks_a_rule("message 1 arrived where 2 was due", |client| {
        client.send_message(1, &note("bad"));
    });
}

#[test]
fn an_end_with_the_wrong_number() {
    breaks_a_rule("message 1 arrived where 2 was due", |client| {
        client.send(&Frame::Fin { seq: 1, ending: Ending::Orderly });
    });
}

#[test]
fn an_unknown_frame_type() {
    breaks_a_rule("unknown frame type 11", |client| client.send_bytes(&[0, 0, 0, 1, 11]));
}

#[test]
fn a_body_of_the_wrong_length() {
    breaks_a_rule("frame type 6 with a body of 3 bytes", |client| {
        client.send_bytes(&[0, 0, 0, 4, 6, 1, 2, 3]);
    });
}

/// The header alone is enough: nobody waits for four gigabytes.
#[test]
fn an_oversized_frame() {
    breaks_a_rule("at most 65536 were agreed", |client| {
        client.send_bytes(&[0xff, 0xff, 0xff, 0xff, 4]);
    });
}

#[test]
fn a_second_hello() {
    breaks_a_rule("unexpected HELLO", |client| client.hello(None, 0));
}

/// Nobody reads what this peer sends, and it sends on: what waits for the server is
/// bounded by the window that it was told.
#[test]
fn more_than_the_window() {
    let home = Home::with_config(&format!("{LIMITS}{}", server_table("deaf", "sleep", &["600"])));
    let serve = Serve::start(&home);
    let mut client = LinkClient::dial(&home, &home.core_pair(), "deaf", serve.address());
    client.open();
    let message = note(&"x".repeat(60 * 1024));
    for seq in 1..=200 {
        client.send_message(seq, &message);
    }
    client.until_closed();
    serve.log().wait_for(&["twice the window", "code=link_protocol", "core/core"]);
}

/// The same lie as in an acknowledgement, told when coming back.
#[test]
fn a_resume_that_claims_what_was_never_sent() {
    let serving = Serving::start();
    let mut first = serving.dial("wire");
    let granted = first.open();
    exchange(&mut first, 1, "good");
    let mark = serving.serve.log().mark();
    let mut second = serving.dial("wire");
    second.hello(Some(granted.resume(1)), 2);
    assert_eq!(second.until_closed(), []);
    serving.serve.log().wait_after(mark, &["acknowledges 2", "core/core"]);
    first.until_closed();
    serving.refuses(serving.dial("wire"), granted.resume(2), "resume_unknown");
    honest_session(&serving.home, serving.serve.address());
}

/// A peer that does not begin with a proper hello is told `word`, and no server is
/// started for it.
fn begins_wrongly(word: &str, fault: impl FnOnce(&mut LinkClient)) {
    let serving = Serving::start();
    let mut client = serving.dial("wire");
    let mark = serving.serve.log().mark();
    fault(&mut client);
    assert_eq!(client.granted(), Err(word.to_owned()));
    assert_eq!(client.until_closed(), []);
    drop(client);
    let line = serving.serve.refused(mark, word);
    assert!(line.contains("core/core") && line.contains("wire"), "who, for what? {line}");
    assert!(!serving.record.exists(), "a server was started");
    honest_session(&serving.home, serving.serve.address());
}

#[test]
fn the_first_frame_is_no_hello() {
    begins_wrongly("link_protocol", |client| client.send(&Frame::Ping(1)));
}

#[test]
fn the_first_frame_is_a_message() {
    begins_wrongly("link_protocol", |client| client.send_message(1, &note("early")));
}

#[test]
fn the_first_frame_is_unknown() {
    begins_wrongly("link_protocol", |client| client.send_bytes(&[0, 0, 0, 1, 0]));
}

#[test]
fn the_first_frame_is_oversized() {
    begins_wrongly("link_protocol", |client| client.send_bytes(&[0x7f, 0, 0, 0, 1]));
}

#[test]
fn the_hello_names_another_server_than_the_handshake() {
    for server_name in ["echo", "Wire", "wire\0", ""] {
        begins_wrongly("server_name_mismatch", |client| {
            client.send(&Frame::Hello(Hello {
                server_name,
                resume: None,
                received: 0,
                window: 1 << 20,
                max_message: 1 << 20,
            }));
        });
    }
}
