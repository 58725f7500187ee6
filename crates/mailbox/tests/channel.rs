//! Agents that write to each other through a channel, over both transports.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests"
)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Time, agent, keys, open, settings};
use sealwire_audit::{AgentStep, AuditSink, Event, Position};
use sealwire_envelope::{Draft, Group, MessageType};
use sealwire_guard::{Partners, TrustMatrix};
use sealwire_mailbox::{
    ChannelError, ChannelSettings, Letter, MemoryTransport, Rate, Recipient, SecureAgentChannel,
    SqliteTransport, Transport,
};
use sealwire_names::{RefusalCode, Timestamp};

/// Notes what happened, in a word for each step; or fails.
#[derive(Default)]
struct Notes {
    steps: Mutex<Vec<String>>,
    full: std::sync::atomic::AtomicBool,
}

impl Notes {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.steps.lock().unwrap())
    }
}

impl AuditSink for Notes {
    fn record(&self, event: &Event<'_>) -> std::io::Result<Position> {
        if self.full.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(std::io::Error::other("the disk is full"));
        }
        let Event::AgentMessage(message) = event else { panic!("another event") };
        let step = match message.step {
            AgentStep::Sending => "sending".to_owned(),
            AgentStep::Sent => "sent".to_owned(),
            AgentStep::SendFailed { .. } => "perhaps not sent".to_owned(),
            AgentStep::Delivered { again: false } => "delivered".to_owned(),
            AgentStep::Delivered { again: true } => "delivered again".to_owned(),
            AgentStep::Acknowledged => "acknowledged".to_owned(),
            AgentStep::Deferred { .. } => "deferred".to_owned(),
            AgentStep::NotSent(refusal) | AgentStep::Refused(refusal) => refusal.code.to_string(),
        };
        self.steps.lock().unwrap().push(format!("{}: {step}", message.agent));
        Ok(Position::default())
    }
}

fn draft(content: &str) -> Draft<'_> {
    Draft::new(MessageType::TaskRequest, content.as_bytes())
}

fn refusal(error: &ChannelError) -> RefusalCode {
    match error {
        ChannelError::Refused(refusal) => refusal.code,
        error => panic!("no refusal: {error}"),
    }
}

/// A channel each for A, B and C over one file, and their notes.
struct House {
    time: Time,
    notes: Arc<Notes>,
    mail: SqliteTransport,
    channels: Vec<SecureAgentChannel<SqliteTransport>>,
    home: tempfile::TempDir,
}

impl House {
    fn new(change: impl Fn(&mut ChannelSettings)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (time, notes) = (Time::new(), Arc::new(Notes::default()));
        let mail = open(&home.path().join("state.db"), time.options());
        let channels = settings(&["A", "B", "C"], time.now())
            .into_iter()
            .map(|mut settings| {
                change(&mut settings);
                let audit: Arc<dyn AuditSink> = notes.clone();
                SecureAgentChannel::new(settings, mail.clone()).with_audit(audit)
            })
            .collect();
        Self { time, notes, mail, channels, home }
    }

    async fn dead(&self) -> Vec<String> {
        let dead = self.mail.dead_letters(None).await.unwrap();
        dead.into_iter().map(|letter| format!("{}: {}", letter.agent, letter.code)).collect()
    }
}

#[tokio::test]
async fn a_message_arrives_as_it_was_sent_and_every_step_is_recorded() {
    let house = House::new(|_| ());
    let [a, b, _] = &house.channels[..] else { panic!() };
    let id = a.send_secure(agent("B"), &draft("hello")).await.unwrap();
    let delivery = b.receive_secure().await.unwrap();
    assert_eq!(delivery.content(), b"hello");
    assert_eq!((delivery.from(), delivery.message_id()), (&agent("A"), id));
    assert!(!delivery.redelivered());
    drop(delivery);
    let delivery = b.receive_secure().await.unwrap();
    assert!(delivery.redelivered());
    assert_eq!(&**delivery.ack().await.unwrap(), b"hello");
    assert!(b.try_receive().await.unwrap().is_none());
    assert_eq!(
        house.notes.take(),
        ["A: sending", "A: sent", "B: delivered", "B: delivered again", "B: acknowledged"]
    );
}

