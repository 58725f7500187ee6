//! How alerts are written for each kind of receiver.
//!
//! Names come from peers, servers and agents. What would move a cursor, turn the order of
//! characters round, end a header or mean something in markup is made harmless here, at the
//! one place where it is known what that is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::fmt::rfc2822;
use sealwire_names::Timestamp;
use serde_json::{Map, Value, json};

use super::alert::{Alert, without_middle};
use crate::cli::printable;

/// Longest subject of a mail, in characters.
const MAX_SUBJECT: usize = 240;
/// What stands there for what is left out of a subject.
const GAP: &str = "...";
/// Longest line of base64 in a mail (RFC 2045 §6.8).
const MAX_BASE64_LINE: usize = 76;

/// Who tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// This machine.
    pub(crate) host: String,
    pub(crate) trust_domain: String,
}

/// For Slack and what takes the same (`{"text": …}`).
pub(super) fn slack(source: &Source, alerts: &[Alert]) -> Value {
    let mut text = format!("{} on {}", heading(alerts), code(&source.host));
    for alert in alerts {
        text.push_str(&format!("\n• {}", first_line(alert)));
        for (label, value) in values(alert) {
            text.push_str(&format!("\n    {label}: {}", code(&value)));
        }
    }
    // Nobody is mentioned and nothing becomes a link, whatever a name looks like.
    json!({"text": text, "unfurl_links": false, "unfurl_media": false, "link_names": false})
}

/// For a receiver of one's own.
pub(super) fn object(source: &Source, alerts: &[Alert]) -> Value {
    let one = |alert: &Alert| {
        let details = alert.details.iter();
        let details: Map<String, Value> =
            details.map(|(label, value)| (label.clone(), printable(value).into())).collect();
        let subject = alert.subject.as_ref().map(
            |subject| json!({"kind": printable(&subject.kind), "name": printable(&subject.name)}),
        );
        json!({
            "id": alert.id,
            "kind": alert.kind.as_str(),
            "severity": alert.kind.severity().as_str(),
            "summary": alert.kind.sentence(),
            "subject": subject,
            "details": details,
            "at": Timestamp::from_unix_millis(alert.at).to_string(),
            "count": alert.count,
            "log": alert.log().map(|(size, root)| {
                json!({"tree_size": size, "root_hash": root, "checkpoint": alert.checkpoint})
            }),
        })
    };
    json!({
        "type": "sealwire.alerts",
        "source": {"host": printable(&source.host), "trust_domain": source.trust_domain},
        "alerts": alerts.iter().map(one).collect::<Vec<_>>(),
    })
}

/// A mail, whole, as SMTP carries it: lines that end with CRLF, none of which begins with a dot.
pub(super) fn mail(
    source: &Source,
    alerts: &[Alert],
    (from, to, id): (&str, &[String], &str),
    now: Timestamp,
) -> String {
    let mut body = format!("{} on {}\n", heading(alerts), printable(&source.host));
    for alert in alerts {
        body.push_str(&format!("\n{}\n", first_line(alert)));
        for (label, value) in values(alert) {
            body.push_str(&format!("    {label}: {}\n", printable(&value)));
        }
    }
    let domain = from.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    let mut mail = format!(
        "From: {from}\r\nTo: {}\r\nSubject: {}\r\nDate: {}\r\nMessage-ID: <{id}@{domain}>\r\n\
         Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n",
        to.join(",\r\n "),
        subject(source, alerts),
        date(now),
    );
    let encoded = STANDARD.encode(body.replace('\n', "\r\n"));
    for line in encoded.as_bytes().chunks(MAX_BASE64_LINE) {
        mail.push_str(&String::from_utf8_lossy(line));
        mail.push_str("\r\n");
    }
    mail
}

/// What it is about, of printable ASCII alone: a header has no other characters, and its end
/// is a line's end.
fn subject(source: &Source, alerts: &[Alert]) -> String {
    let name = alerts.first().and_then(|alert| alert.subject.as_ref());
    let name = name.map(|name| format!(": {}", name.name)).unwrap_or_default();
    let text = format!("[sealwire {}] {}{name}", source.host, heading(alerts));
    let plain = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    let text = without_middle(&text.replace('…', GAP), MAX_SUBJECT, GAP);
    text.chars().map(plain).collect()
}

fn date(now: Timestamp) -> String {
    let now = jiff::Timestamp::from_millisecond(now.unix_millis()).unwrap_or_default();
    let now = now.to_zoned(jiff::tz::TimeZone::UTC);
    rfc2822::to_string(&now).unwrap_or_default()
}

fn heading(alerts: &[Alert]) -> String {
    match alerts {
        [one] => format!("{}: {}", one.kind.severity().as_str(), one.kind.sentence()),
        more => format!("{} alerts", more.len()),
    }
}

fn first_line(alert: &Alert) -> String {
    format!("[{}] {}", alert.kind.severity().as_str(), alert.kind.sentence())
}

/// All values of an alert, each with its label.
fn values(alert: &Alert) -> Vec<(String, String)> {
    let subject = alert.subject.as_ref();
    let subject = subject.map(|subject| (subject.kind.clone(), subject.name.clone()));
    let at = ("at".to_owned(), Timestamp::from_unix_millis(alert.at).to_string());
    let count = (alert.count > 1)
        .then(|| ("since the last one like it".to_owned(), format!("{} times", alert.count)));
    let labelled = |(label, value): &(String, String)| (label.replace('_', " "), value.clone());
    let details = alert.details.iter().map(labelled);
    let log = alert.log().map(|(size, root)| {
        ("audit log".to_owned(), format!("{size} entries with the root hash {root}"))
    });
    subject.into_iter().chain(details).chain([at]).chain(count).chain(log).collect()
}

