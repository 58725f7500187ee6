//! From what `serve` tells to lines of text.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use crate::cli::printable;
use crate::commands::{due, quarantine};

/// Most peers that are shown one by one.
const MOST_PEERS: usize = 20;
/// Most revocations that are, the latest.
const MOST_REVOKED: usize = 5;
/// Most incidents that are.
const MOST_INCIDENTS: usize = 5;
/// Characters of a root hash that are.
const SHOWN_OF_ROOT: usize = 12;
/// To the top left, without emptying what is shown: a screen that is emptied flickers.
const HOME: &str = "\x1b[H";
/// The rest of the line, and of the screen.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// What was told at one moment.
pub(super) struct Sample {
    pub(super) status: Value,
    pub(super) at: Instant,
}

/// Shows one sample after the other.
pub(super) struct View {
    /// Whether to draw over what was drawn before; else each is written below the last one.
    in_place: bool,
    before: Option<Sample>,
}

/// What a peer, or a server, has open, and how much it does.
#[derive(Default)]
struct Row {
    conversations: u64,
    allowed: u64,
    denied: u64,
}

impl View {
    pub(super) fn new(in_place: bool) -> Self {
        Self { in_place, before: None }
    }

    /// One sample, with totals.
    pub(super) fn once(&self, sample: &Sample) -> String {
        text(sample, None)
    }

    /// The next one, with what has happened since the last one.
    pub(super) fn next(&mut self, sample: Sample) -> String {
        let text = text(&sample, self.before.as_ref());
        let is_first = self.before.is_none();
        self.before = Some(sample);
        if !self.in_place {
            return format!("{text}\n");
        }
        let start = if is_first { format!("{HOME}{CLEAR_BELOW}") } else { HOME.to_owned() };
        let lines = text.lines().map(|line| format!("{line}{CLEAR_LINE}\n"));
        format!("{start}{}{CLEAR_BELOW}", lines.collect::<String>())
    }
}

fn text(sample: &Sample, before: Option<&Sample>) -> String {
    let status = &sample.status;
    let word = |value: &Value| printable(value.as_str().unwrap_or_default());
    let mut text = format!(
        "sealwire {}, process {}, since {}\n",
        word(&status["version"]),
        status["process"],
        word(&status["since"])
    );
    for listener in list(&status["listeners"]) {
        let servers: Vec<_> = list(&listener["servers"]).iter().map(word).collect();
        text.push_str(&format!(
            "listening at {}: {}\n",
            word(&listener["address"]),
            servers.join(", ")
        ));
    }
    let rate = |of: &dyn Fn(&Value) -> u64| rate(of, sample, before);
    text.push_str(&format!(
        "messages: {} passed{}, {} denied{}\n",
        number(&status["messages"]["allowed"]),
        rate(&|status| number(&status["messages"]["allowed"])),
        number(&status["messages"]["denied"]),
        rate(&|status| number(&status["messages"]["denied"])),
    ));
    text.push_str(&format!(
        "conversations: {} open, {} ended; connections refused: {}{}\n",
        list(&status["conversations"]).len(),
        number(&status["conversations_ended"]),
        number(&status["connections_refused"]),
        rate(&|status| number(&status["connections_refused"])),
    ));
    text.push_str(&local_text(&status["local_conversations"]));
    text.push_str(&identity_text(status));
    text.push_str(&due::summary(&status["due"]));
    text.push_str(&audit_text(&status["audit"]));
    for (title, key) in [("server", "server"), ("peer", "peer")] {
        let rows = rows(status, key);
        if rows.is_empty() {
            continue;
        }
        let old = before.map(|before| self::rows(&before.status, key)).unwrap_or_default();
        text.push_str(&format!("\n{title:44} {:>6} {:>10} {:>10}", "open", "passed", "denied"));
        text.push_str(if before.is_some() { "   passed/s\n" } else { "\n" });
        for (name, row) in rows.iter().take(MOST_PEERS) {
            let name = printable(name);
            let Row { conversations, allowed, denied } = row;
            text.push_str(&format!("{name:44} {conversations:6} {allowed:10} {denied:10}"));
            if let Some(before) = before {
                let since = old.get(name.as_str()).map_or(0, |old| old.allowed);
                text.push_str(&format!(" {:10.1}", per_second(*allowed, since, sample, before)));
            }
            text.push('\n');
        }
        if rows.len() > MOST_PEERS {
            text.push_str(&format!("and {} more\n", rows.len() - MOST_PEERS));
        }
    }
    text.push('\n');
    text.push_str(&shut_out(status));
    text.push_str(&alerts(&status["alerts"]));
    text
}

/// A home in which no `serve` runs.
pub(super) fn at_rest(status: &Value) -> String {
    let socket = printable(status["socket"].as_str().unwrap_or_default());
    let mut text = format!("no `serve` runs with this home: none takes commands at {socket}\n");
    text.push_str(&local_text(&status["local_conversations"]));
    text.push_str(&due::text(&status["due"]));
    text.push('\n');
    text.push_str(&shut_out(status));
    text
}

