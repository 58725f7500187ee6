//! `install`, `uninstall` and `import`: what becomes of clients' files, planted and real ones.

mod importing;
mod odd;
mod planted;
mod real;
mod settings;
mod unusual;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sealwire_testkit::{Home, Output, bin, run};

/// Somebody with a home directory of his own, and sealwire's home where it is by default.
struct User {
    home: Home,
}

impl User {
    fn new() -> Self {
        let user = Self { home: Home::empty() };
        user.sealwire(&["init"]).ok();
        user
    }

    /// `command` with this user's environment, and nothing else in it.
    fn with(&self, mut command: Command) -> Command {
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

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(bin("sealwire"));
        command.args(args);
        self.with(command)
    }

    fn sealwire(&self, args: &[&str]) -> Output {
        run(self.command(args), b"")
    }

    fn file(&self, relative: &str) -> PathBuf {
        self.home.file(relative)
    }

    fn read(&self, relative: &str) -> String {
        fs::read_to_string(self.file(relative)).expect(relative)
    }

    fn write(&self, relative: &str, content: impl AsRef<[u8]>) -> PathBuf {
        self.home.write(relative, content)
    }

    /// Adds to `sealwire.toml`.
    fn configure(&self, more: &str) {
        let text = self.read(".sealwire/sealwire.toml");
        self.write(".sealwire/sealwire.toml", format!("{text}\n{more}"));
    }

    /// The log of what was called.
    fn log(&self) -> String {
        let days = fs::read_dir(self.file(".sealwire/audit")).into_iter().flatten();
        let days = days.map(|entry| entry.expect("readable").path());
        let is_day = |path: &PathBuf| path.extension().is_some_and(|end| end == "jsonl");
        days.filter(is_day).map(|day| fs::read_to_string(day).expect("readable")).collect()
    }
}

/// The path of this program, as entries have it.
fn program() -> String {
    bin("sealwire").to_str().expect("UTF-8").to_owned()
}

/// The client's file below the home directory.
fn place(client: &str) -> &'static str {
    match client {
        "codex" => ".codex/config.toml",
        "claude-code" => ".claude.json",
        "claude-desktop" => ".config/Claude/claude_desktop_config.json",
        "cursor" => ".cursor/mcp.json",
        "vscode" => ".config/Code/User/mcp.json",
        _ => ".gemini/settings.json",
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::symlink_metadata(path).expect("there").permissions().mode() & 0o777
}
