//! Two machines that share nothing but the printed line: network namespaces of their own, with
//! one wire between them, and homes of their own.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sealwire_testkit::{Connect, Home, Process, Serve, bin};
use sealwire_tests::{call_echo, echo_table};

use super::Ca;

const HERE: &str = "10.77.7.1";
const THERE: &str = "10.77.7.2";

/// A network namespace, kept by a process in it.
struct Namespace {
    keeper: Process,
}

impl Namespace {
    /// With a user namespace, so that whoever runs the tests need not be root.
    fn first() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net"]);
        Self::keep(command)
    }

    /// Another one, in the same user namespace.
    fn beside(&self) -> Self {
        let mut command = self.enter();
        command.args(["unshare", "--net"]);
        Self::keep(command)
    }

    fn keep(mut command: Command) -> Self {
        command.args(["sh", "-c", "echo here >&2; exec sleep 600"]).stdin(Stdio::null());
        let keeper = Process::spawn(command);
        keeper.log().wait_for(&["here"]);
        Self { keeper }
    }

    /// What is run in it.
    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        let keeper = self.keeper.id().to_string();
        command.args(["--preserve-credentials", "--user", "--net", "--target", &keeper, "--"]);
        command
    }

    fn run(&self, line: &str) {
        let mut command = self.enter();
        let output = command.args(line.split(' ')).output().expect("nsenter");
        assert!(output.status.success(), "{line}: {output:?}");
    }

    /// `sealwire` in it, with that home.
    fn sealwire(&self, home: &Home) -> Command {
        let mut command = self.enter();
        command.arg(bin("sealwire")).arg("--home").arg(home.path());
        command
    }
}

#[test]
fn from_invite_to_a_tool_call_over_a_wire() {
    let here = Namespace::first();
    let there = here.beside();
    let peer = there.keeper.id();
    here.run(&format!("ip link add wire0 type veth peer name wire1 netns {peer}"));
    here.run(&format!("ip address add {HERE}/24 dev wire0"));
    there.run(&format!("ip address add {THERE}/24 dev wire1"));
    for (namespace, device) in [(&here, "wire0"), (&there, "wire1"), (&here, "lo"), (&there, "lo")]
    {
        namespace.run(&format!("ip link set {device} up"));
    }

    let home = Home::with_config(&format!(
        "[listen]\naddress = \"{HERE}:7443\"\n[ca]\naddress = \"{HERE}:7444\"\n\n{}",
        echo_table()
    ));
    let mut command = here.sealwire(&home);
    command.arg("serve");
    let serve = Serve::spawn(command);
    let mut command = here.sealwire(&home);
    command.args(["ca", "serve"]);
    let ca = Ca::spawn(command);

    let begun = Instant::now();
    let mut command = here.sealwire(&home);
    command.args(["invite", "laptop"]);
    let line = sealwire_testkit::run(command, b"").ok().stdout;
    let other = Home::empty();
    let mut command = there.sealwire(&other);
    command.args(["join", line.trim_end()]);
    sealwire_testkit::run(command, b"").ok();
    let mut command = there.sealwire(&other);
    command.args(["connect", "echo"]);
    let mut client = Connect::spawn(command);
    client.initialize();
    call_echo(&mut client, "through the wire");
    let took = begun.elapsed();
    println!("from invite to the answer of a tool call: {took:?}");
    assert!(client.finish().0.success());
    serve.log().wait_for(&["connection accepted", "core/laptop", THERE]);
    ca.process.log().wait_for(&["joined", "core/laptop", THERE]);
    // A promise of the project, and hundreds of times what it takes.
    assert!(took < Duration::from_secs(10), "{took:?}");
}
