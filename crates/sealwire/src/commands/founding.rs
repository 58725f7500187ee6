//! A home that is made out of what can be had once only: whole, or not at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sealwire::home::Home;
use sealwire_identity::files;

use super::bundle::{self, Bundle};
use super::init::{Report, show, take_over};
use super::issuing::HomeLock;
use crate::cli::{Context, Failure};

/// Where the files are made, in the home: that may be a file system of its own, or beside it may
/// be no place for us.
const STAGE: &str = ".joining";
/// More than a home needs, in bytes.
const RESERVE: usize = 64 * 1024;

/// Makes a home out of what is obtained when it is certain that there is none here, and that
/// there is room for one.
pub(super) fn found(
    context: &Context,
    json: bool,
    obtain: impl FnOnce() -> Result<Bundle, Failure>,
) -> Result<(), Failure> {
    let home = &context.home;
    if context.config_file != home.config_file() {
        return Err(Failure::usage("the configuration is made in the home itself")
            .fix("leave --config out"));
    }
    take_over(home.root());
    let _lock = HomeLock::acquire(home)?;
    let taken = [home.config_file(), home.certs_dir(), home.keys_dir()];
    if let Some(there) = taken.iter().find(|it| it.exists()) {
        return Err(Failure::new("there is a home already, and nothing of it is replaced")
            .at(there.display())
            .fix("name another --home, or move this one away"));
    }
    let stage = Stage::new(home)?;
    let bundle = obtain()?;
    let mut report = Report::of(home);
    stage.make(&bundle, context, &mut report).map_err(|failure| {
        Failure::new("what was granted could not be kept, and nothing of it is")
            .at(home.root().display())
            .because(failure.one_line())
            .fix("see to that; then ask for another line, as this one is used up")
    })?;
    show(report, context, json)
}

/// A home in the making. What is left of it goes when it is dropped.
struct Stage {
    /// Where it is to be.
    home: Home,
    root: PathBuf,
}

impl Stage {
    /// Makes room.
    fn new(home: &Home) -> Result<Self, Failure> {
        let stage = Self { home: home.clone(), root: home.root().join(STAGE) };
        // Of one who was interrupted; nobody else is here while we have the lock.
        stage.clear().map_err(|error| stage.failed(&error))?;
        files::create_private_dir(&stage.root)?;
        files::write_new(&stage.reserve(), &[0; RESERVE], files::PRIVATE_FILE)?;
        Ok(stage)
    }

    fn make(&self, bundle: &Bundle, context: &Context, report: &mut Report) -> Result<(), Failure> {
        let failed = |error: io::Error| self.failed(&error);
        let home = Home::at(&self.root).map_err(failed)?;
        let config_file = home.config_file();
        let inner = Context { home, config_file, ..context.clone() };
        fs::remove_file(self.reserve()).map_err(failed)?;
        bundle::unpack(bundle, &inner, report)?;
        report.moved(&self.root, self.home.root());
        sync_tree(&self.root).map_err(failed)?;
        // The configuration last: without it there is no home.
        let parts = [self.home.certs_dir(), self.home.keys_dir(), self.home.config_file()];
        for (done, part) in parts.iter().enumerate() {
            if let Err(error) = files::rename(&self.staged(part), part) {
                for part in &parts[..=done] {
                    // It need not be there.
                    let _back = fs::rename(part, self.staged(part));
                }
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn staged(&self, part: &Path) -> PathBuf {
        part.file_name().map_or_else(|| self.root.clone(), |name| self.root.join(name))
    }

    fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    fn clear(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::new("the home cannot be made").at(self.root.display()).because(error)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            let place = self.root.display();
            tracing::warn!(%place, %error, "cannot be removed; it may hold a key");
        }
    }
}

/// The names of the files; what is in them is on the disk.
fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        }
    }
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sealwire_identity::{CertificateAuthority, KeyAlgorithm, LeafRequest};
    use zeroize::Zeroizing;

    use super::*;

    fn bundle() -> Bundle {
        let dir = tempfile::tempdir().unwrap();
        let (domain, validity) = ("example.org".parse().unwrap(), Duration::from_secs(3600));
        let ca = CertificateAuthority::create(&dir.path().join("ca"), &domain, validity).unwrap();
        let id: sealwire_names::PeerId = "spiffe://example.org/core/a".parse().unwrap();
        let (dns, ip, key_algorithm) = (vec![], vec![], KeyAlgorithm::EcdsaP256);
        let request = LeafRequest { id: id.clone(), dns, ip, validity, key_algorithm };
        let leaf = ca.issue(&request).unwrap();
        Bundle {
            id,
            ca_cert: ca.certificate_pem().to_owned(),
            cert: leaf.cert_pem.clone(),
            key: Zeroizing::new(leaf.key_pem.to_string()),
            servers: [].into(),
            renew_from: None,
        }
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> =
            entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_home_is_made_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(&dir.path().join("home")).unwrap();
        let config_file = home.config_file();
        let context =
            Context { home, config_file, credentials: None, invocation: "sealwire".to_owned() };
        let root = context.home.root();
        // Interrupted when the key was there.
        files::create_private_dir(&root.join(STAGE)).unwrap();
        fs::write(root.join(STAGE).join("sealwire.toml"), "old").unwrap();

        let cut_off = found(&context, true, || Err(Failure::new("no answer"))).unwrap_err();
        assert!(cut_off.one_line().contains("no answer"));
        assert_eq!(names(root), [".lock"]);
        // Somebody takes the last place in the middle of it.
        let intruding = || {
            fs::create_dir(root.join("sealwire.toml")).unwrap();
            Ok(bundle())
        };
        let half = found(&context, true, intruding).unwrap_err().one_line();
        assert!(half.contains("could not be kept"), "{half}");
        assert_eq!(names(root), [".lock", "sealwire.toml"]);
        fs::remove_dir(root.join("sealwire.toml")).unwrap();

        found(&context, true, || Ok(bundle())).unwrap();
        assert_eq!(names(root), [".lock", "certs", "keys", "sealwire.toml"]);
        context.load_config().unwrap().check_files().unwrap();
        let again = found(&context, true, || panic!("the line is not to be used up"));
        assert!(again.unwrap_err().one_line().contains("there is a home already"));
    }
}
