//! `import`: what a client has becomes this home's, and its file stays as it is.

use sealwire_testkit::run;

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
    user.sealwire(&["import", "--client", "cursor", "--yes"]).ok();
    let config = user.read(".sealwire/sealwire.toml");
    assert!(config.contains("[mcp_servers.files]") && config.contains("s3cret"), "{config}");
    assert_eq!(user.read(place("cursor")), planted);
    user.sealwire(&["config", "check"]).ok();
    let again = user.sealwire(&["import", "--client", "cursor"]).ok();
    assert!(again.stdout.contains("files: not taken: sealwire has it already"), "{again}");
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
    let told = user.sealwire(&["import", "--from", "config.toml", "--yes"]).ok();
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

#[test]
fn what_weakens_is_marked_and_nothing_is_written_unless_somebody_agrees() {
    let user = User::new();
    user.write(
        "config.toml",
        "[security]\nzero_trust_mode = false\n\
         [agent_security.trust]\nprivileged_agents = [\"Any\"]\n\
         [agent_security.trust.Any]\ncan_communicate_with = [\"*\"]\n\
         [audit]\nenabled = false\nretention_days = 1\nmax_total_size = \"1GiB\"\n\
         [audit.alerts]\nenabled = false\nalert_on_security_events = false\n\
         [mcp_servers.files]\ncommand = \"sh\"\npins = \"off\"\ndefault_level = 0\n",
    );
    let before = user.read(".sealwire/sealwire.toml");
    let marked = [
        ("audit.enabled = false", "no evidence is kept"),
        ("audit.retention_days = 1", "evidence is removed after 1 day"),
        ("agent_security.trust.privileged_agents", "Any may send Shutdown"),
        ("agent_security.trust.Any.can_communicate_with", "Any may send to everybody"),
        ("audit.alerts.alert_on_security_events = false", "nobody is told"),
        ("pins = \"off\"", "what files says of its tools may change"),
        ("default_level = 0", "whoever reaches files may call"),
    ];
    let asked = user.sealwire(&["import", "--from", "config.toml"]);
    assert_eq!(asked.code, Some(1), "nobody answers: {asked}");
    assert!(asked.stderr.contains("--yes"), "{asked}");
    for (key, what) in marked {
        assert!(asked.stdout.contains(key), "{key}: {asked}");
        let line = asked.stdout.lines().find(|line| line.contains(what));
        assert!(line.is_some_and(|line| line.contains("WEAKER: ")), "{what}: {asked}");
    }
    assert!(asked.stdout.contains("Write this, weaker in 7 points? [y/N]"), "{asked}");
    assert_eq!(user.read(".sealwire/sealwire.toml"), before);
    for (answer, is_written) in [("\n", false), ("no\n", false), ("y\n", true)] {
        let command = user.command(&["import", "--from", "config.toml"]);
        let told = run(command, answer.as_bytes()).ok();
        assert_eq!(user.read(".sealwire/sealwire.toml") != before, is_written, "{told}");
    }
    user.sealwire(&["config", "check"]).ok();

    // What this home asks of every server is not to be taken back by an entry, nor by its absence.
    let user = User::new();
    user.configure(
        "[defaults]\nauth_method = \"approval\"\npins = \"approved\"\ndefault_level = 2\n",
    );
    user.write(
        "config.toml",
        "[mcp_servers.a]\ncommand = \"sh\"\nauth_method = \"mtls\"\npins = \"first_use\"\n\
         policy.tools = { read = 0, write = 2 }\n[mcp_servers.b]\ncommand = \"sh\"\n",
    );
    let told = user.sealwire(&["import", "--from", "config.toml", "--dry-run"]).ok();
    let marked: Vec<_> =
        told.stdout.lines().filter_map(|line| line.split("WEAKER: ").nth(1)).collect();
    let of = |key: &str| marked.iter().filter(|line| line.starts_with(key)).count();
    for key in ["a.auth_method", "a.pins", "a.policy.tools"] {
        assert_eq!(of(&format!("mcp_servers.{key}: ")), 1, "{key}: {told}");
    }
    assert_eq!(marked.len(), 3, "{told}");
    assert!(!told.stdout.contains("default_level = "), "[defaults] says it: {told}");
    assert!(told.stdout.contains("Their level is 2, the default_level of [defaults]"), "{told}");
    user.write("config.toml", "[mcp_servers.b]\ncommand = \"sh\"\ndefault_level = 1\n");
    let told = user.sealwire(&["import", "--from", "config.toml", "--dry-run"]).ok();
    assert!(told.stdout.contains("WEAKER: mcp_servers.b.default_level: "), "{told}");
    assert!(!told.stdout.contains("Their level"), "its own is shown: {told}");
    user.write(
        "config.toml",
        "[mcp_servers.a]\ncommand = \"sh\"\n[mcp_servers.b]\ncommand = \"sh\"\ndefault_level = 3\n\
         [mcp_servers.c]\nendpoint = \"h:1\"\n",
    );
    let told = user.sealwire(&["import", "--from", "config.toml", "--dry-run"]).ok();
    let level = "The level of a is 2, the default_level of [defaults]";
    assert!(told.stdout.contains(level), "{told}");

    // What only adds is not marked.
    let user = User::new();
    user.write("config.toml", "[audit]\nmax_total_size = \"1GiB\"\nretention_days = 400\n");
    let told = user.sealwire(&["import", "--from", "config.toml", "--yes"]).ok();
    assert!(!told.stdout.contains("WEAKER"), "{told}");
}

