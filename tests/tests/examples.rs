//! The library's examples do what they say, against a real `serve` of `demo-server` and
//! from a second home, as on another machine.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use sealwire_testkit::{Home, Output, Serve, bin, run, server_table};

/// An example of the package `sealwire`, beside its programs: built with them where
/// `SEALWIRE_TEST_BIN_DIR` says that they are built, else now.
fn example(name: &str) -> Command {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    let dir = DIR.get_or_init(|| {
        if std::env::var_os("SEALWIRE_TEST_BIN_DIR").is_none() {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = Command::new(cargo);
            build.args(["build", "--quiet", "-p", "sealwire", "--examples"]);
            assert!(build.status().expect("cargo starts").success(), "the examples do not build");
        }
        bin("sealwire").with_file_name("examples")
    });
    let program = dir.join(name);
    assert!(program.is_file(), "no {}: cargo build -p sealwire --examples", program.display());
    Command::new(program)
}

/// A serving home, and the home of a laptop that was set up from its bundle.
fn two_homes() -> (Home, Serve, Home) {
    let home = Home::with_config(&server_table("demo", bin("sealwire"), &["demo-server"]));
    let serve = Serve::start(&home);
    let bundle = home.file("laptop.sealwire-bundle");
    let bundle = bundle.to_str().expect("UTF-8");
    let address = serve.address().to_string();
    home.run(&["cert", "bundle", "laptop", "--endpoint", &address, "--out", bundle]).ok();
    let laptop = Home::empty();
    laptop.run(&["init", "--from-bundle", bundle]).ok();
    (home, serve, laptop)
}

fn call(laptop: &Home, tool: &str, arguments: &str) -> Output {
    let mut command = example("rmcp_client");
    command.arg(laptop.path()).args(["demo", tool, arguments]);
    run(command, b"")
}

#[test]
fn rmcp_client() {
    let (_home, serve, laptop) = two_homes();
    let output = call(&laptop, "add", r#"{"a": 40, "b": 2}"#).ok();
    for expected in ["echo: ", "add: ", "42"] {
        assert!(output.stdout.contains(expected), "no {expected} in {output}");
    }
    serve.log().wait_for(&["connection accepted", "core/laptop"]);

    let output = call(&laptop, "no-such-tool", "{}");
    assert_eq!(output.code, Some(1), "{output}");
    // Without anybody there: an error, not a hang.
    drop(serve);
    let output = call(&laptop, "echo", "{}");
    assert_eq!(output.code, Some(1), "{output}");
    assert!(output.stderr.contains("Unreachable"), "{output}");
}

#[test]
fn agent_mail() {
    let home = Home::empty();
    home.run(&["init", "--agents", "standard"]).ok();
    let mail = |from: &str, to: &str, text: &str| {
        let mut command = example("agent_mail");
        command.arg(home.path()).args([from, to, text]);
        run(command, b"")
    };
    let output = mail("CodeExpert", "General", "please review ✓").ok();
    assert_eq!(output.stdout, "CodeExpert: please review ✓", "{output}");
    let output = mail("CodeExpert", "DebugExpert", "hello");
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{output}");
    assert!(output.stderr.contains("CodeExpert may not write to DebugExpert"), "{output}");
}

#[test]
fn tls_facts() {
    let (_home, serve, laptop) = two_homes();
    let facts = |server: &str| {
        let mut command = example("tls_facts");
        command.arg(laptop.path()).args([server, &serve.address().to_string()]);
        run(command, b"")
    };
    let output = facts("demo").ok();
    let lines: Vec<_> = output.stdout.lines().take(4).collect();
    let expected = [
        "version TLSv1_3",
        "suite TLS13_AES_256_GCM_SHA384",
        "group X25519MLKEM768",
        "server spiffe://sealwire.internal/mcp-server/demo",
    ];
    assert_eq!(lines, expected, "{output}");

    let output = facts("other");
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{output}");
}
