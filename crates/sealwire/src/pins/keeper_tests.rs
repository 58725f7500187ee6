use sealwire_guard::Definition;

use super::*;
use crate::home::Home;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis)
}

fn definition(name: &str, hash: u8, text: &str) -> Definition<'static> {
    Definition { name: name.to_owned().into(), hash: PinHash([hash; 32]), text: text.to_owned() }
}

fn home() -> (tempfile::TempDir, Home, PeerId) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path()).unwrap();
    (dir, home, "spiffe://example.org/mcp-server/s".parse().unwrap())
}

fn pins(home: &Home, server: &PeerId, mode: PinMode) -> Arc<dyn Pins> {
    Arc::new(PinStore::open(home).unwrap()).of(server, mode).unwrap().unwrap()
}

/// Which definitions of a page pass, and whether each of the others is news.
fn show(pins: &dyn Pins, definitions: &[Definition<'_>], now: i64) -> Vec<Result<(), bool>> {
    let page = Page { kind: PinKind::Tool, definitions, ends: true };
    let (shown, _) = pins.shown(page, at(now)).unwrap();
    let passes = |shown| match shown {
        Shown::Passes { .. } => Ok(()),
        Shown::Blocked { is_news, .. } => Err(is_news),
    };
    shown.into_iter().map(passes).collect()
}

#[test]
fn what_one_process_writes_another_goes_by() {
    let (_dir, home, server) = home();
    let (one, two) =
        (pins(&home, &server, PinMode::FirstUse), pins(&home, &server, PinMode::FirstUse));
    assert_eq!(show(&*one, &[definition("a", 1, "1")], 0), [Ok(())]);
    assert_eq!(show(&*two, &[definition("a", 2, "2")], 0), [Err(true)]);
    assert_eq!(show(&*one, &[definition("a", 2, "2")], 0), [Err(false)], "known already");
    let refused = one.used(PinKind::Tool, "a", None, at(0)).unwrap_err();
    assert_eq!(refused.code, RefusalCode::PinChanged);
    let store = PinStore::open(&home).unwrap();
    let entries = store.entries(Some(&server)).unwrap();
    assert_eq!(entries.len(), 1);
    store.approve(&entries, at(1)).unwrap();
    one.used(PinKind::Tool, "a", None, at(1)).unwrap();
    assert_eq!(show(&*two, &[definition("a", 2, "2")], 1), [Ok(())]);
    // What is gone cannot be approved once more.
    assert!(matches!(store.approve(&entries, at(2)), Err(PinError::Changed { .. })));
    let other: PeerId = "spiffe://example.org/mcp-server/t".parse().unwrap();
    assert!(store.entries(Some(&other)).unwrap().is_empty());
}

#[test]
fn an_approval_of_several_is_whole_or_not_at_all() {
    let (_dir, home, server) = home();
    let keeper = pins(&home, &server, PinMode::Approved);
    show(&*keeper, &[definition("a", 1, "1"), definition("b", 1, "1")], 0);
    let store = PinStore::open(&home).unwrap();
    let entries = store.entries(None).unwrap();
    show(&*keeper, &[definition("b", 2, "2")], 0);
    assert!(store.approve(&entries, at(1)).is_err());
    assert!(store.entries(None).unwrap().iter().all(|entry| entry.approved.is_none()));
}

#[test]
fn a_change_elsewhere_is_noticed_in_a_fifth_of_a_second_of_what_passes() {
    let (_dir, home, server) = home();
    let (one, two) =
        (pins(&home, &server, PinMode::FirstUse), pins(&home, &server, PinMode::FirstUse));
    show(&*one, &[definition("a", 1, "1")], 1_000);
    show(&*two, &[definition("a", 2, "2")], 1_000);
    let used = |now: i64| one.used(PinKind::Tool, "a", None, at(now)).is_ok();
    assert!(used(1_000 + FRESH - 1));
    assert!(!used(1_000 + FRESH));
}

/// While a listing waits to be written, for another process or the disk, calls do not.
#[test]
fn a_call_does_not_wait_for_what_is_written() {
    let (_dir, home, server) = home();
    let pins = pins(&home, &server, PinMode::FirstUse);
    show(&*pins, &[definition("a", 1, "1")], 1_000);
    let other = rusqlite::Connection::open(home.state_file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let listing = scope.spawn(|| show(&*pins, &[definition("b", 1, "1")], 1_000));
        for number in 1..40 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            pins.used(PinKind::Tool, "a", None, at(1_000 + number * FRESH)).unwrap();
        }
        assert!(!listing.is_finished(), "it waits for the other one");
        other.execute_batch("COMMIT").unwrap();
        assert_eq!(listing.join().unwrap(), [Err(true)]);
    });
}

#[test]
fn there_is_no_more_room_than_there_is() {
    let (_dir, home, server) = home();
    let keeper = pins(&home, &server, PinMode::FirstUse);
    let many: Vec<_> = (0..4_097).map(|n| definition(&n.to_string(), 1, "1")).collect();
    let shown = show(&*keeper, &many, 0);
    assert_eq!(shown.iter().filter(|shown| shown.is_ok()).count(), 4_096);
    assert_eq!(shown[4_096], Err(true), "it waits");
    let large = "x".repeat(9 << 20);
    let (a, b) = (definition("0", 2, &large), definition("1", 2, &large));
    assert_eq!(show(&*keeper, &[a, b], 0), [Err(true), Err(false)], "blocked all the same");
}