#[tokio::test]
async fn a_group_message_reaches_each_member_and_no_one_else() {
    let group = |version, members: &[&str]| {
        Group::new(agent("crew"), version, members.iter().map(|name| agent(name)))
    };
    let house = House::new(|settings| {
        settings.groups = vec![group(2, &["A", "B", "C"]), group(1, &["A", "C"])];
    });
    let [a, b, c] = &house.channels[..] else { panic!() };
    a.send_secure(Recipient::Group(agent("crew")), &draft("to all")).await.unwrap();
    for member in [b, c] {
        let delivery = member.receive_secure().await.unwrap();
        assert_eq!(delivery.content(), b"to all");
        delivery.ack().await.unwrap();
    }
    assert!(a.try_receive().await.unwrap().is_none());
    let list = Recipient::Agents(vec![agent("C"), agent("B"), agent("C")]);
    a.send_secure(list, &draft("to two")).await.unwrap();
    for member in [b, c] {
        assert_eq!(member.receive_secure().await.unwrap().content(), b"to two");
    }
    let unknown = a.send_secure(Recipient::Group(agent("crowd")), &draft("?")).await.unwrap_err();
    assert_eq!(refusal(&unknown), RefusalCode::RosterUnknown);
}

#[tokio::test]
async fn another_trust_matrix_takes_effect_at_once_on_either_side() {
    let house = House::new(|_| ());
    let [a, b, _] = &house.channels[..] else { panic!() };
    let with = |name: &str, partners| {
        let mut settings = settings(&["A", "B"], house.time.now());
        let mut settings = settings.remove(usize::from(name == "B"));
        settings.trust = TrustMatrix::new();
        settings.trust.allow(agent("A"), partners);
        settings
    };
    let nobody = || Partners::These([agent("C")].into());
    a.replace(with("A", nobody()));
    let refused = a.send_secure(agent("B"), &draft("no")).await.unwrap_err();
    assert_eq!(refusal(&refused), RefusalCode::NotTrusted);
    a.replace(with("A", Partners::Everybody));
    a.send_secure(agent("B"), &draft("yes")).await.unwrap();

    b.replace(with("B", nobody()));
    assert!(b.try_receive().await.unwrap().is_none());
    let dead = house.mail.dead_letters(None).await.unwrap();
    assert_eq!(dead[0].code, "not_trusted");
    b.replace(with("B", Partners::Everybody));
    assert!(house.mail.release_dead_letter(dead[0].number).await.unwrap());
    assert_eq!(b.receive_secure().await.unwrap().content(), b"yes");
    assert_eq!(
        house.notes.take(),
        ["A: not_trusted", "A: sending", "A: sent", "B: not_trusted", "B: delivered"]
    );
}

#[tokio::test]
async fn a_receiver_does_not_rely_on_the_senders_matrix() {
    let house = House::new(|settings| {
        if settings.keys.agent == agent("B") {
            settings.trust = TrustMatrix::new();
        }
    });
    let [a, b, _] = &house.channels[..] else { panic!() };
    a.send_secure(agent("B"), &draft("hello")).await.unwrap();
    assert!(b.try_receive().await.unwrap().is_none());
    assert_eq!(house.dead().await, ["B: not_trusted"]);
    // Shutdown needs more than "*".
    let shutdown = Draft::new(MessageType::Shutdown, b"");
    let refused = a.send_secure(agent("B"), &shutdown).await.unwrap_err();
    assert_eq!(refusal(&refused), RefusalCode::NotTrusted);
}

