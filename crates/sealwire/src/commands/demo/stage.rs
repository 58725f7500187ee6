//! The scenery: temporary homes, `sealwire serve` as a process, its log.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sealwire::SecureMcpConfig;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::cutter::Cutter;
use crate::cli::Failure;

/// The name the server's certificate must carry.
pub(super) const SERVER: &str = "spiffe://sealwire.internal/mcp-server/demo";
/// The name our own certificate must carry.
pub(super) const CLIENT: &str = "spiffe://sealwire.internal/core/core";
/// Longest wait for a line of the serving side's log.
const PATIENCE: Duration = Duration::from_secs(10);

/// A home whose server runs, a stranger's home, and a network that can be cut.
pub(super) struct Stage {
    /// Where the server listens.
    pub(super) address: String,
    /// A way there that can be cut.
    pub(super) cutter: Cutter,
    /// A configuration that goes that way.
    pub(super) config: SecureMcpConfig,
    /// This program.
    pub(super) program: PathBuf,
    directory: TempDir,
    serving: Child,
    log: mpsc::UnboundedReceiver<serde_json::Value>,
}

impl Stage {
    /// Makes the homes and starts the server.
    pub(super) async fn set() -> Result<Self, Failure> {
        let cannot = |what: &str, error: &dyn std::fmt::Display| {
            Failure::new(format!("cannot {what}")).because(error)
        };
        let program = std::env::current_exe().map_err(|e| cannot("find this program", &e))?;
        let directory = TempDir::with_prefix("sealwire-demo-")
            .map_err(|e| cannot("make a temporary directory", &e))?;
        let (home, stranger) = (directory.path().join("home"), directory.path().join("stranger"));
        for home in [&home, &stranger] {
            command(&program, home, &["init"]).await?;
        }
        let serving = format!(
            "[listen]\naddress = \"127.0.0.1:0\"\n\
             [mcp_servers.demo]\ncommand = {}\nargs = [\"demo-server\"]\n\
             default_level = 1\n",
            toml::Value::from(&*program.to_string_lossy())
        );
        let file = home.join("sealwire.toml");
        std::fs::write(&file, serving).map_err(|e| cannot("write the configuration", &e))?;
        command(&program, &home, &["cert", "issue", "--all"]).await?;
        let (serving, mut log) = serve(&program, &home)?;
        let listening = line(&mut log, "listening").await?;
        let address = listening["address"].as_str().unwrap_or_default().to_owned();

        let cutter = Cutter::start(&address).await.map_err(|e| cannot("listen", &e))?;
        let connecting =
            format!("[mcp_servers.demo]\nendpoint = \"{}\"\ndefault_level = 1\n", cutter.address);
        let config = SecureMcpConfig::parse(&home, &connecting)?;
        Ok(Self { address, cutter, config, program, directory, serving, log })
    }

    /// The home of the server and its client.
    pub(super) fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// A home with an authority of its own under the same trust domain.
    pub(super) fn stranger(&self) -> PathBuf {
        self.directory.path().join("stranger")
    }

    /// A home with a team of agents, made now.
    pub(super) async fn team(&self) -> Result<PathBuf, Failure> {
        let home = self.directory.path().join("team");
        command(&self.program, &home, &["init", "--agents", "standard"]).await?;
        Ok(home)
    }

    /// The code of the next refusal in the serving side's log.
    pub(super) async fn next_refusal(&mut self) -> Result<String, Failure> {
        let refusal = line(&mut self.log, "connection refused").await?;
        Ok(refusal["code"].as_str().unwrap_or_default().to_owned())
    }

    /// Writes another configuration beside the server's own.
    pub(super) fn write_config(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let file = self.directory.path().join(name);
        std::fs::write(&file, text)
            .map_err(|error| Failure::new("cannot write a configuration").because(error))?;
        Ok(file)
    }

    /// Ends the server; the homes go with the directory.
    pub(super) async fn strike(mut self) {
        // It ends in any case: the process is killed when it is dropped.
        let _ended = self.serving.kill().await;
    }
}

async fn command(program: &Path, home: &Path, arguments: &[&str]) -> Result<(), Failure> {
    let failed = || Failure::new(format!("`sealwire {}` failed", arguments.join(" ")));
    let output = Command::new(program)
        .arg("--home")
        .arg(home)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| failed().because(error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed().because(String::from_utf8_lossy(&output.stderr).trim()))
}

/// Starts `sealwire serve`; its log arrives line by line.
fn serve(
    program: &Path,
    home: &Path,
) -> Result<(Child, mpsc::UnboundedReceiver<serde_json::Value>), Failure> {
    let cannot = |error: &dyn std::fmt::Display| {
        Failure::new("cannot start `sealwire serve`").because(error)
    };
    let mut child = Command::new(program)
        .arg("--home")
        .arg(home)
        .args(["--log-format", "json", "serve", "demo"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| cannot(&error))?;
    let stderr = child.stderr.take().ok_or_else(|| cannot(&"it has no standard error"))?;
    let (lines, log) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut stderr = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = stderr.next_line().await {
            let event = serde_json::from_str(&line)
                .unwrap_or_else(|_| serde_json::json!({ "message": line }));
            if lines.send(event).is_err() {
                return;
            }
        }
    });
    Ok((child, log))
}

/// The next line with that message.
async fn line(
    log: &mut mpsc::UnboundedReceiver<serde_json::Value>,
    message: &str,
) -> Result<serde_json::Value, Failure> {
    let mut seen = String::new();
    let found = timeout(PATIENCE, async {
        while let Some(event) = log.recv().await {
            if event["message"] == message {
                return Some(event);
            }
            seen.push_str(&format!("{}\n", event["message"].as_str().unwrap_or_default()));
        }
        None
    });
    found.await.ok().flatten().ok_or_else(|| {
        Failure::new(format!("the serving side did not say {message:?}")).because(seen.trim())
    })
}
