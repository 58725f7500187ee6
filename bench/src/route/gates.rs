//! sealwire with and without its guard.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use super::Route;
use crate::Result;
use crate::process::{self, Launch, sibling};
use crate::setup::{Setup, server};

/// Rules of the policy, none of which is about the tools that are called.
const RULES: usize = 10_000;

/// A home with one server and a large policy, and both ends in it. With `guard`, they go by
/// it; without, they let everything pass.
pub(crate) fn gates(setup: &mut Setup, name: &'static str, guard: bool) -> Result<Route> {
    let (program, sealwire) = (sibling("sealwire-gates")?, sibling("sealwire")?);
    let home = setup.file(name);
    let run = |arguments: &[&str]| {
        let at_home = [OsStr::new("--home"), home.as_os_str()];
        process::output(Command::new(&sealwire).args(at_home).args(arguments))
    };
    run(&["init"])?;
    let [command, option] = server()?;
    let rules: String = (0..RULES)
        .map(|number| {
            format!("[[policy.deny]]\npeers = [\"agent/a{number}\"]\ntools = [\"t{number}*\"]\n")
        })
        .collect();
    let limits = "[security.rate_limiting]\nenabled = true\nmax_requests_per_sec = 1000000\n\
                  burst_size = 1000000\n";
    let policy = format!("{limits}{rules}");
    let serving = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n\n\
         [mcp_servers.echo]\ncommand = '{command}'\nargs = [\"{option}\"]\n\
         default_level = 1\n{policy}"
    );
    fs::write(home.join("sealwire.toml"), serving)?;
    run(&["cert", "issue", "--all"])?;

    let directory = setup.directory.clone();
    let gate = if guard { "guard" } else { "open" };
    let start = move |name: &str| {
        let mut serve = Launch::new(&program, directory.join(format!("{name}-serve.log")))
            .args(["serve", gate])
            .args([home.as_os_str()])
            .background()?;
        let address = serve.wait_for_address()?;
        let config = home.join(format!("{name}-connect.toml"));
        let entry =
            format!("[mcp_servers.echo]\nendpoint = \"{address}\"\ndefault_level = 1\n{policy}");
        fs::write(&config, entry)?;
        let connect = Launch::new(&program, directory.join(format!("{name}-connect.log")))
            .args(["connect", gate])
            .args([home.as_os_str(), config.as_os_str(), OsStr::new("echo")]);
        Ok((connect, serve))
    };
    let about = if guard {
        "both ends go by a policy of 10,000 rules, and by limits"
    } else {
        "the same programs; both ends let everything pass"
    };
    Route::tunnel(name, about, start)
}