#[tokio::test]
async fn an_agent_that_is_registered_later_is_believed_from_then_on() {
    let time = Time::new();
    let home = tempfile::tempdir().unwrap();
    let mail = open(&home.path().join("state.db"), time.options());
    let (sender, sender_bundle) = keys("A", time.now());
    let (receiver, receiver_bundle) = keys("B", time.now());
    let channel = |keys| {
        let mut settings = ChannelSettings::new(keys);
        settings.trust.allow(agent("A"), Partners::Everybody);
        SecureAgentChannel::new(settings, mail.clone())
    };
    let (a, b) = (channel(sender), channel(receiver));
    let unknown = a.send_secure(agent("B"), &draft("hello")).await.unwrap_err();
    assert_eq!(refusal(&unknown), RefusalCode::RecipientUnknown);
    a.register_trusted_agent(receiver_bundle).unwrap();
    a.send_secure(agent("B"), &draft("hello")).await.unwrap();

    assert!(b.try_receive().await.unwrap().is_none(), "A is unknown to B");
    let dead = mail.dead_letters(None).await.unwrap();
    assert_eq!(dead[0].code, "sender_unknown");
    b.register_trusted_agent(sender_bundle).unwrap();
    mail.release_dead_letter(dead[0].number).await.unwrap();
    assert_eq!(b.receive_secure().await.unwrap().content(), b"hello");
}

#[tokio::test]
async fn what_comes_too_fast_is_put_off_and_not_lost() {
    let house = House::new(|settings| {
        // The sender's own rate must not be what slows it down here.
        if settings.keys.agent == agent("B") {
            settings.rate = Some(Rate::new(0.001, 2).unwrap());
        }
    });
    let [a, b, c] = &house.channels[..] else { panic!() };
    for content in ["1", "2", "3", "4"] {
        a.send_secure(agent("B"), &draft(content)).await.unwrap();
    }
    c.send_secure(agent("B"), &draft("from C")).await.unwrap();
    let mut seen = Vec::new();
    while let Some(delivery) = b.try_receive().await.unwrap() {
        seen.push(String::from_utf8(delivery.ack().await.unwrap().to_vec()).unwrap());
    }
    assert_eq!(seen, ["1", "2", "from C"]);
    assert!(house.notes.take().contains(&"B: deferred".to_owned()));
    assert_eq!(house.mail.waiting(agent("B")).await.unwrap(), 2);
    assert!(house.dead().await.is_empty());
}

#[tokio::test]
async fn whoever_sends_too_fast_is_told_when_to_try_again() {
    let house = House::new(|settings| settings.rate = Some(Rate::new(0.001, 1).unwrap()));
    let a = &house.channels[0];
    a.send_secure(agent("B"), &draft("1")).await.unwrap();
    let error = a.send_secure(agent("B"), &draft("2")).await.unwrap_err();
    let ChannelError::TooFast { wait, .. } = error else { panic!("{error}") };
    assert!(wait > Duration::from_secs(900), "{wait:?}");
    assert_eq!(house.notes.take(), ["A: sending", "A: sent", "A: agent_rate_limited"]);
    assert_eq!(house.mail.waiting(agent("B")).await.unwrap(), 1);
}

#[tokio::test]
async fn a_copy_in_the_store_is_refused_and_recorded() {
    let house = House::new(|_| ());
    let [a, b, _] = &house.channels[..] else { panic!() };
    a.send_secure(agent("B"), &draft("once")).await.unwrap();
    // Whoever can write to the file copies the record, under another name and id, too.
    let database = rusqlite::Connection::open(house.home.path().join("state.db")).unwrap();
    database
        .execute_batch(
            "INSERT INTO mail_record SELECT id + 1, agent, sender, priority, state, since, takes,
                 deliveries, claimed, released, issued, expires, size, key, message_id, code,
                 reason, body, bytes FROM mail_record WHERE id = 1;
             INSERT INTO mail_record SELECT id + 2, agent, 'C', 200, state, since, takes,
                 deliveries, claimed, released, issued, expires, size, randomblob(32),
                 randomblob(16), code, reason, body, bytes FROM mail_record WHERE id = 1;
             UPDATE mail_box SET messages = 3;",
        )
        .unwrap();
    b.receive_secure().await.unwrap().ack().await.unwrap();
    assert!(b.try_receive().await.unwrap().is_none());
    assert_eq!(house.dead().await, ["B: message_replayed", "B: message_replayed"]);
    assert_eq!(
        house.notes.take(),
        [
            "A: sending",
            "A: sent",
            "B: delivered",
            "B: acknowledged",
            "B: message_replayed",
            "B: message_replayed"
        ]
    );
}