#[test]
fn what_init_has_made_stays_in_its_place() {
    let user = User::new();
    user.write(
        "config.toml",
        "[security]\ntrust_domain = \"else.example\"\n\
         [security.certificates]\nca_cert = \"certs/theirs.pem\"\n\
         client_cert = \"c.pem\"\nclient_key = \"k.pem\"\ncrl = \"gone.crl\"\n\
         [audit.alerts]\nca_cert = \"gone.pem\"\n",
    );
    let told = user.sealwire(&["import", "--from", "config.toml"]).ok();
    for (key, why) in [
        ("security.trust_domain", "says it already"),
        ("security.certificates.ca_cert", "this home has its own"),
        ("security.certificates.client_cert", "this home has its own"),
        ("security.certificates.client_key", "this home has its own"),
        ("security.certificates.crl", "gone.crl, which is not there"),
        ("audit.alerts.ca_cert", "gone.pem, which is not there"),
    ] {
        let expected = format!("{key}: not taken: ");
        let line = told.stdout.lines().find(|line| line.contains(&expected));
        assert!(line.is_some_and(|line| line.contains(why)), "{key}: {told}");
    }
    assert!(told.stdout.contains("Nothing to take over"), "{told}");
    user.sealwire(&["config", "check"]).ok();
}

#[test]
fn what_an_entry_says_to_sealwire_is_taken_and_the_rest_is_told() {
    let user = User::new();
    user.write(
        "config.toml",
        "[security.rate_limiting]\nenabled = true\n\
         [policy]\nallow = []\n\
         [mcp_servers.files]\ncommand = \"sh\"\nargs = [\"-c\", \"true\"]\n\
         default_level = 3\ntls_version = \"1.3\"\nstartup_timeout_sec = 5\n\
         enabled_tools = [\"read\"]\n\
         [mcp_servers.files.policy]\ntools = { read = 1, \"write*\" = 2 }\n\
         [mcp_servers.files.rate_limiting]\nmax_requests_per_sec = 2.0\nburst_size = 3\n\
         [mcp_servers.far]\nendpoint = \"tools.example.org:7443\"\nexpected_cn = \"far\"\n\
         trusted_ca = \"gone.pem\"\nbind_address = \"127.0.0.1:9\"\n\
         [mcp_servers.both]\nendpoint = \"tools.example.org:7443\"\ncommand = \"sh\"\n\
         [mcp_servers.off]\ncommand = \"sh\"\nenabled = false\n\
         [mcp_servers.away]\nendpoint = \"tools.example.org:7443\"\nenabled = false\n",
    );
    let told = user.sealwire(&["import", "--from", "config.toml", "--yes"]).ok();
    for part in [
        "policy: not taken: of the file's tables",
        "files.tls_version: not taken: unknown key",
        "files: stay with the client: startup_timeout_sec, enabled_tools",
        "far.trusted_ca: not taken: it names",
        "far.bind_address: not taken: has no effect",
        "both: not taken: it has both command and endpoint",
        "off: not taken: it is turned off there",
        "away: not taken: it is turned off there",
    ] {
        assert!(told.stdout.contains(part), "{part}: {told}");
    }
    let config: toml::Table = user.read(".sealwire/sealwire.toml").parse().unwrap();
    let files = &config["mcp_servers"]["files"];
    assert_eq!(files["default_level"].as_integer(), Some(3));
    assert_eq!(files["policy"]["tools"]["write*"].as_integer(), Some(2));
    assert_eq!(files["rate_limiting"]["burst_size"].as_integer(), Some(3));
    assert_eq!(config["mcp_servers"]["far"]["endpoint"].as_str(), Some("tools.example.org:7443"));
    assert_eq!(config["mcp_servers"]["far"]["expected_cn"].as_str(), Some("far"));
    user.sealwire(&["config", "check"]).ok();
}