/// A word as Slack's code, in which there is no other markup and nobody is mentioned.
fn code(text: &str) -> String {
    let text = printable(text).replace('`', "'");
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    if text.trim().is_empty() { "-".to_owned() } else { format!("`{text}`") }
}

#[cfg(test)]
mod tests {
    use super::super::alert::Kind;
    use super::*;

    const HOSTILE: &str =
        "a`*b* <!channel> <http://e|x> &\r\nBcc: e@e\u{202e}\u{9b}2J\u{7f}\u{2028} @here";

    fn source() -> Source {
        Source { host: "h".to_owned(), trust_domain: "x".to_owned() }
    }

    fn alert() -> Alert {
        Alert::new(Kind::DefinitionBlocked).about("server", HOSTILE).with("definition", HOSTILE)
    }

    fn is_harmless(text: &str) {
        for unsafe_one in ['\u{202e}', '\u{9b}', '\u{7f}', '\u{2028}', '\r'] {
            assert!(!text.contains(unsafe_one), "{unsafe_one:?} in {text:?}");
        }
    }

    #[test]
    fn slack_sees_no_markup_in_names() {
        let value = slack(&source(), &[alert()]);
        let text = value["text"].as_str().unwrap();
        is_harmless(text);
        assert!(!text.contains('<') && text.contains("&lt;!channel&gt;"), "{text}");
        // In each line, what is foreign is between exactly two backquotes.
        for line in text.lines().skip(2).filter(|line| line.contains("channel")) {
            assert_eq!(line.matches('`').count(), 2, "{line}");
            assert!(line.ends_with('`'), "{line}");
        }
        assert_eq!(text.lines().count(), 5, "{text}");
    }

    #[test]
    fn a_name_adds_no_header_and_no_line_to_a_mail() {
        let (to, now) = (["a@b".to_owned(), "c@d".to_owned()], Timestamp::from_unix_millis(0));
        let mail = mail(&source(), &[alert()], ("s@m.example", &to[..], "id"), now);
        let (head, body) = mail.split_once("\r\n\r\n").unwrap();
        assert!(head.is_ascii() && body.is_ascii());
        let names: Vec<_> = head
            .split("\r\n")
            .filter(|line| !line.starts_with(' '))
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name)
            .collect();
        let expected = [
            "From",
            "To",
            "Subject",
            "Date",
            "Message-ID",
            "Auto-Submitted",
            "MIME-Version",
            "Content-Type",
            "Content-Transfer-Encoding",
        ];
        assert_eq!(names, expected);
        assert!(!head.replace("\r\n", "").contains(['\r', '\n']), "{head}");
        assert!(head.contains("Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n"), "{head}");
        assert!(mail.split("\r\n").all(|line| line.len() <= 998 && !line.starts_with('.')));
        let body = STANDARD.decode(body.replace("\r\n", "")).unwrap();
        let body = String::from_utf8(body).unwrap();
        is_harmless(&body.replace("\r\n", "\n"));
        assert!(!body.contains("\nBcc"), "{body}");
    }

    #[test]
    fn a_subject_that_is_too_long_keeps_its_ends_and_shows_that_there_was_more() {
        let name = |length: usize| format!("spiffe://x/core/{}end", "n".repeat(length));
        let of = |host: &str, length| {
            let source = Source { host: host.to_owned(), ..source() };
            subject(&source, &[Alert::new(Kind::Quarantined).about("peer", &name(length))])
        };
        let short = of("h", 100);
        assert!(short.ends_with(&name(100)) && !short.contains("..."), "{short}");
        let long = "h".repeat(255);
        for (host, length) in [("h", 300), (&long, 4), (&long, 2000)] {
            let cut = of(host, length);
            assert!(cut.chars().count() <= MAX_SUBJECT, "{cut}");
            assert!(cut.starts_with("[sealwire h") && cut.ends_with("end"), "{cut}");
            assert!(cut.contains("...") && cut.is_ascii(), "{cut}");
        }
    }

    #[test]
    fn the_subject_of_a_mail_says_who_is_shut_out() {
        let peer = "spiffe://production.example.org/mcp-server/the-tools-of-the-back-office-1";
        let source = Source { host: "h".repeat(63), trust_domain: "x".to_owned() };
        for kind in [Kind::IncidentActed, Kind::Quarantined, Kind::Revoked] {
            let subject = subject(&source, &[Alert::new(kind).about("peer", peer)]);
            assert!(subject.ends_with(peer), "{subject}");
        }
    }

    #[test]
    fn an_object_holds_the_same_for_programs() {
        let value = object(&source(), &[alert()]);
        let one = &value["alerts"][0];
        assert_eq!(
            (&one["kind"], &one["severity"]),
            (&json!("definition_blocked"), &json!("warning"))
        );
        is_harmless(one["subject"]["name"].as_str().unwrap());
        is_harmless(one["details"]["definition"].as_str().unwrap());
        assert_eq!(one["count"], 1);
        assert_eq!(one["log"], json!(null));
    }

    #[test]
    fn the_log_as_it_stood_is_told_in_every_form() {
        let note = "o/x\n12\nAAEC\n\n— o/x sig\n";
        let alert = Alert { checkpoint: Some(note.to_owned()), ..alert() };
        let expected = json!({"tree_size": 12, "root_hash": "AAEC", "checkpoint": note});
        assert_eq!(object(&source(), std::slice::from_ref(&alert))["alerts"][0]["log"], expected);
        let text = slack(&source(), &[alert]);
        let text = text["text"].as_str().unwrap();
        assert!(text.ends_with("\n    audit log: `12 entries with the root hash AAEC`"), "{text}");
    }
}