#[tokio::test]
async fn mail_for_somebody_else_is_refused_wherever_it_is_put() {
    let house = House::new(|_| ());
    let [a, _, c] = &house.channels[..] else { panic!() };
    a.send_secure(agent("B"), &draft("for B")).await.unwrap();
    let round = house.mail.take(&agent("B"), 1).await.unwrap();
    let message = sealwire_envelope::SecureAgentMessage::decode(&round.taken[0].bytes).unwrap();
    house.mail.put(Letter { message, to: vec![agent("C")] }).await.unwrap();
    assert!(c.try_receive().await.unwrap().is_none());
    assert_eq!(house.dead().await, ["C: not_addressed"]);
}

#[tokio::test]
async fn clocks_that_differ_by_ten_minutes() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("state.db");
    let (true_time, wrong) = (Time::new(), Time::new());
    let mut all = settings(&["A", "B"], true_time.now()).into_iter();
    let (at_a, at_b) = (all.next().unwrap(), all.next().unwrap());
    let a = SecureAgentChannel::new(at_a, open(&path, wrong.options()));
    let b = SecureAgentChannel::new(at_b, open(&path, true_time.options()));

    wrong.back(Duration::from_secs(600));
    a.send_secure(agent("B"), &draft("from the past")).await.unwrap();
    b.receive_secure().await.unwrap().ack().await.unwrap();

    wrong.forward(Duration::from_secs(1_200));
    a.send_secure(agent("B"), &draft("from the future")).await.unwrap();
    assert!(b.try_receive().await.unwrap().is_none());
    let dead = b.transport().dead_letters(None).await.unwrap();
    assert_eq!(dead[0].code, "message_from_future");

    // Whoever's clock it is, once it is set right the message passes, once.
    true_time.forward(Duration::from_secs(600));
    b.transport().release_dead_letter(dead[0].number).await.unwrap();
    assert_eq!(b.receive_secure().await.unwrap().content(), b"from the future");
}

#[tokio::test]
async fn what_was_not_sent_is_not_recorded_as_sent() {
    let house = House::new(|_| ());
    let [a, ..] = &house.channels[..] else { panic!() };
    let database = rusqlite::Connection::open(house.home.path().join("state.db")).unwrap();
    let fail = "CREATE TRIGGER full BEFORE INSERT ON mail_record \
                BEGIN SELECT RAISE(ABORT, 'the disk is full'); END;";
    database.execute_batch(fail).unwrap();
    a.send_secure(agent("B"), &draft("hello")).await.unwrap_err();
    assert_eq!(house.notes.take(), ["A: sending", "A: perhaps not sent"]);
    database.execute_batch("DROP TRIGGER full").unwrap();
    a.send_secure(agent("B"), &draft("hello")).await.unwrap();
    assert_eq!(house.notes.take(), ["A: sending", "A: sent"]);
}

#[tokio::test]
async fn what_cannot_be_recorded_does_not_happen() {
    let house = House::new(|_| ());
    let [a, b, _] = &house.channels[..] else { panic!() };
    a.send_secure(agent("B"), &draft("hello")).await.unwrap();
    house.notes.full.store(true, std::sync::atomic::Ordering::SeqCst);
    let sent = a.send_secure(agent("B"), &draft("hello")).await.unwrap_err();
    assert!(matches!(sent, ChannelError::Audit(_)), "{sent}");
    let received = b.receive_secure().await.unwrap_err();
    assert!(matches!(received, ChannelError::Audit(_)), "{received}");
    house.notes.full.store(false, std::sync::atomic::Ordering::SeqCst);
    b.receive_secure().await.unwrap().ack().await.unwrap();
    assert_eq!(house.mail.waiting(agent("B")).await.unwrap(), 0);
}

