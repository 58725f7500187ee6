//! A configuration that cannot be honoured is refused before anything is bound, with
//! exit code 78 and a message that says what is wrong, where, and what to do.

use std::fs;
use std::process::Command;

use sealwire_testkit::{Home, run};
use sealwire_tests::{echo_table, honest_session};

const CERT: &str = "certs/mcp-servers/echo-cert.pem";
const KEY: &str = "certs/mcp-servers/echo-key.pem";
const CA: &str = "certs/ca/ca-cert.pem";

/// Spoils a good home. `serve` and `config check` must then refuse it and name each of
/// `parts`; before, `config check` must have found nothing.
fn refuses(spoil: impl FnOnce(&Home), parts: &[&str]) {
    let home = Home::with_config(&echo_table());
    home.run(&["config", "check"]).ok();
    spoil(&home);
    for command in [["config", "check"].as_slice(), &["serve"]] {
        let output = home.run(command);
        assert_eq!(output.code, Some(78), "{command:?}: {output}");
        assert!(!output.stderr.contains("listening"), "{command:?} has bound: {output}");
        for part in ["error:", "to fix:", "see: docs/"].iter().chain(parts) {
            assert!(output.stderr.contains(part), "{command:?} does not say {part:?}: {output}");
        }
    }
}

/// Replaces each of the three PEM files in turn by what `spoil` makes of it.
fn refuses_pem(spoil: impl Fn(&Home, &str) -> Vec<u8>) {
    for file in [CERT, KEY, CA] {
        refuses(
            |home| {
                let spoilt = spoil(home, file);
                home.chmod(file, 0o600);
                fs::write(home.file(file), spoilt).unwrap();
            },
            &[file],
        );
    }
}

#[test]
fn key_readable_by_others() {
    refuses(|home| home.chmod(KEY, 0o640), &[KEY]);
    refuses(|home| home.chmod(KEY, 0o604), &[KEY]);
    // The client's key counts where there is something to connect to.
    refuses(
        |home| {
            let other = "[mcp_servers.other]\nendpoint = \"127.0.0.1:1\"\n";
            home.configure(&format!("{}\n{other}", echo_table()));
            home.chmod("certs/core/core-key.pem", 0o644);
        },
        &["core-key.pem"],
    );
}

#[test]
fn connect_refuses_a_key_readable_by_others() {
    let home = Home::with_config("[mcp_servers.echo]\nendpoint = \"127.0.0.1:1\"\n");
    home.chmod("certs/core/core-key.pem", 0o644);
    let output = home.run(&["connect", "echo"]);
    assert_eq!(output.code, Some(78), "{output}");
    assert!(output.stderr.contains("core-key.pem"), "{output}");
    assert_eq!(output.stdout, "", "{output}");
}

#[test]
fn certificate_without_its_key() {
    refuses(|home| fs::remove_file(home.file(KEY)).unwrap(), &[KEY]);
    refuses(
        |home| home.configure(&format!("{}tls_cert = \"{CERT}\"\n", echo_table())),
        &["tls_cert", "tls_key", "mcp_servers.echo"],
    );
    refuses(
        |home| home.configure(&format!("{}tls_key = \"{KEY}\"\n", echo_table())),
        &["tls_cert", "tls_key", "mcp_servers.echo"],
    );
}

#[test]
fn key_of_another_certificate() {
    refuses(
        |home| {
            fs::copy(home.file("certs/core/core-key.pem"), home.file(KEY)).unwrap();
        },
        &[KEY],
    );
}

#[test]
fn pem_empty() {
    refuses_pem(|_, _| Vec::new());
}

#[test]
fn pem_truncated() {
    refuses_pem(|home, file| {
        let mut pem = fs::read(home.file(file)).unwrap();
        pem.truncate(pem.len() / 2);
        pem
    });
}

#[test]
fn der_instead_of_pem() {
    refuses_pem(|home, file| {
        let (input, output) = (home.file(file), home.file("der"));
        let mut command = Command::new("openssl");
        command.arg(if file == KEY { "pkey" } else { "x509" });
        command.args(["-outform", "DER", "-in"]).arg(input).arg("-out").arg(&output);
        run(command, b"").ok();
        fs::read(output).unwrap()
    });
}

/// The other way round: a key where the certificate belongs.
#[test]
fn key_instead_of_certificate() {
    refuses_pem(|home, file| fs::read(home.file(if file == KEY { CERT } else { KEY })).unwrap());
}

