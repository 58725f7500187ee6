//! `sealwire cert bundle` on one machine, `sealwire init --from-bundle` on another.

use std::fs;

use crate::support::Home;

const SERVED: &str = "[mcp_servers.time]\ncommand = \"/bin/cat\"\n\
                      [mcp_servers.own]\ncommand = \"/bin/cat\"\nserver_name = \"tools.own\"\n\
                      bind_address = \"127.0.0.1:7555\"\n\
                      [mcp_servers.far]\nendpoint = \"elsewhere.example.org:1\"\n";

/// A home that serves, and a bundle for `laptop` in it.
fn first_machine() -> Home {
    let home = Home::with(SERVED);
    home.run(&["cert", "bundle", "laptop", "--endpoint", "tools.example.org:9"]).ok();
    home
}

fn take(home: &Home, from: &Home, bundle: &str) -> crate::support::Ended {
    home.run(&["init", "--from-bundle", from.file(bundle).to_str().unwrap()])
}

#[test]
fn the_second_machine_needs_one_file() {
    let first = first_machine();
    let second = Home::empty();
    take(&second, &first, "laptop.sealwire-bundle").ok();
    let checked = second.run(&["config", "check", "--json"]).ok().json();
    let servers = checked["servers"].as_array().unwrap();
    let addresses: Vec<_> =
        servers.iter().map(|s| (&s["name"], &s["server_name"], &s["address"])).collect();
    // What the first machine itself connects to is not its to pass on.
    assert_eq!(servers.len(), 2, "{addresses:?}");
    assert_eq!(servers[0]["name"], "own");
    assert_eq!(servers[0]["server_name"], "tools.own");
    assert_eq!(servers[0]["address"], "tools.example.org:7555");
    assert_eq!(servers[1]["address"], "tools.example.org:9");
    assert_eq!(servers[1]["presents"], "spiffe://sealwire.internal/core/laptop");
    assert!(!second.file("certs/ca/ca-key.pem").exists());
    assert_eq!(second.read("certs/ca/ca-cert.pem"), first.read("certs/ca/ca-cert.pem"));
    assert_eq!(
        second.read("certs/laptop/laptop-key.pem"),
        first.read("certs/laptop/laptop-key.pem")
    );
    // Without the authority nothing can be issued, and the message says where to go.
    second.run(&["cert", "issue", "x"]).failed(1, &["cert bundle", "--from-bundle"]);
}

#[test]
fn taking_it_again_changes_nothing() {
    let first = first_machine();
    let second = Home::empty();
    take(&second, &first, "laptop.sealwire-bundle").ok();
    let key = second.read("certs/laptop/laptop-key.pem");
    let again = take(&second, &first, "laptop.sealwire-bundle").ok();
    assert!(!again.stdout.contains("made "), "{again:#?}");
    second.run(&["init"]).ok();
    assert_eq!(second.read("certs/laptop/laptop-key.pem"), key);
}

#[cfg(unix)]
#[test]
fn a_bundle_is_as_private_as_the_key_in_it() {
    let first = first_machine();
    assert_eq!(first.mode("laptop.sealwire-bundle"), 0o600);
    // Not overwritten: it might be somebody else's.
    first.run(&["cert", "bundle", "laptop"]).failed(1, &["laptop.sealwire-bundle"]);
    first.chmod("laptop.sealwire-bundle", 0o644);
    let second = Home::empty();
    take(&second, &first, "laptop.sealwire-bundle")
        .failed(1, &["laptop.sealwire-bundle", "to fix:", "chmod"]);
    assert_eq!(fs::read_dir(second.path()).unwrap().count(), 0);
}

#[test]
fn nothing_that_is_there_is_replaced() {
    let (first, other) = (first_machine(), first_machine());
    let second = Home::empty();
    take(&second, &first, "laptop.sealwire-bundle").ok();
    let before = second.read("certs/laptop/laptop-key.pem");
    take(&second, &other, "laptop.sealwire-bundle").failed(1, &["error:", "to fix:"]);
    assert_eq!(second.read("certs/laptop/laptop-key.pem"), before);
    // A home with an authority of its own does not trust another one silently.
    let own = Home::made();
    take(&own, &first, "laptop.sealwire-bundle").failed(1, &["another authority"]);
    assert!(!own.file("certs/laptop").exists());
}