#[tokio::test]
async fn a_receiver_that_gives_up_waiting_loses_nothing() {
    let house = House::new(|_| ());
    let [a, b, _] = &house.channels[..] else { panic!() };
    for round in 0..50 {
        let content = round.to_string();
        let sending = a.send_secure(agent("B"), &draft(&content)).await;
        sending.unwrap();
        // Cut short after as many polls as the round says, wherever it is then.
        let mut receiving = Box::pin(b.receive_secure());
        for _ in 0..round % 7 {
            let poll = std::future::poll_fn(|context| {
                std::task::Poll::Ready(receiving.as_mut().poll(context).is_ready())
            });
            if poll.await {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(receiving);
        let delivery = b.receive_secure().await.unwrap();
        assert_eq!(delivery.content(), content.as_bytes());
        delivery.ack().await.unwrap();
    }
}

#[tokio::test]
async fn in_memory_too_and_a_full_mailbox_makes_the_sender_wait() {
    let time = Time::new();
    let mail = MemoryTransport::with_capacity(2, time.clock());
    let mut all = settings(&["A", "B"], time.now()).into_iter();
    let (at_a, at_b) = (all.next().unwrap(), all.next().unwrap());
    let a = Arc::new(SecureAgentChannel::new(at_a, mail.clone()));
    let b = SecureAgentChannel::new(at_b, mail.clone());
    for content in ["1", "2"] {
        a.send_secure(agent("B"), &draft(content)).await.unwrap();
    }
    let sender = Arc::clone(&a);
    let third =
        tokio::spawn(async move { sender.send_secure(agent("B"), &draft("3")).await.unwrap() });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!third.is_finished(), "there is no room");
    let first = b.receive_secure().await.unwrap();
    assert_eq!(first.content(), b"1");
    first.ack().await.unwrap();
    third.await.unwrap();

    let second = b.receive_secure().await.unwrap();
    assert!(!second.redelivered());
    drop(second);
    let second = b.receive_secure().await.unwrap();
    assert!(second.redelivered());
    assert_eq!(second.content(), b"2");
    // A copy, while the original is out.
    let copy = Letter { message: second.message().clone(), to: vec![agent("B")] };
    second.ack().await.unwrap();
    mail.put(copy).await.unwrap();
    let third = b.receive_secure().await.unwrap();
    assert_eq!(third.content(), b"3");
    third.release(Timestamp::from_unix_millis(time.now().unix_millis() + 1)).await.unwrap();
    assert!(b.try_receive().await.unwrap().is_none(), "the copy is refused, 3 is put off");
    time.forward(Duration::from_millis(1));
    assert_eq!(b.receive_secure().await.unwrap().content(), b"3");
}

#[tokio::test]
async fn no_content_and_no_key_is_ever_shown() {
    let house = House::new(|_| ());
    let [a, b, _] = &house.channels[..] else { panic!() };
    let marker = "planted-marker-7431";
    a.send_secure(agent("B"), &draft(marker)).await.unwrap();
    let delivery = b.receive_secure().await.unwrap();
    assert!(!format!("{delivery:?}").contains(marker));
    let settings = settings(&["A"], house.time.now()).remove(0);
    let seed = settings.keys.signing.to_seed().unwrap();
    let shown = format!("{settings:?}");
    assert!(!shown.contains(&format!("{:?}", &seed[..8]).trim_matches(['[', ']']).to_owned()));
    for file in ["state.db", "state.db-wal", "state.db-shm"] {
        let bytes = std::fs::read(house.home.path().join(file)).unwrap();
        assert!(!bytes.windows(marker.len()).any(|window| window == marker.as_bytes()), "{file}");
    }
}
