use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use crate::openssl::{Authority, Pair};
use crate::{Output, bin, run};

/// A sealwire home in a temporary folder, made with the program itself.
pub struct Home {
    dir: TempDir,
    clients: AtomicUsize,
    env: Vec<(&'static str, PathBuf)>,
}

impl Home {
    /// Sets an environment variable for every command of this home.
    #[must_use]
    pub fn with_env(mut self, name: &'static str, value: PathBuf) -> Self {
        self.env.push((name, value));
        self
    }

    /// An empty folder, readable by us alone.
    pub fn empty() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("sealwire-test-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir()
            .expect("temp folder");
        Self { dir, clients: AtomicUsize::new(0), env: Vec::new() }
    }

    /// A home after `sealwire init`.
    pub fn initialized() -> Self {
        let home = Self::empty();
        home.run(&["init"]).ok();
        home
    }

    /// A home with this configuration, and the certificates it needs. Unless the
    /// configuration has a `[listen]` table, `serve` picks a free port.
    pub fn with_config(config: &str) -> Self {
        let home = Self::initialized();
        home.configure(config);
        home.run(&["cert", "issue", "--all"]).ok();
        home
    }

    /// Writes `sealwire.toml`, with `[listen] address` on a free port of loopback
    /// unless `config` has a `[listen]` table of its own.
    pub fn configure(&self, config: &str) {
        let listen = if config.contains("[listen]") {
            ""
        } else {
            "[listen]\naddress = \"127.0.0.1:0\"\n\n"
        };
        self.write("sealwire.toml", format!("{listen}{config}"));
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A file in it.
    pub fn file(&self, relative: &str) -> PathBuf {
        self.path().join(relative)
    }

    /// Writes a file that others may read, making its folder.
    pub fn write(&self, relative: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(relative);
        fs::create_dir_all(path.parent().expect("inside the home")).expect("folder");
        fs::write(&path, content).expect("write");
        path
    }

    /// Writes a POSIX shell script that an MCP server entry can run with `sh`.
    pub fn script(&self, name: &str, body: &str) -> PathBuf {
        self.write(name, format!("set -eu\n{body}\n"))
    }

    /// Sets a file's permission bits.
    pub fn chmod(&self, relative: &str, mode: u32) {
        fs::set_permissions(self.file(relative), fs::Permissions::from_mode(mode)).expect("chmod");
    }

    /// `sealwire --home <this>`, to be given a subcommand.
    pub fn sealwire(&self) -> Command {
        let mut command = Command::new(bin("sealwire"));
        command.arg("--home").arg(self.path()).envs(self.env.iter().cloned());
        command
    }

    /// Runs `sealwire --home <this> ARGS` to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        let mut command = self.sealwire();
        command.args(args);
        run(command, b"")
    }

    /// Runs `sealwire --home <this> connect SERVER` with the whole of `input` on its
    /// standard input, to its end.
    pub fn connect_once(&self, server: &str, address: SocketAddr, input: &[u8]) -> Output {
        run(self.connect_command(server, address, ""), input)
    }

    /// `sealwire connect SERVER`, with a configuration that says where that is.
    ///
    /// `extra` is more of that file: keys of the server's table first, then other
    /// tables. It is a file of its own because `sealwire.toml` is the serving side's.
    pub fn connect_command(&self, server: &str, address: SocketAddr, extra: &str) -> Command {
        let number = self.clients.fetch_add(1, Ordering::Relaxed);
        let config = self.write(
            &format!("client-{number}.toml"),
            format!("[mcp_servers.{server}]\nendpoint = \"{address}\"\n{OPEN}{extra}\n"),
        );
        let mut command = self.sealwire();
        command.arg("--config").arg(config).args(["connect", server]);
        command
    }

    /// Approves everything of a server that waits for it.
    pub fn approve_pins(&self, server: &str) {
        let diff = self.run(&["pins", "diff", server, "--json"]).ok();
        let diff: serde_json::Value = serde_json::from_str(&diff.stdout).expect("JSON");
        let entries = diff.as_array().expect("a list");
        let hashes = entries.iter().map(|entry| entry["pending"]["sha256"].as_str().expect("hash"));
        let args: Vec<_> = ["pins", "approve", server].into_iter().chain(hashes).collect();
        self.run(&args).ok();
    }

    /// What issues certificates in this home, for OpenSSL to issue with.
    pub fn authority(&self) -> Authority {
        let (cert, key) =
            (self.file("certs/ca/issuing-cert.pem"), self.file("certs/ca/issuing-key.pem"));
        if key.exists() {
            return Authority::existing(&self.file("openssl"), &cert, &key).below_root();
        }
        Authority::existing(
            &self.file("openssl"),
            &self.file("certs/ca/ca-cert.pem"),
            &self.file("certs/ca/ca-key.pem"),
        )
    }

    /// The certificate and key that `init` made.
    pub fn core_pair(&self) -> Pair {
        Pair {
            cert: self.file("certs/core/core-cert.pem"),
            key: self.file("certs/core/core-key.pem"),
        }
    }
}

/// `text` as a TOML string. (A JSON string with its escapes is one.)
pub fn quoted(text: impl AsRef<Path>) -> String {
    let text = text.as_ref().to_str().expect("test paths are UTF-8");
    serde_json::Value::from(text).to_string()
}

/// Keys of a server's table with which every peer may call its tools, and it may ask clients
/// for anything.
pub const OPEN: &str = "default_level = 1\n\
                        policy.allow = [{ direction = \"to_client\", methods = [\"*\"] }]\n";

/// A configuration table for a served MCP server, which is [`OPEN`].
pub fn server_table(name: &str, command: impl AsRef<Path>, args: &[&str]) -> String {
    let args: Vec<_> = args.iter().map(quoted).collect();
    format!(
        "[mcp_servers.{name}]\ncommand = {}\nargs = [{}]\n{OPEN}",
        quoted(command.as_ref()),
        args.join(", ")
    )
}
