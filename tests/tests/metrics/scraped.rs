//! What is told, to whom.

use sealwire_testkit::{Home, Serve, run, wait_until};
use sealwire_tests::{echo_table, honest_session, serving_echo};

use crate::attacks::Scene;
use crate::{ADMIN, admin_address, curl, metrics, value};

#[test]
fn an_attack_is_seen_in_numbers() {
    let scene = Scene::new();
    scene.play();
    let text = metrics(scene.admin);
    for (series, expected) in [
        // An honest session, one that is cut and comes back, one that ends, and one that is denied.
        ("sealwire_tls_connections_total{server=\"echo\"}", 5),
        ("sealwire_reconnects_total{server=\"echo\"}", 1),
        ("sealwire_mtls_successes_total{}", 6),
        ("sealwire_mtls_failures_total{reason=\"certificate_missing\"}", 1),
        ("sealwire_mtls_failures_total{reason=\"unknown_issuer\"}", 1),
        ("sealwire_mtls_failures_total{reason=\"certificate_expired\"}", 1),
        ("sealwire_mtls_failures_total{reason=\"certificate_signature\"}", 1),
        ("sealwire_signature_verifications_total{of=\"certificate\",result=\"invalid\"}", 1),
        ("sealwire_connections_refused_total{reason=\"resume_stale\"}", 1),
        ("sealwire_replays_detected_total{reason=\"resume_stale\"}", 1),
        ("sealwire_limits_exceeded_total{limit=\"shared_limit\"}", 1),
        ("sealwire_messages_denied_total{server=\"echo\",reason=\"not_authorized\"}", 3),
        // `prompts/list` is for everybody, where no rule denies it.
        ("sealwire_decisions_total{server=\"echo\",level=\"0\",decision=\"deny\"}", 3),
        ("sealwire_decisions_total{server=\"echo\",level=\"1\",decision=\"deny\"}", 1),
        // Three texts and a count.
        ("sealwire_decisions_total{server=\"echo\",level=\"1\",decision=\"allow\"}", 4),
        // And three `initialize`.
        ("sealwire_calls_total{server=\"echo\",result=\"result\"}", 7),
        ("sealwire_call_duration_seconds_count{server=\"echo\"}", 7),
        ("sealwire_incidents_total{kind=\"denied_requests\"}", 1),
        ("sealwire_agent_messages_total{step=\"sent\"}", 1),
        ("sealwire_agent_messages_total{step=\"not_sent\"}", 1),
        ("sealwire_agent_messages_total{step=\"delivered\"}", 1),
        ("sealwire_agent_messages_refused_total{reason=\"not_trusted\"}", 1),
        ("sealwire_signature_verifications_total{of=\"message\",result=\"valid\"}", 1),
        ("sealwire_audit_writable{}", 1),
        ("sealwire_audit_nearly_full{}", 0),
        ("sealwire_audit_limit_bytes{}", 1 << 30),
        ("sealwire_quarantined{kind=\"peer\"}", 1),
        ("sealwire_ready{}", 1),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series} in\n{text}");
    }
}

/// What a Prometheus elsewhere keeps is the root that the log's own commands tell.
#[test]
fn the_root_of_the_log_is_told_in_numbers() {
    let home = Home::with_config(&format!("{ADMIN}\n{}", echo_table()));
    let serve = Serve::start(&home);
    let admin = admin_address(&serve);
    honest_session(&home, serve.address());
    wait_until("a checkpoint covers it all, and all tell of the same", || {
        let text = metrics(admin);
        let number = |series: &str| value(&text, series);
        let words = (0..8).map(|word| {
            number(&format!("sealwire_audit_checkpoint_root{{word=\"{word}\"}}")).unwrap()
        });
        let root: String = words.map(|word| format!("{word:08x}")).collect();
        let size = number("sealwire_audit_checkpoint_entries{}").unwrap();
        let status = home.run(&["status", "--json"]).ok().stdout;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let checkpoint = &status["audit"]["checkpoint"];
        let shown = home.run(&["status"]).ok().stdout;
        assert!(shown.contains("audit log: ") && !shown.contains("CANNOT"), "{shown}");
        size > 2
            && number("sealwire_audit_entries{}") == Some(size)
            && checkpoint["entries"] == size
            && of_base64(checkpoint["root"].as_str().unwrap()) == root
    });
}

/// In hexadecimal.
fn of_base64(text: &str) -> String {
    let decode = format!("printf %s '{text}' | base64 --decode | od -An -v -tx1 | tr -d ' \\n'");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &decode]);
    run(command, b"").ok().stdout
}

/// As at `/readyz`.
#[test]
fn they_are_told_to_programs_of_this_machine_alone() {
    let home = Home::with_config(&format!("{ADMIN}\n{}", echo_table()));
    let serve = Serve::start(&home);
    let admin = admin_address(&serve);
    let url = format!("http://{admin}/metrics");
    let head = curl(&["--head", &url]).to_ascii_lowercase();
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(head.contains("cache-control: no-store") && !head.contains("access-control"), "{head}");
    let refused = |header: &str, status: &str| {
        let mut command = std::process::Command::new("curl");
        command.args(["--silent", "--write-out", "%{http_code}", "--header", header, &url]);
        let answer = run(command, b"").ok().stdout;
        assert!(answer.ends_with(status) && !answer.contains("sealwire_"), "{header}: {answer}");
    };
    refused("Origin: http://evil.example", "403");
    refused("Sec-Fetch-Site: cross-site", "403");
    refused("Host: evil.example", "421");
    // And nothing listens where nobody asked for it.
    let (_home, serve) = serving_echo("");
    assert!(!serve.log().lines().iter().any(|line| line.contains("health")));
}

/// A server that comes with a reload is counted from its first call on, and the others go on.
#[test]
fn a_reload_begins_no_counter_anew() {
    let home = Home::with_config(&format!("{ADMIN}\n{}", echo_table()));
    let serve = Serve::start(&home);
    let admin = admin_address(&serve);
    honest_session(&home, serve.address());
    let calls = |server: &str| {
        let series = format!("sealwire_calls_total{{server=\"{server}\",result=\"result\"}}");
        value(&metrics(admin), &series)
    };
    assert_eq!((calls("echo"), calls("second")), (Some(2), None));
    let second = echo_table().replace("[mcp_servers.echo]", "[mcp_servers.second]");
    home.configure(&format!("{ADMIN}\n{}\n{second}", echo_table()));
    home.run(&["cert", "issue", "second"]).ok();
    wait_until("it is served", || calls("second") == Some(0));
    assert_eq!(calls("echo"), Some(2));
    let expires = "sealwire_certificate_expiry_timestamp_seconds{server=\"second\"}";
    assert!(value(&metrics(admin), expires).is_some());
}
