use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Output, run};

/// A tmpfs; unmounted when dropped.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one at `at`, which is made, with options of mount(8). `None` if nothing can be mounted here.
    pub fn mount(at: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(at).expect("a place for it");
        let output = mount(at, options);
        if output.code != Some(0) {
            println!("not tried, as nothing can be mounted here: {}", output.stderr);
            return None;
        }
        Some(Self(at.to_owned()))
    }

    /// Gives it other options.
    pub fn change(&self, options: &str) {
        mount(&self.0, &format!("remount,{options}")).ok();
    }
}

fn mount(at: &Path, options: &str) -> Output {
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", options, "sealwire-test"]).arg(at);
    run(mount, b"")
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut unmount = Command::new("umount");
        unmount.arg("--lazy").arg(&self.0);
        let _ = run(unmount, b"");
    }
}
