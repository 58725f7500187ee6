use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use sealwire_audit::{AgentMessage, AuditSink, Connection, Incident, LogSink, PinEvent, Position};
use sealwire_guard::{Policy, ServerPolicy, Space, Table, Target};
use sealwire_names::{AgentId, Fingerprint, Refusal, Timestamp};

use super::served::RESULTS;
use super::*;

struct Full;

impl AuditSink for Full {
    fn record(&self, _event: &Event<'_>) -> io::Result<Position> {
        Err(io::ErrorKind::StorageFull.into())
    }
}

fn peer() -> PeerId {
    "spiffe://x/agent/planted-peer".parse().unwrap()
}

/// Serves `echo`, whose tool `write` has level 2 and all others level 1.
fn serving() -> Arc<SecurityMetrics> {
    let echo = ServerPolicy {
        name: "echo".into(),
        entry: "echo".into(),
        default_level: Some(Level::Authenticated),
        levels: vec![(Space::Tool, "write".parse().unwrap(), Level::Authorized)],
        ..ServerPolicy::default()
    };
    let table = Table::compile(&Policy { servers: vec![echo], ..Policy::default() });
    let metrics = Arc::new(SecurityMetrics::new());
    metrics.serving(Arc::new(table), ["echo"]);
    metrics
}

fn message<'a>(peer: &'a PeerId, direction: &'a str, tool: &'a str) -> Message<'a> {
    let method = if direction == "to_client" { "sampling/createMessage" } else { "tools/call" };
    Message {
        peer: Some(peer),
        server: "echo",
        direction,
        method,
        subject: Some(tool),
        id: None,
        certificate: None,
        arguments: None,
        policy: None,
        at: None,
    }
}

fn refusal(code: RefusalCode) -> Refusal {
    Refusal::new(code, "planted reason")
}

/// One of everything.
fn all_that_happens(sink: &impl AuditSink) {
    let peer = peer();
    let fingerprint = Fingerprint::from_sha256([7; 32]);
    let address = SocketAddr::from(([192, 0, 2, 77], 4711));
    let connection = Connection {
        address,
        peer: &peer,
        fingerprint: &fingerprint,
        server: "echo",
        cipher: "",
        group: "",
    };
    let tell = |event: &Event<'_>| sink.record(event).unwrap();
    tell(&Event::ConnectionAccepted(&connection));
    tell(&Event::ConnectionResumed(&connection));
    for (peer, code) in [
        (None, RefusalCode::UnknownIssuer),
        (None, RefusalCode::CertificateSignature),
        (None, RefusalCode::UnknownServer),
        (Some(&peer), RefusalCode::PeerLimit),
        (Some(&peer), RefusalCode::ResumeStale),
        (Some(&peer), RefusalCode::CertificateRevoked),
    ] {
        tell(&Event::ConnectionRefused {
            address: Some(address),
            peer,
            server: Some("planted-sni"),
            refusal: &refusal(code),
        });
    }
    let read = message(&peer, "to_server", "planted-tool");
    let write = message(&peer, "to_server", "write");
    tell(&Event::Decision { message: &read, denied: None });
    let denied = refusal(RefusalCode::RateLimited);
    tell(&Event::Decision { message: &write, denied: Some(&denied) });
    let asked = message(&peer, "to_client", "");
    tell(&Event::Decision { message: &asked, denied: None });
    let duration = Duration::from_millis(3);
    for result in RESULTS {
        tell(&Event::Outcome { message: &read, decision: Position::default(), result, duration });
        tell(&Event::Outcome { message: &asked, decision: Position::default(), result, duration });
    }
    let agent: AgentId = "PlantedAgent".parse().unwrap();
    let bad =
        [RefusalCode::SignatureInvalid, RefusalCode::ContentKey, RefusalCode::MessageReplayed]
            .map(refusal);
    let not_sent = refusal(RefusalCode::AgentRateLimited);
    for step in [
        AgentStep::Sending,
        AgentStep::Sent,
        AgentStep::SendFailed { reason: "planted reason" },
        AgentStep::Delivered { again: false },
        AgentStep::Delivered { again: true },
        AgentStep::Acknowledged,
        AgentStep::Deferred { wait: duration },
        AgentStep::NotSent(&not_sent),
        AgentStep::Refused(&bad[0]),
        AgentStep::Refused(&bad[1]),
        AgentStep::Refused(&bad[2]),
    ] {
        let (to, message_id, message_type) = (None, None, None);
        let message =
            AgentMessage { step, agent: &agent, from: &agent, to, message_id, message_type };
        tell(&Event::AgentMessage(&message));
    }
    let step =
        PinStep::Blocked { name: "planted-tool", refusal: &refusal(RefusalCode::PinChanged) };
    let pin = PinEvent { peer: Some(&peer), server: "echo", kind: "tool", step };
    tell(&Event::Pin(&pin));
    tell(&Event::Incident(&Incident {
        id: Some(1),
        kind: IncidentKind::Replays.as_str(),
        subject: &"planted subject",
        events: 1,
        window: duration,
        action: "notify",
        until: Timestamp::from_unix_millis(0),
    }));
}

