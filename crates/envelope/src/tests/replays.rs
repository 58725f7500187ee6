//! On a channel without a store each message is accepted once, whatever happens.

use std::collections::HashSet;
use std::sync::Barrier;
use std::time::Duration;

use proptest::prelude::*;
use sealwire_names::RefusalCode as Code;

use super::support::*;
use crate::*;

fn opened<R: Rules>(receiver: &DirectReceiver<R>, message: &SecureAgentMessage) -> bool {
    receiver.open(message.as_bytes(), NOW).is_ok()
}

#[test]
fn the_second_of_two_is_refused_and_so_is_a_copy_signed_again() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let receiver = bob.receiver(&[&alice]);
    let sealed = alice.seal(b"once", &bob, 1);
    assert!(opened(&receiver, &sealed));
    assert_eq!(refused(&receiver, sealed.as_bytes()), Code::MessageReplayed);
    // Another message that claims to be the same number.
    let again = alice.seal(b"once more", &bob, 1);
    assert_eq!(refused(&receiver, again.as_bytes()), Code::MessageReplayed);
}

#[test]
fn of_fifty_at_once_one_is_accepted() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let receiver = bob.receiver(&[&alice]);
    for seq in 0..20 {
        let sealed = alice.seal(b"once", &bob, seq);
        let start = Barrier::new(50);
        let accepted: usize = std::thread::scope(|scope| {
            let attempt = || {
                start.wait();
                usize::from(opened(&receiver, &sealed))
            };
            let attempts: Vec<_> = (0..50).map(|_| scope.spawn(attempt)).collect();
            attempts.into_iter().map(|attempt| attempt.join().unwrap()).sum()
        });
        assert_eq!(accepted, 1);
    }
}

#[test]
fn the_same_number_counts_anew_for_another_audience_epoch_or_key() {
    let agents = ["Alice", "Bob", "Carol"].map(Agent::new);
    let [alice, bob, carol] = &agents;
    let renewed = Agent::with_bundle("Alice", 2, later(-HOUR), later(HOUR));
    let receiver = bob.receiver(&[alice, carol, &renewed]);
    let draft = Draft::new(MessageType::TaskRequest, b"x");
    let (one, both) = (To::Agent(&bob.bundle), [&bob.bundle, &carol.bundle]);
    let nonce = Nonce { epoch: 1, seq: 1 };
    for message in [
        alice.seal_at(&draft, &one, nonce, NOW),
        alice.seal_at(&draft, &To::Agents(&both), nonce, NOW),
        alice.seal_at(&draft, &one, Nonce { epoch: 2, ..nonce }, NOW),
        renewed.seal_at(&draft, &one, nonce, NOW),
        carol.seal_at(&draft, &one, nonce, NOW),
    ] {
        assert!(opened(&receiver, &message));
        assert_eq!(refused(&receiver, message.as_bytes()), Code::MessageReplayed);
    }
}

/// What the old process accepted the new one does not, although it remembers nothing.
#[test]
fn nothing_that_was_accepted_before_a_restart_is_accepted_after_it() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let draft = Draft::new(MessageType::TaskRequest, b"x");
    let to = To::Agent(&bob.bundle);
    let before = bob.receiver(&[&alice]);
    // Clocks that differ: from the oldest that is accepted to what comes from the future.
    let sent: Vec<_> = (-300..=10)
        .map(|at: i64| {
            let nonce = Nonce { epoch: 1, seq: at.unsigned_abs() * 2 + u64::from(at > 0) };
            alice.seal_at(&draft, &to, nonce, later(at))
        })
        .collect();
    assert!(sent.iter().all(|message| opened(&before, message)));

    let after = bob.receiver_since(&[&alice], NOW, ReplayLimits::default());
    for message in &sent {
        assert_eq!(refused(&after, message.as_bytes()), Code::MessageBeforeStart);
    }
    // What is issued later is accepted, once, although its clock is ahead.
    let new = alice.seal_at(&draft, &to, Nonce { epoch: 1, seq: 700 }, later(11));
    assert_eq!(refused(&after, new.as_bytes()), Code::MessageFromFuture);
    assert!(after.open(new.as_bytes(), later(1)).is_ok());
    assert_eq!(refused_at(&after, new.as_bytes(), later(1)), Code::MessageReplayed);
}