#[test]
fn values_that_only_the_client_can_put_in_are_not_copied() {
    let user = User::new();
    for (client, planted, told, config) in [
        (
            "vscode",
            r#"{"servers":{"a":{"command":"sh","env":{"KEY":"${input:key}"}},"b":{"command":"sh","env":{"KEY":"${env:KEY}"}}}}"#,
            "a: not taken: the client itself puts a value into KEY",
            "[mcp_servers.b]\ntransport = \"stdio\"\ncommand = \"sh\"\nenv_vars = [\"KEY\"]\n",
        ),
        (
            "gemini",
            r#"{"mcpServers":{"c":{"command":"sh","env":{"KEY":"$OTHER"}},"d":{"command":"sh","env":{"KEY":"$KEY","PRICE":"5$"}}}}"#,
            "c: not taken: the client itself puts a value into KEY",
            "env_vars = [\"KEY\"]\nenv = { \"PRICE\" = \"5$\" }\n",
        ),
        (
            "cursor",
            r#"{"mcpServers":{"e":{"command":"sh","cwd":"sub"},"f":{"command":"sh","cwd":"/srv","env":{"A=B":"c"}}}}"#,
            "e: not taken: its cwd, \"sub\", is a path from a directory that only the client knows",
            "",
        ),
        (
            "cursor",
            r#"{"mcpServers":{"f":{"command":"sh","env":{"A=B":"c"}},"g":{"command":"sh"}}}"#,
            "f: not taken: \"A=B\" cannot be the name of an environment variable",
            "[mcp_servers.g]\n",
        ),
    ] {
        user.write(place(client), planted);
        let output = user.sealwire(&["import", "--client", client, "--yes"]).ok();
        assert!(output.stdout.contains(told), "{told}: {output}");
        let text = user.read(".sealwire/sealwire.toml");
        assert!(text.contains(config), "{config}: {text}");
        user.sealwire(&["config", "check"]).ok();
    }
}

