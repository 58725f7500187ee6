//! Somebody on another machine: `sealwire` in the path, and a home made from a bundle.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use sealwire_testkit::{Home, Serve, bin, run, server_table, tool};
use sealwire_tests::compatibility::snippet;
use serde_json::Value;

/// What keeps all that `demo` is told, in this file.
const RECORD: &str = "record";
const RECORDED: &str = r#"tee -a "$0" | "$1" demo-server"#;

/// A user's home directory, and a running `serve` of two servers that it reaches:
/// `everything` of npm and `demo`, which speaks both eras of the protocol.
pub struct User {
    home: Home,
    // Ends before its home is removed.
    _serve: Serve,
    serving: Home,
}

impl User {
    pub fn new() -> Self {
        let everything = tool("node/node_modules/.bin/mcp-server-everything");
        let program = bin("sealwire");
        let program = program.to_str().expect("UTF-8");
        let serving = Home::initialized();
        let record = serving.file(RECORD);
        let record = record.to_str().expect("UTF-8");
        let servers = [
            server_table("everything", everything, &["stdio"]),
            server_table("demo", "sh", &["-c", RECORDED, record, program]),
        ];
        serving.configure(&servers.concat());
        serving.run(&["cert", "issue", "--all"]).ok();
        let serve = Serve::start(&serving);
        let bundle = serving.file("laptop.sealwire-bundle");
        let bundle = bundle.to_str().expect("UTF-8");
        let address = serve.address().to_string();
        serving.run(&["cert", "bundle", "laptop", "--endpoint", &address, "--out", bundle]).ok();

        let user = Self { home: Home::empty(), _serve: serve, serving };
        let mut init = Command::new("sealwire");
        init.args(["init", "--from-bundle", bundle]);
        run(user.with(init), b"").ok();
        let config = user.file(".sealwire/sealwire.toml");
        let made = std::fs::read_to_string(&config).expect("made by init");
        std::fs::write(config, made + &snippet("policy")).expect("write");
        user
    }

    /// `command` with this user's environment, and nothing else in it.
    pub fn with(&self, mut command: Command) -> Command {
        let programs = bin("sealwire");
        let programs = programs.parent().expect("a folder").to_str().expect("UTF-8");
        let path = std::env::var("PATH").expect("PATH");
        command
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", format!("{programs}:{path}"));
        command
    }

    /// The revisions in which clients have spoken to `demo`, oldest first.
    pub fn revisions_of_demo(&self) -> String {
        let record = std::fs::read_to_string(self.serving.file(RECORD)).expect("a record");
        let meta = "io.modelcontextprotocol/protocolVersion";
        let revisions: BTreeSet<_> = record
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
            .filter_map(|message| {
                let params = &message["params"];
                let revision = match message["method"].as_str() {
                    Some("initialize") => &params["protocolVersion"],
                    // Asking for it is not yet speaking it.
                    Some("server/discover") | None => &Value::Null,
                    Some(_) => &params["_meta"][meta],
                };
                revision.as_str().map(ToOwned::to_owned)
            })
            .collect();
        Vec::from_iter(revisions).join(", ")
    }

    /// A file in the home directory.
    pub fn file(&self, relative: &str) -> PathBuf {
        self.home.file(relative)
    }

    /// Writes a file there.
    pub fn write(&self, relative: &str, content: &str) -> PathBuf {
        self.home.write(relative, content)
    }
}
