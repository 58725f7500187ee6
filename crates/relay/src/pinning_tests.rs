use std::sync::Mutex;
use std::time::Instant;

use sealwire_audit::{AuditSink, Event, PinStep, Position};
use sealwire_guard::{AllowAuthenticated, Book, Direction, PinMode, Standing};

use super::*;
use crate::conversation::{Conversation, Now, Verdict};

use Direction::{ToClient, ToServer};

/// Pins in memory, which approve the first listing; and what the audit was told.
#[derive(Default)]
struct Kept {
    book: Mutex<Book>,
    told: Mutex<Vec<String>>,
}

impl Pins for Kept {
    fn shown(&self, page: Page<'_>, now: Timestamp) -> Result<(Vec<Shown>, usize), Refusal> {
        let mut book = self.book.lock().unwrap();
        let mut shown = Vec::new();
        let mut first = 0;
        let standings = book.judge_page(PinMode::FirstUse, &page, now);
        for (standing, Definition { name, hash, .. }) in standings.into_iter().zip(page.definitions)
        {
            if let Standing::First | Standing::Approved(true) = standing {
                book.approve(page.kind, name, *hash);
            }
            shown.push(match standing {
                Standing::Approved(restored) => Shown::Passes { restored },
                Standing::First => {
                    first += 1;
                    Shown::Passes { restored: false }
                }
                Standing::Blocked(refusal, is_known) => {
                    book.note_pending(page.kind, name, *hash);
                    Shown::Blocked { refusal, is_news: !is_known }
                }
            });
        }
        if book.is_first(page.kind, now) {
            book.note_first(page.kind, now, page.ends);
        }
        Ok((shown, first))
    }

    fn used(
        &self,
        kind: PinKind,
        name: &str,
        seen: Option<&PinHash>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.book.lock().unwrap().used(PinMode::FirstUse, (kind, name), seen, now)
    }
}

impl AuditSink for Kept {
    fn record(&self, event: &Event<'_>) -> std::io::Result<Position> {
        let Event::Pin(event) = event else { return Ok(Position::default()) };
        let line = match event.step {
            PinStep::Pinned { definitions } => format!("pinned {definitions} {}", event.kind),
            PinStep::Blocked { name, refusal } => {
                format!("{} {} {name}", refusal.code, event.kind)
            }
            PinStep::Restored { name } => format!("restored {} {name}", event.kind),
        };
        self.told.lock().unwrap().push(line);
        Ok(Position::default())
    }
}

/// One conversation, of which every request has another id.
struct Talk {
    conversation: Conversation,
    kept: Arc<Kept>,
    id: u32,
}

fn now() -> Now {
    Now { wall: Timestamp::from_unix_millis(0), monotonic: Instant::now() }
}

impl Talk {
    fn with(kept: &Arc<Kept>) -> Self {
        let (gate, audit) = (Arc::new(AllowAuthenticated), Arc::clone(kept));
        let conversation = Conversation::new(None, "s".into(), gate, audit)
            .with_pins(Some(Arc::clone(kept) as Arc<dyn Pins>));
        Self { conversation, kept: Arc::clone(kept), id: 0 }
    }

    fn ask(&mut self, method: &str, params: &str) -> Verdict {
        self.id += 1;
        let id = self.id;
        let request =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
        self.conversation.judge(ToServer, request.as_bytes(), now())
    }