#[test]
fn what_gemini_would_not_start_is_not_taken() {
    let servers =
        r#""mcpServers":{"a":{"command":"sh"},"b":{"command":"sh"},"c":{"command":"sh"}}"#;
    for (lists, taken) in [
        (r#""mcp":{"excluded":["b"]}"#, "ac"),
        (r#""mcp":{"excluded":[" B "]}"#, "ac"),
        (r#""mcp":{"allowed":["a","b"]}"#, "ab"),
        (r#""mcp":{"allowed":["a","b"],"excluded":["b"]}"#, "a"),
        (r#""mcp":{"allowed":["A"]}"#, ""),
        (r#""mcp":{"allowed":[]}"#, "abc"),
        (r#""mcp":{"serverCommand":"x"}"#, "abc"),
    ] {
        let user = User::new();
        user.write(place("gemini"), format!("{{{lists},{servers}}}"));
        let told = user.sealwire(&["import", "--client", "gemini", "--yes"]).ok();
        let config = user.read(".sealwire/sealwire.toml");
        for name in ["a", "b", "c"] {
            let is_there = config.contains(&format!("[mcp_servers.{name}]"));
            assert_eq!(is_there, taken.contains(name), "{lists}, {name}: {told}");
            let why = format!("{name}: not taken: it is turned off there");
            assert_eq!(told.stdout.contains(&why), !is_there, "{lists}, {name}: {told}");
        }
    }

    // By its command `/mcp disable a`.
    let user = User::new();
    user.write(place("gemini"), r#"{"mcpServers":{"A":{"command":"sh"},"b":{"command":"sh"}}}"#);
    let switches = r#"{"a": {"enabled": false}, "b": {"enabled": true}, "c": []}"#;
    user.write(".gemini/mcp-server-enablement.json", switches);
    let told = user.sealwire(&["import", "--client", "gemini", "--yes"]).ok();
    assert!(told.stdout.contains("A: not taken: it is turned off there"), "{told}");
    let config = user.read(".sealwire/sealwire.toml");
    assert!(config.contains("[mcp_servers.b]") && !config.contains("[mcp_servers.A]"), "{config}");
}

/// What is said of all projects holds for the file of one, as far as that one says nothing else.
#[test]
fn what_gemini_has_in_its_own_directory_holds_for_every_file() {
    let servers =
        r#""mcpServers":{"a":{"command":"sh"},"b":{"command":"sh"},"c":{"command":"sh"}}"#;
    for (lists, own, switches, taken) in [
        ("", r#""excluded":["b"]"#, "{}", "ac"),
        ("", r#""allowed":["a","b"]"#, "{}", "ab"),
        (r#""mcp":{"excluded":["c"]},"#, r#""excluded":["b"]"#, "{}", "ab"),
        (r#""mcp":{"excluded":["c"]},"#, r#""allowed":["b","c"]"#, "{}", "b"),
        ("", "", r#"{"a": {"enabled": false}}"#, "bc"),
    ] {
        for elsewhere in [false, true] {
            let user = User::new();
            // Where `$GEMINI_CLI_HOME` says, if it says so.
            let above = if elsewhere { "other/" } else { "" };
            user.write(&format!("{above}.gemini/settings.json"), format!("{{\"mcp\":{{{own}}}}}"));
            user.write(&format!("{above}.gemini/mcp-server-enablement.json"), switches);
            let file = user.write("project/settings.json", format!("{{{lists}{servers}}}"));
            let from = file.to_str().unwrap();
            let mut command =
                user.command(&["import", "--client", "gemini", "--from", from, "--yes"]);
            if elsewhere {
                command.env("GEMINI_CLI_HOME", user.file("other"));
            }
            let told = run(command, b"").ok();
            let config = user.read(".sealwire/sealwire.toml");
            for name in ["a", "b", "c"] {
                let is_there = config.contains(&format!("[mcp_servers.{name}]"));
                assert_eq!(is_there, taken.contains(name), "{lists}, {own}, {name}: {told}");
            }
            assert!(!told.stdout.contains("warning"), "{told}");
        }
    }

    // Its own file is where its directory is.
    let user = User::new();
    user.write("other/.gemini/settings.json", format!("{{{servers}}}"));
    let mut command = user.command(&["import", "--client", "gemini", "--dry-run"]);
    command.env("GEMINI_CLI_HOME", user.file("other"));
    let told = run(command, b"").ok();
    assert!(told.stdout.contains("other/.gemini/settings.json"), "{told}");
}

/// It turns nothing off then, as with Gemini CLI itself, which says so, too.
#[test]
fn what_gemini_says_is_off_and_cannot_be_read_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let servers = r#"{"mcpServers":{"a":{"command":"sh"}}}"#;
    let (switches, own) = (".gemini/mcp-server-enablement.json", ".gemini/settings.json");
    for (broken, text) in [(switches, "{\"a\": "), (switches, "[]"), (own, "{\"mcp\": "), (own, "")]
    {
        let user = User::new();
        let file = user.write(broken, text);
        let is_directory = text.is_empty();
        if is_directory {
            std::fs::remove_file(&file).unwrap();
            std::fs::create_dir(&file).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        let from = user.write("project.json", servers);
        let from = from.to_str().unwrap();
        for command in [["import", "--from"], ["install", "--file"]] {
            let args = [command[0], "--client", "gemini", command[1], from, "--dry-run"];
            let told = user.sealwire(&args).ok();
            let expected = format!("{} is not understood", file.display());
            let line = told.stdout.lines().find(|line| line.contains("warning: "));
            assert!(line.is_some_and(|line| line.contains(&expected)), "{told}");
            assert!(told.stdout.contains("+ [mcp_servers.a]"), "{told}");
            let told = user.sealwire(&[&args[..], &["--json"]].concat()).ok();
            let told: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
            let warning = told["warnings"][0].as_str().unwrap();
            assert!(warning.starts_with(&expected), "{told}");
        }
    }
}

#[test]
fn servers_of_one_name_are_told_apart() {
    let user = User::new();
    user.write(
        place("claude-code"),
        r#"{"mcpServers":{"a":{"command":"sh"}},"projects":{"/srv/p":{"mcpServers":{"a":{"command":"other"}}},"/srv/q":{"mcpServers":{"a":{"command":"sh"}}}}}"#,
    );
    let told = user.sealwire(&["import", "--client", "claude-code", "--yes"]).ok();
    for part in [
        "a (in /srv/p): not taken: another server of the name \"a\" stands before it in this file",
        "a (in /srv/q): not taken: the same server stands before it in this file",
    ] {
        assert!(told.stdout.contains(part), "{part}: {told}");
    }
    user.write(place("cursor"), r#"{"mcpServers":{"a":{"command":"third"}}}"#);
    let told = user.sealwire(&["import", "--client", "cursor", "--yes"]).ok();
    let expected = "a: not taken: sealwire has another server of the name \"a\": rename the entry";
    assert!(told.stdout.contains(expected), "{told}");
}

#[test]
fn the_whole_is_checked_before_anything_is_written() {
    // With zero trust no level may be given to all tools; import gives none then.
    let user = User::new();
    user.home.write(".sealwire/more/x.toml", "[mcp_servers.x]\nendpoint = \"h:1\"\n");
    let text = user.read(".sealwire/sealwire.toml");
    let rule = "[[policy.allow]]\npeers = [\"core/a\"]\nservers = [\"x\"]\ntools = [\"t\"]\n";
    user.write(".sealwire/sealwire.toml", format!("include = \"more/*.toml\"\n{text}\n{rule}"));
    user.write(
        "config.toml",
        "[security]\nzero_trust_mode = true\n[audit]\nenabled = false\n\
         [mcp_servers.files]\ncommand = \"sh\"\ndefault_level = 1\n\
         [mcp_servers.x]\ncommand = \"sh\"\n",
    );
    let told = user.sealwire(&["import", "--from", "config.toml", "--yes"]).ok();
    for part in [
        "+ security.zero_trust_mode = true",
        "audit.enabled: not taken: zero_trust_mode records everything",
        "files.default_level: not taken: is not accepted by zero_trust_mode",
        "x: not taken: sealwire has another server",
    ] {
        assert!(told.stdout.contains(part), "{part}: {told}");
    }
    user.sealwire(&["config", "check"]).ok();
    assert!(!user.read(".sealwire/sealwire.toml").contains("\ndefault_level"), "{told}");

    // Of what stands there already, no line becomes another one.
    let user = User::new();
    let before = user.read(".sealwire/sealwire.toml").replace('\n', "\r\n");
    user.write(".sealwire/sealwire.toml", &before);
    user.write("config.toml", "[mcp_servers.files]\ncommand = \"sh\"\n");
    user.sealwire(&["import", "--from", "config.toml", "--yes"]).ok();
    let after = user.read(".sealwire/sealwire.toml");
    assert!(after.starts_with(&before) && after.ends_with("default_level = 1\r\n"), "{after:?}");

    // A home whose own configuration is not in order is told so, and left as it is.
    let user = User::new();
    user.configure("[mcp_servers.bad]\n");
    let before = user.read(".sealwire/sealwire.toml");
    user.write("config.toml", "[mcp_servers.files]\ncommand = \"sh\"\n");
    let told = user.sealwire(&["import", "--from", "config.toml", "--yes"]);
    assert_eq!(told.code, Some(78), "{told}");
    assert_eq!(user.read(".sealwire/sealwire.toml"), before);

    // Values of variables are for the owner alone.
    let user = User::new();
    user.home.chmod(".sealwire/sealwire.toml", 0o644);
    user.write("config.toml", "[mcp_servers.files]\ncommand = \"sh\"\nenv = { A = \"b\" }\n");
    let told = user.sealwire(&["import", "--from", "config.toml", "--yes"]);
    assert_eq!(told.code, Some(78), "{told}");
    assert!(told.stderr.contains("others may read it") && told.stderr.contains("chmod"), "{told}");
}

#[test]
fn programs_are_told_the_same() {
    let user = User::new();
    user.write(
        "config.toml",
        "[audit]\nenabled = false\nformat = \"xml\"\n\
         [mcp_servers.files]\ncommand = \"sh\"\nenv = { TOKEN = \"s3cret\" }\n\
         [mcp_servers.far]\nurl = \"https://h/mcp\"\n",
    );
    let before = user.read(".sealwire/sealwire.toml");
    let neither = user.sealwire(&["import", "--from", "config.toml", "--json"]);
    assert_eq!(neither.code, Some(2), "{neither}");
    for (option, is_written) in [("--dry-run", false), ("--yes", true)] {
        let told = user.sealwire(&["import", "--from", "config.toml", "--json", option]).ok();
        let json: serde_json::Value = serde_json::from_str(&told.stdout).expect(&told.stdout);
        assert_eq!(json["written"], is_written, "{told}");
        assert_eq!(json["servers"][0]["name"], "files");
        assert_eq!(json["settings"][0]["key"], "audit.enabled");
        assert_eq!(json["weaker"][0]["key"], "audit.enabled");
        let left: Vec<_> =
            json["left"].as_array().unwrap().iter().map(|one| &one["what"]).collect();
        assert_eq!(left, ["audit.format", "far"]);
        assert!(!told.stdout.contains("s3cret"), "{told}");
        assert_eq!(user.read(".sealwire/sealwire.toml") != before, is_written);
    }
}
