//! sealwire itself, as a user sets it up: `init`, `cert issue --all`, `serve`,
//! `connect`.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use super::Route;
use crate::Result;
use crate::process::{self, Launch, sibling};
use crate::setup::{Setup, server};

/// A home with one server, and both ends in it. Without a log of what happens: what that costs
/// is a scenario of its own, and what sealwire is compared with keeps none.
pub(crate) fn sealwire(setup: &mut Setup) -> Result<Route> {
    let about = "`sealwire connect` and `sealwire serve`, set up as a user does, without audit";
    with_audit(setup, ("sealwire", about), "enabled = false")
}

/// The same with these keys of `[audit]`.
pub(crate) fn audited(setup: &mut Setup, name: &'static str, audit: &'static str) -> Result<Route> {
    with_audit(setup, (name, audit), audit)
}

fn with_audit(
    setup: &mut Setup,
    (name, about): (&'static str, &'static str),
    audit: &'static str,
) -> Result<Route> {
    let program = sibling("sealwire")?;
    let version = process::output(Command::new(&program).arg("--version"))?;
    setup.versions.insert("sealwire".to_owned(), version.trim().to_owned());
    let [command, option] = server()?;
    let directory = setup.directory.clone();
    let start = move |name: &str| {
        // One home has one `serve`.
        let home = directory.join(format!("{name}-home"));
        let at_home = || [OsStr::new("--home"), home.as_os_str()];
        let run = |arguments: &[&str]| {
            process::output(Command::new(&program).args(at_home()).args(arguments))
        };
        if !home.exists() {
            run(&["init"])?;
            let table = format!(
                "[listen]\naddress = \"127.0.0.1:0\"\n\n\
                 [mcp_servers.echo]\ncommand = '{command}'\nargs = [\"{option}\"]\ndefault_level = 1\n\
                 [audit]\n{audit}\n"
            );
            fs::write(home.join("sealwire.toml"), table)?;
            run(&["cert", "issue", "--all"])?;
        }
        let mut serve = Launch::new(&program, directory.join(format!("{name}-serve.log")))
            .args(at_home())
            .args(["serve", "echo"])
            .background()?;
        let address = serve.wait_for_address()?;
        // One home for both ends: an entry is either served or connected to, so the
        // connecting end reads a file of its own.
        let config = home.join("connect.toml");
        fs::write(
            &config,
            format!("[mcp_servers.echo]\nendpoint = \"{address}\"\ndefault_level = 1\n"),
        )?;
        let connect = Launch::new(&program, directory.join(format!("{name}-connect.log")))
            .args(at_home())
            .args([OsStr::new("--config"), config.as_os_str()])
            .args(["connect", "echo"]);
        Ok((connect, serve))
    };
    Route::tunnel(name, about, start)
}