    /// What the client sees of a result.
    fn answered(&mut self, method: &str, params: &str, result: &str) -> String {
        assert_eq!(self.ask(method, params), Verdict::Forward);
        let id = self.id;
        let response = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        match self.conversation.judge(ToClient, response.as_bytes(), now()) {
            Verdict::Forward => response,
            Verdict::Substitute(bytes) => String::from_utf8(bytes).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn call(&mut self, tool: &str) -> Option<String> {
        match self.ask("tools/call", &format!(r#"{{"name":"{tool}"}}"#)) {
            Verdict::Forward => None,
            Verdict::Answer(bytes) => Some(String::from_utf8(bytes).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.kept.told.lock().unwrap())
    }
}

const A: &str = r#"{"name":"a","description":"A."}"#;
const B: &str = r#"{"name":"b","description":"B."}"#;

fn page(items: &[&str], next: &str) -> String {
    format!(r#"{{"tools":[{}]{next}}}"#, items.join(","))
}

#[test]
fn a_changed_definition_is_neither_listed_nor_callable_and_is_told_once() {
    let mut talk = Talk::with(&Arc::default());
    let listed = talk.answered("tools/list", "{}", &page(&[A, B], ""));
    assert!(listed.contains(A) && listed.contains(B));
    assert_eq!(talk.told(), ["pinned 2 tool"]);
    let changed = r#"{"name":"b","description":"B!"}"#;
    for told in [&["pin_changed tool b"][..], &[]] {
        let listed = talk.answered("tools/list", "{}", &page(&[A, changed], ""));
        assert!(listed.contains(A) && !listed.contains("\"b\""), "{listed}");
        assert_eq!(talk.told(), told);
    }
    assert_eq!(talk.call("a"), None);
    let answer = talk.call("b").unwrap();
    assert!(answer.contains("pin_changed") && !answer.contains("SHA"), "{answer}");
    // As it was approved, written otherwise.
    let same = r#"{ "description":"\u0042." ,"name":"b"}"#;
    let listed = talk.answered("tools/list", "{}", &page(&[A, same], ""));
    assert!(listed.contains(same), "byte for byte: {listed}");
    assert_eq!(talk.told(), ["restored tool b"]);
    assert_eq!(talk.call("b"), None);
}

#[test]
fn a_tool_of_a_later_page_is_of_the_first_listing_and_one_after_it_is_not() {
    let mut talk = Talk::with(&Arc::default());
    talk.answered("tools/list", "{}", &page(&[A], r#","nextCursor":"2""#));
    talk.answered("tools/list", r#"{"cursor":"2"}"#, &page(&[B], ""));
    assert_eq!(talk.told(), ["pinned 1 tool", "pinned 1 tool"]);
    let added = r#"{"name":"c"}"#;
    talk.answered("tools/list", "{}", &page(&[A], r#","nextCursor":"2""#));
    let listed = talk.answered("tools/list", r#"{"cursor":"2"}"#, &page(&[added, B], ""));
    assert!(listed.contains(B) && !listed.contains(added), "{listed}");
    assert_eq!(talk.told(), ["pin_added tool c"]);
    assert!(talk.call("c").unwrap().contains("pin_added"));
    // The same name twice, once as it was approved: the client may take either.
    let twin = r#"{"name":"a","description":"other"}"#;
    let listed = talk.answered("tools/list", "{}", &page(&[A, twin], ""));
    assert!(listed.contains(A) && !listed.contains(twin), "{listed}");
    assert!(talk.call("a").unwrap().contains("pin_changed"));
}

#[test]
fn a_client_that_begins_with_the_last_page_does_not_end_the_first_listing() {
    for cursor in [r#"{"cursor":"2"}"#, r#"{"Cursor":"2"}"#, r#"{"cursor":1}"#] {
        let mut talk = Talk::with(&Arc::default());
        talk.answered("tools/list", cursor, &page(&[B], ""));
        let listed = talk.answered("tools/list", "{}", &page(&[A], ""));
        assert!(listed.contains(A), "{cursor}: {listed}");
    }
}

#[test]
fn another_conversation_that_listed_nothing_is_kept_from_what_has_changed() {
    let kept = Arc::default();
    let (mut one, mut two) = (Talk::with(&kept), Talk::with(&kept));
    one.answered("tools/list", "{}", &page(&[A], ""));
    assert_eq!(two.call("a"), None);
    one.answered("tools/list", "{}", &page(&[r#"{"name":"a"}"#], ""));
    assert!(two.call("a").unwrap().contains("pin_changed"));
    // That its own server has not changed does not help the first one.
    two.answered("tools/list", "{}", &page(&[A], ""));
    assert_eq!(two.call("a"), None);
    assert!(one.call("a").unwrap().contains("pin_changed"));
}

#[test]
fn changed_instructions_do_not_reach_the_client() {
    for method in ["initialize", "server/discover"] {
        let mut talk = Talk::with(&Arc::default());
        let first = r#"{"instructions":"Be kind.","capabilities":{}}"#;
        assert!(talk.answered(method, "{}", first).contains(first));
        let other = r#"{"instructions":"Be evil.","capabilities":{}}"#;
        let seen = talk.answered(method, "{}", other);
        assert!(seen.contains(r#"{"instructions":"","capabilities":{}}"#), "{seen}");
        assert_eq!(talk.told(), ["pinned 1 instructions", "pin_changed instructions "]);
        for silent in [r#"{"instructions":null}"#, "{}"] {
            assert!(talk.answered(method, "{}", silent).contains(silent));
        }
        let twice = r#"{"instructions":"Be kind.","Instructions":"Be evil."}"#;
        assert!(talk.answered(method, "{}", twice).contains("member_ambiguous"));
    }
}

#[test]
fn instructions_where_there_were_none_are_an_addition() {
    let mut talk = Talk::with(&Arc::default());
    talk.answered("initialize", "{}", "{}");
    let seen = talk.answered("initialize", "{}", r#"{"instructions":"Obey."}"#);
    assert!(seen.contains(r#"{"instructions":""}"#), "{seen}");
}

#[test]
fn prompts_and_templates_are_pinned_and_resources_are_not() {
    let mut talk = Talk::with(&Arc::default());
    for (method, member, key) in [
        ("prompts/list", "prompts", "name"),
        ("resources/templates/list", "resourceTemplates", "uriTemplate"),
        ("resources/list", "resources", "uri"),
    ] {
        let result =
            |what: &str| format!(r#"{{"{member}":[{{"{key}":"x","description":"{what}"}}]}}"#);
        talk.answered(method, "{}", &result("one"));
        let seen = talk.answered(method, "{}", &result("two"));
        assert_eq!(seen.contains("two"), member == "resources", "{seen}");
    }
    assert!(matches!(talk.ask("prompts/get", r#"{"name":"x"}"#), Verdict::Answer(_)));
    assert_eq!(talk.ask("resources/read", r#"{"uri":"x"}"#), Verdict::Forward);
}

#[test]
fn a_server_that_changes_all_of_its_tools_does_not_fill_the_log() {
    let mut talk = Talk::with(&Arc::default());
    let many = |word: &str| -> String {
        let item = |n| format!(r#"{{"name":"t{n}","description":"{word}"}}"#);
        let items: Vec<_> = (0..300).map(item).collect();
        page(&items.iter().map(String::as_str).collect::<Vec<_>>(), "")
    };
    talk.answered("tools/list", "{}", &many("good"));
    assert_eq!(talk.told(), ["pinned 300 tool"]);
    let seen = talk.answered("tools/list", "{}", &many("bad"));
    assert!(!seen.contains("bad"), "all are blocked, told or not");
    assert_eq!(talk.told().len(), 100);
}

#[test]
fn a_server_that_shows_too_much_that_is_not_approved_shows_nothing_more() {
    let mut talk = Talk::with(&Arc::default());
    talk.answered("tools/list", "{}", &page(&[A], ""));
    let many: Vec<_> = (0..=MAX_DEVIANT).map(|n| format!(r#"{{"name":"t{n}"}}"#)).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    talk.answered("tools/list", "{}", &page(&many, ""));
    assert!(talk.call("a").unwrap().contains("pin_unapproved"));
    let answer = talk.answered("tools/list", "{}", &page(&[A], ""));
    assert!(answer.contains("pin_unapproved"), "{answer}");
}
