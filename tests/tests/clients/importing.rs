//! `import`: what a client has becomes this home's, and its file stays as it is.

use crate::{User, place};

#[test]
fn servers_of_a_client_become_servers_here() {
    let user = User::new();
    let planted = r#"{"mcpServers":{"files":{"command":"sh","args":["-c","true"],"env":{"TOKEN":"s3cret","KEY":"---\ns3cret of a second line\n---"}},"far":{"url":"https://h/mcp"}}}"#;
    user.write(place("cursor"), planted);
    let config = user.read(".sealwire/sealwire.toml");
    let dry = user.sealwire(&["import", "--client", "cursor", "--dry-run"]).ok();
    assert_eq!(user.read(".sealwire/sealwire.toml"), config);
    assert!(dry.stdout.contains("far: not taken: its server is at a URL"), "{dry}");
    assert!(!dry.stdout.contains("s3cret"), "{dry}");
    user.sealwire(&["import", "--client", "cursor"]).ok();
    let config = user.read(".sealwire/sealwire.toml");
    assert!(config.contains("[mcp_servers.files]") && config.contains("s3cret"), "{config}");
    assert_eq!(user.read(place("cursor")), planted);
    user.sealwire(&["config", "check"]).ok();
    let again = user.sealwire(&["import", "--client", "cursor"]).ok();
    assert!(again.stdout.contains("sealwire has a server \"files\" already"), "{again}");
    let none = user.sealwire(&["import", "--client", "gemini"]);
    assert!(none.stderr.contains("the client has no file there"), "{none}");
}

#[test]
fn settings_in_a_codex_file_are_taken_and_what_means_another_thing_is_told() {
    let user = User::new();
    user.write(
        "config.toml",
        "model = \"gpt-5\"\n[security]\nzero_trust_mode = false\ntls_version = \"1.2\"\n\
         [security.rate_limiting]\nenabled = true\nmax_requests_per_sec = 5.0\n\
         [agent_security.trust]\nprivileged_agents = [\"Orchestrator\"]\n\
         [audit]\nretention_days = 30\nformat = \"xml\"\n\
         [mcp_servers.files]\ncommand = \"sh\"\ntool_timeout_sec = 5\n",
    );
    let told = user.sealwire(&["import", "--from", "config.toml"]).ok();
    for part in [
        "+ audit.retention_days = 30",
        "here: what is older is removed",
        "+ security.rate_limiting.max_requests_per_sec = 5.0",
        "here: is enforced",
        "security.tls_version: not taken",
        "audit.format: not taken",
    ] {
        assert!(told.stdout.contains(part), "{part}: {told}");
    }
    let config = user.read(".sealwire/sealwire.toml");
    assert!(
        config.contains("retention_days = 30") && config.contains("[mcp_servers.files]"),
        "{config}"
    );
    assert!(!config.contains("gpt-5") && !config.contains("xml"), "{config}");
    user.sealwire(&["config", "check"]).ok();
}
