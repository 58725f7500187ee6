//! A home in a temporary directory, and the program as a user runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// What a run ended with.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The run if it succeeded.
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// The run if it failed with this code and said each of `parts` on standard error.
    pub(crate) fn failed(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} missing: {self:#?}");
        }
        self
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

/// A home, removed when dropped.
pub(crate) struct Home(TempDir);

impl Home {
    /// A directory of our own that holds nothing yet.
    pub(crate) fn empty() -> Self {
        let home = Self(tempfile::tempdir().expect("temporary directory"));
        #[cfg(unix)]
        home.chmod("", 0o700);
        home
    }

    /// After `init`.
    pub(crate) fn made() -> Self {
        let home = Self::empty();
        home.run(&["init"]).ok();
        home
    }

    /// After `init`, with this configuration added.
    pub(crate) fn with(config: &str) -> Self {
        let home = Self::made();
        home.write("sealwire.toml", config);
        home
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, relative: &str) -> PathBuf {
        self.path().join(relative)
    }

    pub(crate) fn read(&self, relative: &str) -> String {
        fs::read_to_string(self.file(relative)).expect(relative)
    }

    pub(crate) fn write(&self, relative: &str, text: &str) {
        fs::write(self.file(relative), text).expect(relative);
    }

    #[cfg(unix)]
    pub(crate) fn mode(&self, relative: &str) -> u32 {
        use std::os::unix::fs::PermissionsExt;
        self.file(relative).metadata().expect(relative).permissions().mode() & 0o777
    }

    #[cfg(unix)]
    pub(crate) fn chmod(&self, relative: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(self.file(relative), fs::Permissions::from_mode(mode)).expect(relative);
    }

    /// `sealwire --home HERE ARGS`, run in this home, without any environment variable.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealwire"));
        command.env_clear().current_dir(self.path());
        command.arg("--home").arg(self.path()).args(args);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        self.command(args).output().expect("sealwire runs").into()
    }
}