/// Who is quarantined, what is revoked, and the incidents of late.
fn shut_out(status: &Value) -> String {
    let word = |value: &Value| printable(value.as_str().unwrap_or_default());
    let mut text = quarantine::text(&status["quarantine"]);
    for revocation in list(&status["revoked"]).iter().rev().take(MOST_REVOKED) {
        let [kind, what, at, reason] =
            ["kind", "what", "at", "reason"].map(|key| word(&revocation[key]));
        text.push_str(&format!("revoked {kind} {what} at {at}: {reason}\n"));
    }
    let incidents = list(&status["incidents"]);
    for incident in incidents.iter().take(MOST_INCIDENTS) {
        text.push_str(&quarantine::incident_text(incident));
    }
    text
}

/// Whom `connect` serves on this machine, without a connection to `serve`.
fn local_text(conversations: &Value) -> String {
    let mut counts = BTreeMap::<String, u64>::new();
    for conversation in list(conversations) {
        let server = printable(conversation["server"].as_str().unwrap_or_default());
        *counts.entry(server).or_default() += 1;
    }
    let line = |(server, count)| format!("started here by connect: {server}, {count} open\n");
    counts.into_iter().map(line).collect()
}

/// What waits to be told to an operator, and what could not be.
fn alerts(alerts: &Value) -> String {
    if alerts["enabled"] != true {
        return String::new();
    }
    let mut text = String::new();
    for (name, channel) in alerts["channels"].as_object().into_iter().flatten() {
        let [delivered, waiting, given_up, failures] =
            ["delivered", "waiting", "given_up", "failures"].map(|key| number(&channel[key]));
        text.push_str(&format!("alerts by {name}: {delivered} delivered, {waiting} wait"));
        if given_up > 0 {
            text.push_str(&format!(", {given_up} given up"));
        }
        if let Some(why) = channel["last_failure"].as_str() {
            text.push_str(&format!("; {failures} attempts failed: {}", printable(why)));
        }
        text.push('\n');
    }
    if number(&alerts["lost"]) > 0 {
        text.push_str(&format!("alerts lost for want of room: {}\n", number(&alerts["lost"])));
    }
    if let Some(why) = alerts["unkept"].as_str() {
        text.push_str(&format!("alerts that wait are not on the disk: {}\n", printable(why)));
    }
    text
}

/// What is presented, and by which lists it is known what is revoked, each with its end.
fn identity_text(status: &Value) -> String {
    let word = |value: &Value| printable(value.as_str().unwrap_or_default());
    let mut text = String::new();
    for certificate in list(&status["certificates"]) {
        let [server, until] = ["server", "not_after"].map(|key| word(&certificate[key]));
        text.push_str(&format!("certificate of {server}: valid until {until}\n"));
    }
    let revocations = &status["revocations"];
    if revocations["wanted"] == true {
        let told = &revocations["list"];
        text.push_str(&match (revocations["known"] == true, told["until"].as_str()) {
            (true, Some(until)) => {
                format!(
                    "what is revoked: as the authority says, known until {}\n",
                    printable(until)
                )
            }
            (_, Some(until)) => {
                format!("what is revoked: NOT KNOWN SINCE {}; nobody is let in\n", printable(until))
            }
            (_, None) => "what is revoked: NOT TOLD YET; nobody is let in\n".to_owned(),
        });
    }
    for crl in list(&revocations["crl"]) {
        let [issuer, until] = ["issuer", "until"].map(|key| word(&crl[key]));
        text.push_str(&format!("revocation list of {issuer}: holds until {until}\n"));
    }
    text
}

/// How the audit log is: nothing, where none is kept.
fn audit_text(log: &Value) -> String {
    if log.is_null() {
        return String::new();
    }
    let mut text = format!("audit log: {} entries", number(&log["entries"]));
    let checkpoint = &log["checkpoint"];
    if let Some(root) = checkpoint["root"].as_str() {
        let root = root.get(..SHOWN_OF_ROOT).unwrap_or(root);
        text.push_str(&format!("; checkpoint of {}", number(&checkpoint["entries"])));
        if let Some(at) = checkpoint["at"].as_str() {
            text.push_str(&format!(" at {}", printable(at)));
        }
        text.push_str(&format!(", root {}…", printable(root)));
    }
    if log["nearly_full"] == true {
        text.push_str("; NEARLY FULL");
    }
    if let Some(trouble) = log["trouble"].as_str() {
        text.push_str(&format!("; CANNOT BE WRITTEN: {}", printable(trouble)));
    }
    text.push('\n');
    text
}

/// The open conversations, by one of their members.
fn rows(status: &Value, key: &str) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::<String, Row>::new();
    for conversation in list(&status["conversations"]) {
        let name = conversation[key].as_str().unwrap_or_default();
        let row = rows.entry(name.to_owned()).or_default();
        row.conversations += 1;
        row.allowed += number(&conversation["allowed"]);
        row.denied += number(&conversation["denied"]);
    }
    rows
}