fn levels() -> Levels {
    let at = Timestamp::from_unix_millis;
    let mut root = [0; 32];
    (root[0], root[3], root[31]) = (0x80, 1, 9);
    Levels {
        conversations: [("echo".to_owned(), 2)].into(),
        quarantined: vec![Target::Server("planted-server".to_owned())],
        certificates: vec![("echo".to_owned(), at(1_000)), ("echo".to_owned(), at(9_000))],
        is_ready: true,
        log: Some(LogLevels {
            entries: 12,
            bytes: 3_000,
            most_bytes: Some(4_000),
            is_nearly_full: true,
            is_writable: true,
            checkpoint: Some((10, root)),
            signed: Some(at(5_999)),
        }),
        log_lines_lost: 3,
    }
}

/// Everything that there is to show, after one of everything.
fn shown() -> String {
    let metrics = serving();
    all_that_happens(&MetricsSink::new(LogSink, Arc::clone(&metrics)));
    metrics.text(&levels())
}

#[track_caller]
fn assert_has(text: &str, line: &str) {
    assert!(text.lines().any(|of| of == line), "no {line} in\n{text}");
}

#[test]
fn what_happens_is_counted() {
    let text = shown();
    for line in [
        r#"sealwire_tls_connections_total{server="echo"} 2"#,
        r#"sealwire_reconnects_total{server="echo"} 1"#,
        // Those whose certificate was in order, whatever came of it.
        "sealwire_mtls_successes_total{} 4",
        r#"sealwire_mtls_failures_total{reason="unknown_issuer"} 1"#,
        r#"sealwire_mtls_failures_total{reason="certificate_revoked"} 1"#,
        r#"sealwire_mtls_failures_total{reason="certificate_expired"} 0"#,
        r#"sealwire_connections_refused_total{reason="unknown_server"} 1"#,
        r#"sealwire_decisions_total{server="echo",level="1",decision="allow"} 1"#,
        r#"sealwire_decisions_total{server="echo",level="2",decision="deny"} 1"#,
        r#"sealwire_decisions_total{server="echo",level="none",decision="allow"} 1"#,
        r#"sealwire_decisions_total{server="echo",level="3",decision="deny"} 0"#,
        r#"sealwire_messages_denied_total{server="echo",reason="rate_limited"} 1"#,
        r#"sealwire_calls_total{server="echo",result="unanswered"} 1"#,
        r#"sealwire_call_duration_seconds_count{server="echo"} 2"#,
        r#"sealwire_call_duration_seconds_bucket{le="0.0025",server="echo"} 0"#,
        r#"sealwire_call_duration_seconds_bucket{le="0.005",server="echo"} 2"#,
        r#"sealwire_definitions_blocked_total{server="echo",reason="pin_changed"} 1"#,
        r#"sealwire_agent_messages_total{step="delivered"} 1"#,
        r#"sealwire_agent_messages_refused_total{reason="signature_invalid"} 1"#,
        r#"sealwire_signature_verifications_total{of="message",result="valid"} 4"#,
        r#"sealwire_signature_verifications_total{of="message",result="invalid"} 1"#,
        r#"sealwire_signature_verifications_total{of="certificate",result="invalid"} 1"#,
        r#"sealwire_limits_exceeded_total{limit="peer_limit"} 1"#,
        r#"sealwire_limits_exceeded_total{limit="rate_limited"} 1"#,
        // Not sent, and put off.
        r#"sealwire_limits_exceeded_total{limit="agent_rate_limited"} 2"#,
        r#"sealwire_replays_detected_total{reason="message_replayed"} 1"#,
        r#"sealwire_replays_detected_total{reason="resume_stale"} 1"#,
        r#"sealwire_incidents_total{kind="replays"} 1"#,
    ] {
        assert_has(&text, line);
    }
}

