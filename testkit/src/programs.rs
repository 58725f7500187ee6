use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The program `name` of this workspace, e.g. `sealwire`.
///
/// `SEALWIRE_TEST_BIN_DIR` says where the programs are (`scripts/test` sets it). Without
/// it they are built here, once per test program, so that plain `cargo test` works.
pub fn bin(name: &str) -> PathBuf {
    static DIR: OnceLock<Option<PathBuf>> = OnceLock::new();
    let dir = DIR.get_or_init(|| match std::env::var_os("SEALWIRE_TEST_BIN_DIR") {
        Some(dir) => Some(workspace().join(dir)),
        None => build(),
    });
    let dir = dir.as_ref().expect("the programs build");
    let path = dir.join(name);
    assert!(path.is_file(), "there is no program {}", path.display());
    path
}

/// The program or file `path` of those that `scripts/test-tools` installs: npm packages in
/// `node/`, Python environments in `venv/` and `venv-…/`, a link to a `browser`.
///
/// # Panics
/// If it is not there, saying what installs it.
pub fn tool(path: &str) -> PathBuf {
    let dir = match std::env::var_os("SEALWIRE_TEST_TOOLS") {
        Some(dir) => workspace().join(dir),
        None => target().join("tools"),
    };
    let path = dir.join(path);
    assert!(path.exists(), "there is no {}; `scripts/test` installs it", path.display());
    path
}

/// Copies `from` to `to`, to be executed there.
///
/// Another process does it: what this one has open for writing is open in each process that
/// another thread starts, too, until that executes its program, and what somebody has open for
/// writing cannot be executed (`ETXTBSY`, execve(2)).
///
/// # Panics
/// If it cannot be copied.
pub fn install(from: &Path, to: &Path) {
    let status = Command::new("install").args(["-m", "755"]).args([from, to]).status();
    assert!(status.expect("install starts").success(), "{} is not installed", to.display());
}

/// `normal`, or `large` where `SEALWIRE_SOAK=1` asks for hours of testing.
pub fn soak<T>(normal: T, large: T) -> T {
    if std::env::var_os("SEALWIRE_SOAK").is_some_and(|value| value == "1") { large } else { normal }
}

fn build() -> Option<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "-p", "sealwire", "-p", "sealwire-testkit", "--bins"])
        .current_dir(workspace())
        .status()
        .expect("cargo starts");
    status.success().then(|| target().join("debug"))
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("testkit is a folder of the workspace")
}

fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace().join(dir),
        None => workspace().join("target"),
    }
}