fn rate(of: &dyn Fn(&Value) -> u64, sample: &Sample, before: Option<&Sample>) -> String {
    before.map_or_else(String::new, |before| {
        let (now, then) = (of(&sample.status), of(&before.status));
        format!(" ({:.1}/s)", per_second(now, then, sample, before))
    })
}

/// What has ended meanwhile is not counted any more, and so it may be less than before.
fn per_second(now: u64, then: u64, sample: &Sample, before: &Sample) -> f64 {
    let seconds = sample.at.saturating_duration_since(before.at).as_secs_f64();
    if seconds > 0.0 { now.saturating_sub(then) as f64 / seconds } else { 0.0 }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn status(allowed: u64) -> Value {
        json!({
            "version": "1", "process": 7, "since": "then",
            "listeners": [{"address": "127.0.0.1:1", "servers": ["echo"]}],
            "conversations": [
                {"peer": "spiffe://x/core/a\u{1b}[2J", "server": "echo", "allowed": allowed, "denied": 1},
                {"peer": "spiffe://x/core/b", "server": "echo", "allowed": 5, "denied": 0},
            ],
            "local_conversations": [
                {"server": "files\u{1b}[2J", "process": 8, "since": "then"},
                {"server": "files\u{1b}[2J", "process": 9, "since": "then"},
            ],
            "conversations_ended": 3,
            "messages": {"allowed": allowed + 5, "denied": 1},
            "connections_refused": 2,
            "quarantine": [],
            "certificates": [{"server": "echo", "not_after": "soon\u{1b}[2J"}],
            "revocations": {
                "wanted": true, "known": false, "list": {"until": "then"},
                "crl": [{"issuer": "CN=x\u{1b}", "until": "later"}],
            },
            "audit": {
                "entries": 12, "nearly_full": true, "trouble": "disk\u{1b}[2J",
                "checkpoint": {"entries": 10, "root": "0123456789abcdef", "at": "then"},
            },
            "revoked": [{"kind": "name", "what": "spiffe://x/core/c", "at": "then", "reason": "a\u{1b}[2J"}],
            "incidents": [{
                "id": 7, "kind": "replays", "subject_kind": "mailbox", "subject": "A\u{1b}[2J",
                "events": 10, "window_ms": 60_000, "action": "notify", "at": "then", "until": "later",
            }],
            "alerts": {"enabled": true, "lost": 3, "unkept": null, "channels": {
                "email": {"waiting": 2, "delivered": 0, "given_up": 1, "failures": 4,
                          "last_failure": "no\u{1b}[2J"},
                "slack": {"waiting": 0, "delivered": 5, "given_up": 0, "failures": 0,
                          "last_failure": null},
            }},
        })
    }

    #[test]
    fn totals_once_and_rates_after_that() {
        let start = Instant::now();
        let first = Sample { status: status(10), at: start };
        let mut view = View::new(false);
        let text = view.once(&first);
        assert!(text.contains("15 passed, 1 denied") && text.contains("2 open, 3 ended"), "{text}");
        assert!(!text.contains("/s"), "{text}");
        assert!(text.contains("started here by connect: files"), "{text}");
        assert!(text.contains(", 2 open\n"), "{text}");
        let audit =
            "audit log: 12 entries; checkpoint of 10 at then, root 0123456789ab…; NEARLY FULL";
        assert!(text.contains(audit) && text.contains("CANNOT BE WRITTEN: disk"), "{text}");
        let incident = "incident 7  then  replays  mailbox A";
        assert!(
            text.contains(incident) && text.contains("10 within 60s: notify until later"),
            "{text}"
        );
        assert!(text.contains("certificate of echo: valid until soon"), "{text}");
        assert!(
            text.contains("NOT KNOWN SINCE then") && text.contains("holds until later"),
            "{text}"
        );
        assert!(text.contains("revoked name spiffe://x/core/c at then: a"), "{text}");
        let alerts = "alerts by email: 0 delivered, 2 wait, 1 given up; 4 attempts failed: no";
        assert!(text.contains(alerts) && text.contains("lost for want of room: 3"), "{text}");
        assert!(text.contains("alerts by slack: 5 delivered, 0 wait\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "what a peer says moves no cursor: {text}");
        view.next(first);
        let text = view.next(Sample { status: status(30), at: start + Duration::from_secs(2) });
        assert!(text.contains("35 passed (10.0/s)"), "{text}");
        let server = text.lines().find(|line| line.starts_with("echo ")).unwrap();
        let words: Vec<_> = server.split_whitespace().collect();
        assert_eq!(words, ["echo", "2", "35", "1", "10.0"]);
    }

    #[test]
    fn a_terminal_is_drawn_over() {
        let mut view = View::new(true);
        let at = Instant::now();
        view.next(Sample { status: status(1), at });
        let again = view.next(Sample { status: status(1), at });
        assert!(again.starts_with(HOME) && again.ends_with(CLEAR_BELOW));
    }
}
