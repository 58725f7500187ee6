//! Keys that never leave a token: made there, and used to issue, to serve and to sign.

mod agents;
mod lost;
mod recipe;
mod refused;

use std::fs;
use std::path::{Path, PathBuf};

use sealwire_testkit::{Connect, Home, Output, Serve, Token, run, token_module};
use sealwire_tests::{call_echo, echo_table, honest_session};

/// A home all of whose keys for TLS are in the token, and the one of the authority.
fn home_of(token: &Token) -> Home {
    let home = token.home();
    let [ca, core, signing] = ["ca", "core", "signing"].map(|name| token.uri(name));
    home.run(&["init", "--ca-key", &ca, "--key", &core, "--signing-key", &signing]).ok();
    home.configure(&format!("[pkcs11]\nmodule = \"{}\"\n\n{}", token_module(), echo_table()));
    home.run(&["cert", "issue", "echo", "--key", &token.short_uri("echo")]).ok();
    home
}

/// It ended with an error that says all this.
fn fails(output: &Output, parts: &[&str]) {
    assert!(output.code.is_some_and(|code| code != 0), "{output}");
    assert!(parts.iter().all(|part| output.stderr.contains(part)), "{parts:?}: {output}");
}

/// Every file below a directory.
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files =
        entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] });
    files.filter(|path| path.is_file()).collect()
}

/// The files of a home in which a private key stands.
fn private_keys(home: &Home) -> Vec<String> {
    let has_key = |file: &PathBuf| {
        let held = fs::read(file).unwrap();
        String::from_utf8_lossy(&held).contains("PRIVATE KEY")
    };
    let found = files_below(home.path()).into_iter().filter(has_key);
    found.map(|file| file.strip_prefix(home.path()).unwrap().display().to_string()).collect()
}

#[test]
fn the_authority_issues_and_a_server_is_reached_with_keys_of_the_token_alone() {
    let token = Token::new("sealwire");
    let home = home_of(&token);
    assert!(private_keys(&home).is_empty(), "{:?}", private_keys(&home));
    let serve = Serve::start(&home);
    honest_session(&home, serve.address());
    // The key of the log is no key to any wire: docs/hardware.md says why it is a file.
    assert_eq!(private_keys(&home), ["keys/audit-signing"]);
    home.run(&["doctor", "--offline"]).ok();
    home.run(&["config", "check"]).ok();
}

#[test]
fn the_keys_cannot_be_read_out() {
    let token = Token::new("sealwire");
    let _home = home_of(&token);
    let listed = token.pkcs11_tool(&["--login", "--list-objects", "--type", "privkey"]).ok().stdout;
    for name in ["ca", "core", "signing", "echo"] {
        assert!(
            listed.lines().any(|line| line.trim() == format!("label:      {name}")),
            "{listed}"
        );
    }
    let access: Vec<&str> = listed.lines().filter(|line| line.contains("Access:")).collect();
    assert_eq!(access.len(), 4, "{listed}");
    let never = |line: &&str| line.contains("never extractable") && line.contains("sensitive");
    assert!(access.iter().all(never), "{listed}");
}

#[test]
fn a_uri_in_the_configuration_names_a_key_too() {
    let token = Token::new("sealwire");
    let home = token.home();
    home.run(&["init", "--ca-key", &token.uri("ca")]).ok();
    let uri = token.short_uri("far-away");
    home.configure(&format!(
        "[pkcs11]\nmodule = \"{}\"\n\n{}tls_cert = \"echo.pem\"\ntls_key = \"{uri}\"\n",
        token_module(),
        echo_table(),
    ));
    home.run(&["cert", "issue", "--all"]).ok();
    let serve = Serve::start(&home);
    honest_session(&home, serve.address());
    // The key stays when the certificate is replaced.
    let before = fs::read_to_string(home.file("echo.pem")).unwrap();
    home.run(&["cert", "issue", "echo", "--force"]).ok();
    assert_ne!(fs::read_to_string(home.file("echo.pem")).unwrap(), before);
    home.run(&["config", "check"]).ok();
}

#[test]
fn without_its_token_nobody_new_is_let_in_and_who_is_there_stays() {
    let token = Token::new("sealwire");
    let home = home_of(&token);
    // What connects has its key in a file, or it would not come so far.
    home.run(&["cert", "issue", "laptop"]).ok();
    let serve = Serve::start(&home);
    let mark = serve.log().mark();
    let table = "[security.certificates]\nclient_cert = \"certs/laptop/laptop-cert.pem\"\n\
                 client_key = \"certs/laptop/laptop-key.pem\"\n";
    let mut standing = Connect::spawn(home.connect_command("echo", serve.address(), table));
    standing.initialize();
    let (there, away) = (token.files().join("tokens"), token.files().join("away"));
    fs::rename(&there, &away).unwrap();
    let reached = run(home.connect_command("echo", serve.address(), table), b"");
    assert_ne!(reached.code, Some(0), "{reached}");
    serve.log().wait_after(mark, &["connection refused", "the token is not there"]);
    // Who was there before is not concerned.
    call_echo(&mut standing, "meanwhile");
    assert!(standing.finish().0.success());
}

#[test]
fn a_reload_and_a_rotation_of_the_authority_find_the_token() {
    let token = Token::new("sealwire");
    let home = home_of(&token);
    home.run(&["ca", "rotate"]).ok();
    let next = fs::read_to_string(home.file("certs/ca/next-key.pem")).unwrap();
    assert!(next.starts_with("pkcs11:") && next.contains("object=ca."), "{next}");
    let serve = Serve::start(&home);
    home.run(&["reload"]).ok();
    let mut client = Connect::start(&home, "echo", serve.address());
    client.initialize();
    call_echo(&mut client, "after");
    assert!(client.finish().0.success());
    home.run(&["cert", "crl"]).ok();
}
