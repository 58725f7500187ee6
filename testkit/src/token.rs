use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::{Home, Output, run};

/// The module of SoftHSM 2.
pub fn token_module() -> &'static str {
    "/usr/lib/softhsm/libsofthsm2.so"
}

const PIN: &str = "9f2-user";

/// A token of SoftHSM's in a temporary folder: a hardware security module without the hardware.
pub struct Token {
    dir: TempDir,
    label: &'static str,
}

impl Token {
    /// One that is called `label`, with its PIN in a file of mode 0600.
    pub fn new(label: &'static str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("sealwire-token-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir()
            .expect("temp folder");
        let tokens = dir.path().join("tokens");
        fs::create_dir(&tokens).expect("folder");
        let config = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
        fs::write(dir.path().join("softhsm2.conf"), config).expect("write");
        let token = Self { dir, label };
        token.write_pin(PIN);
        let pins = ["--so-pin", "9f2-officer", "--pin", PIN];
        let init = ["--init-token", "--free", "--label", label];
        run(token.tool("softhsm2-util", &[&init[..], &pins].concat()), b"").ok();
        token
    }

    /// Where SoftHSM's own configuration is, for `SOFTHSM2_CONF`.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("softhsm2.conf")
    }

    /// The file with the PIN.
    pub fn pin_file(&self) -> PathBuf {
        self.dir.path().join("pin")
    }

    /// Writes another PIN to it; the token's own stays.
    pub fn write_pin(&self, pin: &str) {
        fs::write(self.pin_file(), format!("{pin}\n")).expect("write");
        fs::set_permissions(self.pin_file(), fs::Permissions::from_mode(0o600)).expect("chmod");
    }

    /// The URI of a key in it, with everything that it takes to use it.
    pub fn uri(&self, object: &str) -> String {
        format!("{}&module-path={}", self.short_uri(object), token_module())
    }

    /// The same without the module.
    pub fn short_uri(&self, object: &str) -> String {
        let (label, pin) = (self.label, self.pin_file());
        format!("pkcs11:token={label};object={object}?pin-source=file:{}", pin.display())
    }

    /// A home whose commands find this token.
    pub fn home(&self) -> Home {
        Home::empty().with_env("SOFTHSM2_CONF", self.config())
    }

    /// Runs OpenSC's `pkcs11-tool`, logged in.
    pub fn pkcs11_tool(&self, args: &[&str]) -> Output {
        let login = ["--module", token_module(), "--token-label", self.label, "--pin", PIN];
        run(self.tool("pkcs11-tool", &[&login[..], args].concat()), b"")
    }

    /// Where the files are in which SoftHSM keeps its keys, encrypted.
    pub fn files(&self) -> &Path {
        self.dir.path()
    }

    fn tool(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).env("SOFTHSM2_CONF", self.config());
        command
    }
}