#[test]
fn clocks_ten_minutes_off_are_refused_and_small_differences_are_not() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let sealed = alice.seal(b"x", &bob, 1);
    let receiver = bob.receiver(&[&alice]);
    for (now, code) in [
        (later(600), Code::MessageStale),
        (later(301), Code::MessageStale),
        (later(-11), Code::MessageFromFuture),
        (later(-600), Code::MessageFromFuture),
    ] {
        assert_eq!(refused_at(&receiver, sealed.as_bytes(), now), code);
    }
    for now in [later(300), later(-10)] {
        bob.receiver(&[&alice]).open(sealed.as_bytes(), now).unwrap();
    }
}

/// Where mail waits, age does not matter until it expires; the future does.
#[test]
fn stored_mail_is_accepted_until_it_expires() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let sealed = alice.seal(b"x", &bob, 1);
    let rule = TimeRule::UntilExpiry { tolerance: Duration::from_secs(300) };
    let at = |now| {
        open(sealed.as_bytes(), &bob.name, &mut Asked::new(&bob, &alice), now, rule)
            .map_err(|error| match error {
                OpenError::Refused(refusal) => refusal.code,
                OpenError::Deferred(deferred) => panic!("{deferred}"),
            })
            .map(drop)
    };
    let week = 7 * 24 * HOUR;
    assert_eq!(at(later(-300)), Ok(()));
    assert_eq!(at(later(-301)), Err(Code::MessageFromFuture));
    assert_eq!(at(later(2 * 24 * HOUR)), Ok(()));
    assert_eq!(at(later(week - 1)), Ok(()));
    assert_eq!(at(later(week)), Err(Code::MessageExpired));
}

/// A forgery with a high number, or from an epoch of its own, changes nothing.
#[test]
fn what_is_not_signed_moves_no_window() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let receiver = bob.receiver(&[&alice]);
    let sealed = alice.seal(b"x", &bob, 1);
    for nonce in [Nonce { epoch: 1, seq: u64::MAX }, Nonce { epoch: 7, seq: 0 }] {
        let forged = Forged::with(&sealed, |forged| forged.header.nonce = nonce);
        assert_eq!(refused(&receiver, &forged.unsigned()), Code::SignatureInvalid);
    }
    let mut broken = sealed.as_bytes().to_vec();
    *broken.last_mut().unwrap() ^= 1;
    assert_eq!(refused(&receiver, &broken), Code::SignatureInvalid);
    assert!(opened(&receiver, &sealed));
}

#[test]
fn what_comes_too_far_behind_is_refused_rather_than_believed() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let receiver = bob.receiver(&[&alice]);
    for seq in [5_000, 5_000 - 1_023] {
        assert!(opened(&receiver, &alice.seal(b"x", &bob, seq)));
    }
    let late = alice.seal(b"x", &bob, 5_000 - 1_024);
    assert_eq!(refused(&receiver, late.as_bytes()), Code::ReplayWindow);
    assert!(opened(&receiver, &alice.seal(b"x", &bob, u64::MAX)));
    assert!(opened(&receiver, &alice.seal(b"x", &bob, u64::MAX - 1_023)));
    let late = alice.seal(b"x", &bob, 6_000);
    assert_eq!(refused(&receiver, late.as_bytes()), Code::ReplayWindow);
}

/// What stood in the window's place before is not taken for what a jump left out.
#[test]
fn what_a_jump_left_out_is_accepted_once_when_it_comes() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let template = alice.seal(b"x", &bob, 0);
    let mut window = ReplayWindow::new(ReplayLimits::default(), later(-HOUR));
    let mut accepts = |seq| {
        let message = message(&template, 1, Nonce { epoch: 1, seq }, 0);
        window.claim(&message, NOW).is_ok()
    };
    assert!((0..WINDOW).all(&mut accepts));
    for jump in [2, 7, 64, 1_000, WINDOW, 3 * WINDOW] {
        let from = WINDOW * 100 * jump;
        assert!((from..from + WINDOW).all(&mut accepts));
        let to = from + WINDOW - 1 + jump;
        assert!(accepts(to));
        let left_out = (from + WINDOW).max(to - WINDOW + 1)..to;
        assert!(left_out.clone().all(&mut accepts), "{jump}");
        assert!(!left_out.chain([to]).any(&mut accepts), "{jump}");
    }
}