#[test]
fn unknown_key_names_the_nearest() {
    let table = echo_table();
    for (text, unknown, nearest) in [
        (format!("{table}comand = \"x\"\n"), "comand", "command"),
        (format!("{table}bind_adress = \"127.0.0.1:0\"\n"), "bind_adress", "bind_address"),
        (format!("{table}\n[securty]\n"), "securty", "security"),
        (format!("[security.certificates]\nca_crt = \"x\"\n{table}"), "ca_crt", "ca_cert"),
        (format!("[listen]\nadress = \"127.0.0.1:0\"\n{table}"), "adress", "address"),
        (format!("[defaults]\nevn = {{}}\n{table}"), "evn", "env"),
    ] {
        refuses(|home| home.configure(&text), &["sealwire.toml", unknown, nearest]);
    }
}

#[test]
fn command_and_endpoint_together() {
    refuses(
        |home| home.configure(&format!("{}endpoint = \"127.0.0.1:7443\"\n", echo_table())),
        &["command", "endpoint", "mcp_servers.echo"],
    );
}

#[test]
fn values_out_of_range() {
    let table = echo_table();
    for (listen, part) in [
        ("address = \"localhost\"", "address"),
        ("idle_timeout = \"0s\"", "idle_timeout"),
        ("handshake_timeout = 10", "handshake_timeout"),
        ("max_message_size = \"65MiB\"", "max_message_size"),
        ("max_message_size = 1023", "max_message_size"),
        ("max_connections = 0", "max_connections"),
    ] {
        refuses(|home| home.configure(&format!("[listen]\n{listen}\n{table}")), &[part]);
    }
    refuses(
        |home| home.configure(&format!("[security]\ntls_version = \"1.2\"\n{table}")),
        &["tls_version", "1.3"],
    );
}

#[test]
fn not_toml() {
    refuses(|home| home.configure("[mcp_servers.echo\n"), &["sealwire.toml"]);
}

/// SNI ignores case, so two such names could not be told apart.
#[test]
fn names_that_differ_by_case_only() {
    let text =
        format!("{}\n{}", echo_table(), echo_table().replace("servers.echo", "servers.Echo"));
    refuses(|home| home.configure(&text), &["echo", "Echo"]);
}

#[test]
fn included_files_are_checked_alike() {
    let config = format!(
        "include = \"servers.d/*.toml\"\n\n[listen]\naddress = \"127.0.0.1:0\"\n\n{}",
        echo_table()
    );
    let home = Home::with_config(&config);
    home.write("servers.d/more.toml", "[mcp_servers.more]\nendpoint = \"127.0.0.1:1\"\n");
    home.run(&["config", "check"]).ok();
    let serve = sealwire_testkit::Serve::start(&home);
    honest_session(&home, serve.address());

    let refused = |text: &str, parts: &[&str]| {
        home.write("servers.d/more.toml", text);
        let output = home.run(&["config", "check"]);
        assert_eq!(output.code, Some(78), "{output}");
        for part in parts {
            assert!(output.stderr.contains(part), "{part:?} missing: {output}");
        }
    };
    refused("[listen]\naddress = \"127.0.0.1:1\"\n", &["more.toml", "listen"]);
    refused(
        "[mcp_servers.more]\nendpont = \"127.0.0.1:1\"\n",
        &["more.toml", "endpont", "endpoint"],
    );
    refused(
        "[mcp_servers.echo]\nendpoint = \"127.0.0.1:1\"\n",
        &["more.toml", "sealwire.toml", "echo"],
    );
}

#[test]
fn connect_to_a_name_that_is_not_there() {
    let home = Home::with_config("[mcp_servers.github]\nendpoint = \"127.0.0.1:1\"\n");
    let output = home.run(&["connect", "gihub"]);
    assert!(matches!(output.code, Some(2 | 78)), "{output}");
    for part in ["error:", "gihub", "github"] {
        assert!(output.stderr.contains(part), "{part:?} missing: {output}");
    }
}

#[test]
fn what_is_wrong_leads_to_the_section_or_page_that_explains_it() {
    for (wrong, section) in [
        ("[listen]\naddress = \"nowhere\"\n", "#listen"),
        ("[mcp_servers.a]\ncommand = \"x\"\npinz = \"off\"\n", "#mcp_serversname"),
        ("[security.certificates]\ncrl = 5\n[listen]\naddress = 5\n", ""),
    ] {
        let home = Home::with_config("");
        home.configure(wrong);
        let output = home.run(&["config", "check"]);
        assert_eq!(output.code, Some(78), "{output}");
        let see = format!("  see: docs/config.md{section}");
        assert!(output.stderr.lines().any(|line| line == see), "{output}");
    }
    let home = Home::with_config("");
    for (command, page) in [
        (&["audit", "verify", "--bad"][..], "docs/audit.md"),
        (&["install", "--client", "none"], "docs/clients.md"),
        (&["--bad"], "docs/errors.md"),
    ] {
        let output = home.run(command);
        assert_eq!(output.code, Some(2), "{output}");
        assert!(output.stderr.contains(&format!("  see: {page}")), "{output}");
    }
    for asked in ["--help", "--version"] {
        let output = home.run(&[asked]);
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output}");
    }
}