#[test]
fn how_things_are_is_told_anew_each_time() {
    let metrics = serving();
    let text = metrics.text(&levels());
    for line in [
        r#"sealwire_conversations{server="echo"} 2"#,
        r#"sealwire_quarantined{kind="server"} 1"#,
        r#"sealwire_quarantined{kind="peer"} 0"#,
        // The one that expires first.
        r#"sealwire_certificate_expiry_timestamp_seconds{server="echo"} 1"#,
        "sealwire_audit_entries{} 12",
        "sealwire_audit_size_bytes{} 3000",
        "sealwire_audit_limit_bytes{} 4000",
        "sealwire_audit_nearly_full{} 1",
        "sealwire_audit_checkpoint_entries{} 10",
        "sealwire_audit_checkpoint_timestamp_seconds{} 5",
        r#"sealwire_audit_checkpoint_root{word="0"} 2147483649"#,
        r#"sealwire_audit_checkpoint_root{word="7"} 9"#,
        "sealwire_log_lines_lost_total{} 3",
    ] {
        assert_has(&text, line);
    }
    let mut now = levels();
    (now.conversations, now.quarantined, now.certificates) = Default::default();
    let log = now.log.as_mut().unwrap();
    log.checkpoint = Some((11, [1; 32]));
    let text = metrics.text(&now);
    assert_has(&text, r#"sealwire_conversations{server="echo"} 0"#);
    assert_has(&text, r#"sealwire_quarantined{kind="server"} 0"#);
    assert_has(&text, "sealwire_log_lines_lost_total{} 3");
    assert!(!text.contains("certificate_expiry_timestamp_seconds{"), "{text}");
    let root = text.lines().filter(|line| line.starts_with("sealwire_audit_checkpoint_root{"));
    assert_eq!(root.count(), 8, "another root is no other series");
    // Where there is no log, nothing is said of one.
    let text = serving().text(&Levels::default());
    assert!(!text.contains("sealwire_audit_writable"), "{text}");
}

#[test]
fn what_cannot_be_recorded_is_denied_and_not_counted_as_allowed() {
    let metrics = serving();
    let sink = MetricsSink::new(Full, Arc::clone(&metrics));
    let peer = peer();
    let message = message(&peer, "to_server", "t");
    let refusal = refusal(RefusalCode::NotAuthorized);
    assert!(sink.record(&Event::Decision { message: &message, denied: None }).is_err());
    let denied = Event::Decision { message: &message, denied: Some(&refusal) };
    assert!(sink.record(&denied).is_err());
    let text = metrics.text(&Levels::default());
    assert_has(&text, "sealwire_audit_failures_total{} 2");
    assert_has(&text, r#"sealwire_decisions_total{server="echo",level="1",decision="allow"} 0"#);
    assert_has(&text, r#"sealwire_decisions_total{server="echo",level="1",decision="deny"} 1"#);
}

/// What others choose would be a series for each thing that they choose.
#[test]
fn nothing_that_others_choose_is_a_label() {
    let metrics = serving();
    let sink = MetricsSink::new(LogSink, Arc::clone(&metrics));
    all_that_happens(&sink);
    let text = metrics.text(&levels());
    assert!(!text.to_lowercase().contains("planted"), "{text}");
    assert!(!text.contains("spiffe:") && !text.contains("192.0.2"), "{text}");
    all_that_happens(&sink);
    let series = |text: &str| {
        let names = text.lines().filter_map(|line| line.rsplit_once(' '));
        names.map(|(name, _)| name.to_owned()).collect::<BTreeSet<_>>()
    };
    assert_eq!(series(&text), series(&metrics.text(&levels())));
}

/// In the form in which agents' commands hand them on.
#[test]
fn what_other_processes_record_is_counted() {
    let metrics = serving();
    for entry in [
        r#""type":"message.refused","agent":"A","from":"B","reason":"signature_invalid","detail":"d"}"#,
        r#""type":"message.refused","agent":"A","from":"B","reason":"message_replayed","detail":"d"}"#,
        r#"{"entry":1,"time":2,"type":"message.delivered","agent":"A\u0041","redelivered":true}"#,
        r#""type":"incident","kind":"replays","subject":"mailbox A"}"#,
        r#""type":"message.planted","reason":"planted"}"#,
        r#""type":"message.refused","reason":"planted"}"#,
        r#""type":"incident","kind":"planted"}"#,
        "planted",
    ] {
        metrics.count_entry(entry);
    }
    let text = metrics.text(&Levels::default());
    for line in [
        r#"sealwire_agent_messages_total{step="refused"} 3"#,
        r#"sealwire_agent_messages_total{step="redelivered"} 1"#,
        r#"sealwire_agent_messages_total{step="delivered"} 0"#,
        r#"sealwire_signature_verifications_total{of="message",result="invalid"} 1"#,
        r#"sealwire_signature_verifications_total{of="message",result="valid"} 1"#,
        r#"sealwire_replays_detected_total{reason="message_replayed"} 1"#,
        r#"sealwire_incidents_total{kind="replays"} 1"#,
    ] {
        assert_has(&text, line);
    }
    assert!(!text.contains("planted"), "{text}");
}

/// A rate sees no first event of what appears with it.
#[test]
fn what_can_happen_begins_at_zero() {
    let text = serving().text(&Levels::default());
    for line in [
        r#"sealwire_connections_refused_total{reason="unknown_server"} 0"#,
        r#"sealwire_mtls_failures_total{reason="unknown_issuer"} 0"#,
        r#"sealwire_messages_denied_total{server="echo",reason="not_authorized"} 0"#,
        r#"sealwire_messages_denied_total{server="echo",reason="peer_quarantined"} 0"#,
        r#"sealwire_definitions_blocked_total{server="echo",reason="pin_changed"} 0"#,
        r#"sealwire_agent_messages_refused_total{reason="message_replayed"} 0"#,
    ] {
        assert_has(&text, line);
    }
    let begins = |code: &RefusalCode| text.contains(&format!("reason=\"{code}\"}} 0"));
    let missing: Vec<_> = RefusalCode::ALL.iter().filter(|code| !begins(code)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let shown = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(shown < 350, "{shown} series");
}

/// Names, kinds, units and labels.
#[test]
fn what_is_shown_is_what_is_declared() {
    let text = shown();
    for metric in DECLARED {
        let name = metric.name();
        let family = name.trim_end_matches("_total");
        assert_has(&text, &format!("# TYPE {family} {}", metric.kind));
        assert_has(&text, &format!("# HELP {family} {}.", metric.help));
        if let Some(unit) = metric.unit() {
            assert_has(&text, &format!("# UNIT {family} {unit}"));
            assert!(name.ends_with(unit), "{name}");
        }
        let start =
            if metric.kind == "histogram" { format!("{name}_sum{{") } else { format!("{name}{{") };
        let line =
            text.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{name}"));
        let labels = line[start.len()..].split('}').next().unwrap_or_default().split(',');
        let labels: Vec<_> = labels.filter_map(|of| Some(of.split_once('=')?.0)).collect();
        assert_eq!(labels, metric.labels, "{name}");
    }
    let types = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
    assert_eq!(types, DECLARED.len());
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn the_manual_lists_what_is_declared() {
    let manual = include_str!("../../../../docs/metrics.md");
    let row = |metric: &Metric| {
        let labels = metric.labels.iter().map(|label| format!("`{label}`"));
        let labels = labels.collect::<Vec<_>>().join(", ");
        format!("| `{}` | {} | {labels} | {} |\n", metric.name(), metric.kind, metric.help)
    };
    let table: String = DECLARED.iter().map(row).collect();
    assert!(manual.contains(&table), "docs/metrics.md should have\n{table}");
}