#[test]
fn an_existing_configuration_is_kept_and_what_it_lacks_is_told() {
    let first = first_machine();
    let second = Home::empty();
    second.write("sealwire.toml", "# mine\n");
    let shown = take(&second, &first, "laptop.sealwire-bundle").ok().stdout;
    assert_eq!(second.read("sealwire.toml"), "# mine\n");
    for part in ["[mcp_servers.time]", "tools.example.org:9", "certs/laptop/laptop-cert.pem"] {
        assert!(shown.contains(part), "{part} missing: {shown}");
    }
    second.write("sealwire.toml", "[security]\ntrust_domain = \"example.org\"\n");
    take(&second, &first, "laptop.sealwire-bundle").failed(1, &["trust domain", "example.org"]);
}

#[test]
fn a_server_moves_with_its_own_bundle() {
    let first = Home::with(SERVED);
    first.run(&["cert", "bundle", "time", "--kind", "mcp-server", "--out", "b"]).ok();
    assert!(!first.read("b").contains("[servers"), "a server's bundle tells of other servers");
    let second = Home::empty();
    let shown = take(&second, &first, "b").ok().stdout;
    assert!(shown.contains("[mcp_servers.time]"), "{shown}");
    second.write("sealwire.toml", "[mcp_servers.time]\ncommand = \"/bin/cat\"\n");
    second.run(&["config", "check"]).ok();
}

#[test]
fn what_is_not_a_whole_good_bundle_is_refused_without_showing_it() {
    let first = first_machine();
    let good = first.read("laptop.sealwire-bundle");
    let secret = first.read("certs/laptop/laptop-key.pem");
    let secret = secret.lines().nth(1).unwrap();
    let other = Home::made();
    let other_ca = other.read("certs/ca/ca-cert.pem");
    let ca = first.read("certs/ca/ca-cert.pem");
    let half = good.len() / 2;
    for bad in [
        String::new(),
        good[..half].to_owned(),
        good.replace("version = 1", "version = 2"),
        good.replace("kind = \"core\"", "kind = \"agent\""),
        good.replace("name = \"laptop\"", "name = \"../../x\""),
        good.replace("trust_domain = \"sealwire.internal\"", "trust_domain = \"example.org\""),
        good.replace(&ca, &other_ca),
        good.replace("tools.example.org:9", "nowhere"),
        good.replace("[servers.time]", "[servers.\"a b\"]"),
        format!("{good}extra = 1\n"),
        good.replace(secret, "AAAA"),
        good.replace("key = '''", "key = ''"),
    ] {
        first.write("laptop.sealwire-bundle", &bad);
        let second = Home::empty();
        let ended = take(&second, &first, "laptop.sealwire-bundle");
        assert!(matches!(ended.code, Some(1 | 78)), "{bad}\n{ended:#?}");
        assert!(ended.stderr.contains("to fix:"), "{ended:#?}");
        assert!(!ended.stderr.contains(secret), "the key is shown: {ended:#?}");
        assert!(!second.file("certs").exists(), "{bad}\nsomething was made");
    }
}

#[test]
fn an_endpoint_that_others_cannot_reach_is_told() {
    let home = Home::with(SERVED);
    let shown = home.run(&["cert", "bundle", "a"]).ok().stdout;
    assert!(shown.contains("from this machine alone"), "{shown}");
    home.write("sealwire.toml", &format!("[listen]\naddress = \"127.0.0.1:0\"\n{SERVED}"));
    home.run(&["cert", "bundle", "b"]).failed(1, &["--endpoint"]);
    home.run(&["cert", "bundle", "c", "--endpoint", "nowhere"]).failed(2, &["host:port"]);
}