/// A message with another key, epoch and time, as the window sees it.
fn message(template: &SecureAgentMessage, key: u64, nonce: Nonce, at: i64) -> SecureAgentMessage {
    let mut message = template.clone();
    let mut kid = [0; 32];
    kid[..8].copy_from_slice(&key.to_be_bytes());
    message.sender_kid = KeyId::from_bytes(kid);
    message.nonce = nonce;
    message.timestamp = later(at);
    message
}

#[test]
fn hostile_keys_and_epochs_leave_memory_bounded_and_others_alone() {
    let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
    let template = alice.seal(b"x", &bob, 1);
    let limits = ReplayLimits::default();
    let mut window = ReplayWindow::new(limits, later(-HOUR));
    let mut claim = |key, epoch, now| {
        let message = message(&template, key, Nonce { epoch, seq: 1 }, now);
        window.claim(&message, later(now)).map(|()| window.epochs()).map_err(|r| r.code)
    };
    // An honest sender, then one key with 100,000 epochs: refused beyond its own.
    claim(0, 1, 0).unwrap();
    let accepted = (0..100_000).filter(|epoch| claim(1, *epoch, 0).is_ok()).count();
    assert_eq!(accepted, limits.epochs_per_key);
    assert_eq!(claim(1, 100_000, 0), Err(Code::ReplayCapacity));
    // 100,000 keys: beyond the bound nobody new is accepted; nobody known is forgotten.
    let accepted = (2..100_002).filter(|key| claim(*key, 1, 0).is_ok()).count();
    assert_eq!(accepted, limits.epochs - limits.epochs_per_key - 1);
    for (key, epoch) in [(0, 1), (1, 5), (2, 1)] {
        assert_eq!(claim(key, epoch, 0), Err(Code::MessageReplayed));
    }
    // What was received can be accepted for 300 s; then there is room again.
    assert_eq!(claim(200_000, 1, 300), Err(Code::ReplayCapacity));
    assert_eq!(claim(200_000, 1, 301), Ok(1));
}

proptest! {
    /// Beside a memory that is not bounded: the window accepts nothing twice, and refuses
    /// nothing new that is less than 1,024 behind.
    #[test]
    fn the_window_agrees_with_an_unbounded_memory(
        steps in prop::collection::vec((0..3_u64, 0..2_u64, 0..4_000_u64), 1..300)
    ) {
        let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
        let template = alice.seal(b"x", &bob, 1);
        let mut window = ReplayWindow::new(ReplayLimits::default(), later(-HOUR));
        let mut had = HashSet::new();
        let mut highest = std::collections::HashMap::new();
        for (key, epoch, seq) in steps {
            let message = message(&template, key, Nonce { epoch, seq }, 0);
            let top = highest.entry((key, epoch)).or_insert(seq);
            let expected = if *top >= seq + WINDOW {
                Err(Code::ReplayWindow)
            } else if had.contains(&(key, epoch, seq)) {
                Err(Code::MessageReplayed)
            } else {
                Ok(())
            };
            prop_assert_eq!(window.seen(&message).map_err(|r| r.code), expected);
            prop_assert_eq!(window.claim(&message, NOW).map_err(|r| r.code), expected);
            *top = (*top).max(seq);
            had.insert((key, epoch, seq));
        }
    }

    /// As time goes by and epochs come and go, with little room: nothing is accepted twice.
    #[test]
    fn nothing_is_accepted_twice_however_little_room_there_is(
        steps in prop::collection::vec((0..4_u64, 0..4_u64, 0..3_u64, 0..200_i64), 1..200)
    ) {
        let (alice, bob) = (Agent::new("Alice"), Agent::new("Bob"));
        let template = alice.seal(b"x", &bob, 1);
        let limits = ReplayLimits { epochs_per_key: 2, epochs: 5, ..ReplayLimits::default() };
        let mut window = ReplayWindow::new(limits, later(-HOUR));
        let (mut now, mut accepted) = (0, Vec::new());
        for (key, epoch, seq, pause) in steps {
            now += pause;
            let new = message(&template, key, Nonce { epoch, seq }, now);
            if window.claim(&new, later(now)).is_ok() {
                accepted.push((now, new));
            }
            prop_assert!(window.epochs() <= limits.epochs);
            for (at, old) in &accepted {
                // Older ones are refused for their age before the window is asked.
                if now - at <= 300 {
                    prop_assert!(window.seen(old).is_err());
                    prop_assert!(window.clone().claim(old, later(now)).is_err());
                }
            }
        }
    }
}
