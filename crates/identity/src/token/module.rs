//! The modules of this process, and sessions with their tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
#[cfg(unix)]
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as Problem, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use sealwire_names::Fingerprint;

use super::TokenUri;
use crate::certificate::sha256;
use crate::error::Error;
use crate::files;

/// The modules, by path, and of each token the PINs that it has refused, by their hash: most tokens
/// are locked after a few wrong ones, and several keys may name the same file.
///
/// Each has a lock of its own, as a module or a token may hang: whoever waits for one keeps nobody
/// from another. The locks of these maps are held while something is looked up, and no longer.
static MODULES: Mutex<BTreeMap<PathBuf, Slots>> = Mutex::new(BTreeMap::new());
static REFUSED: Mutex<BTreeMap<(PathBuf, String), Refused>> = Mutex::new(BTreeMap::new());

/// A module is initialized once in a process (PKCS #11 v3.1 §5.4.1), whoever uses it, and stays.
type Slots = Arc<Mutex<Option<Pkcs11>>>;
type Refused = Arc<Mutex<BTreeSet<Fingerprint>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a session may write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

impl TokenUri {
    /// A session with the token, logged in.
    pub(super) fn session(&self, access: Access) -> Result<Session, Error> {
        let path = self.module.as_deref().ok_or_else(|| {
            self.refuse(
                "it says not which module speaks to the token",
                "give `module` in [pkcs11], or module-path in the URI",
            )
        })?;
        let module = self.load(path)?;
        let (slot, serial) = self.slot(&module)?;
        let opened = match access {
            Access::Read => module.open_ro_session(slot),
            Access::Write => module.open_rw_session(slot),
        };
        let session = opened.map_err(|problem| self.failed("opening a session", &problem))?;
        self.log_in(&session, path, serial)?;
        Ok(session)
    }

    /// What a module said, with what it was asked for.
    pub(super) fn failed(&self, what: &str, problem: &Problem) -> Error {
        let code = match problem {
            Problem::Pkcs11(code, _) => format!("{code:?}"),
            other => other.to_string(),
        };
        self.refuse(
            format!("{what} failed: the token says {code}"),
            "see the token's own documentation; `pkcs11-tool --module MODULE -O` lists its keys",
        )
    }

    fn load(&self, path: &Path) -> Result<Pkcs11, Error> {
        let slots = Arc::clone(lock(&MODULES).entry(path.to_owned()).or_default());
        let mut loaded = lock(&slots);
        if let Some(module) = &*loaded {
            return Ok(module.clone());
        }
        // The place that was looked at, and not what the name may mean to a loader or later.
        let place = check_module(path)?;
        let cannot = |reason: String| {
            self.refuse(
                format!("the module {} cannot be loaded: {reason}", path.display()),
                "install the token's PKCS #11 module, and name it in [pkcs11] or module-path",
            )
        };
        let module = Pkcs11::new(&place).map_err(|problem| cannot(problem.to_string()))?;
        // Handshakes sign in several threads.
        module
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
            .map_err(|problem| cannot(problem.to_string()))?;
        Ok(loaded.insert(module).clone())
    }

    /// The slot of the one token that is meant, and its serial number.
    fn slot(&self, module: &Pkcs11) -> Result<(Slot, String), Error> {
        let slots = module
            .get_slots_with_token()
            .map_err(|problem| self.failed("listing the tokens", &problem))?;
        let is = |wanted: &Option<String>, held: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == held.trim_end())
        };
        let mut found = Vec::new();
        let mut there = Vec::new();
        for slot in slots {
            // One that is taken out meanwhile is not there.
            let Ok(token) = module.get_token_info(slot) else { continue };
            if !token.token_initialized() {
                continue;
            }
            if is(&self.token, token.label())
                && is(&self.serial, token.serial_number())
                && is(&self.manufacturer, token.manufacturer_id())
                && is(&self.model, token.model())
            {
                found.push((slot, token.serial_number().to_owned()));
            }
            there.push(format!("{:?}", token.label().trim_end()));
        }
        if found.len() > 1 {
            let remedy = "say which one with serial=, as `pkcs11-tool --module MODULE -L` shows it";
            return Err(self.refuse("several tokens are of that name", remedy));
        }
        found.pop().ok_or_else(|| {
            let there = if there.is_empty() { "no token".to_owned() } else { there.join(", ") };
            self.refuse(
                format!("the token is not there; the module finds {there}"),
                "connect it, or correct the name; this user must be allowed to use it",
            )
        })
    }

    fn log_in(&self, session: &Session, module: &Path, serial: String) -> Result<(), Error> {
        let file = self.pin_file.as_deref().ok_or_else(|| {
            self.refuse(
                "it says not where the PIN is",
                "write the PIN to a file of mode 0600, and add ?pin-source=file:/that/file",
            )
        })?;
        let pin = files::read_private(file)?;
        let pin = std::str::from_utf8(&pin).ok().map(|pin| pin.strip_suffix('\n').unwrap_or(pin));
        let pin = pin.filter(|pin| !pin.is_empty() && !pin.contains('\n')).ok_or_else(|| {
            self.refuse(
                format!("{} does not hold one line with the PIN", file.display()),
                "write the PIN there, and nothing else",
            )
        })?;
        let wrong = || {
            self.refuse(
                format!("the PIN in {} is wrong", file.display()),
                "correct it before the token is locked: it is not tried again until it differs",
            )
        };
        let tried = sha256(pin.as_bytes());
        let token = (module.to_owned(), serial);
        let refused = Arc::clone(lock(&REFUSED).entry(token).or_default());
        // Held while it is tried, so that of several threads one alone does.
        let mut refused = lock(&refused);
        if refused.contains(&tried) {
            return Err(wrong());
        }
        match session.login(UserType::User, Some(&AuthPin::from(pin))) {
            // Whoever logs in, all of a process are (PKCS #11 v3.1 §5.6.8).
            Ok(()) | Err(Problem::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(Problem::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid, _)) => {
                refused.insert(tried);
                Err(wrong())
            }
            Err(Problem::Pkcs11(RvError::PinLocked, _)) => Err(self.refuse(
                "the token is locked, as too many wrong PINs were tried",
                "unlock it with its security officer's PIN",
            )),
            Err(problem) => Err(self.failed("logging in", &problem)),
        }
    }
}

/// Refuses code that others could have put there: the file, and each directory on the way to it,
/// through links, must be root's or ours, and writable by nobody else. Where it is, without links.
fn check_module(path: &Path) -> Result<PathBuf, Error> {
    let place = fs::canonicalize(path).map_err(Error::io("read", path))?;
    let metadata = fs::metadata(&place).map_err(Error::io("read", path))?;
    if !metadata.is_file() {
        return Err(Error::FileType { path: path.into(), wanted: "regular file" });
    }
    #[cfg(unix)]
    {
        check_place(&place, &metadata)?;
        // Where the link itself is, it could be turned elsewhere.
        let links = path.parent().into_iter().flat_map(Path::ancestors);
        let directories = place.ancestors().skip(1).chain(links);
        for directory in directories.filter(|directory| directory.is_absolute()) {
            let metadata = fs::metadata(directory).map_err(Error::io("read", directory))?;
            check_place(directory, &metadata)?;
        }
    }
    Ok(place)
}

#[cfg(unix)]
fn check_place(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    const WRITABLE_BY_OTHERS: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    let owner = metadata.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(Error::Owner { path: path.into(), owner });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    // In a directory such as /tmp nobody replaces what is another's.
    if mode & WRITABLE_BY_OTHERS != 0 && !(metadata.is_dir() && mode & STICKY != 0) {
        let (mode, allowed) = (mode & 0o777, mode & 0o777 & !WRITABLE_BY_OTHERS);
        return Err(Error::Mode { path: path.into(), mode, allowed });
    }
    Ok(())
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_module_that_others_could_replace_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("lib");
        fs::create_dir(&inner).unwrap();
        let module = inner.join("module.so");
        fs::write(&module, "code").unwrap();
        chmod(&module, 0o644);
        check_module(&module).unwrap();
        let link = dir.path().join("link.so");
        symlink(&module, &link).unwrap();
        let place = fs::canonicalize(&module).unwrap();
        assert_eq!(check_module(&link).unwrap(), place, "what is loaded is what was looked at");

        for (place, wide, narrow) in [(&module, 0o666, 0o644), (&inner, 0o777, 0o755)] {
            chmod(place, wide);
            for path in [&module, &link] {
                let refused = check_module(path).unwrap_err();
                assert!(matches!(&refused, Error::Mode { path, .. } if path == place), "{refused}");
            }
            chmod(place, narrow);
        }
        // The module is where nobody else writes, and the link to it is not.
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        let link = open.join("link.so");
        symlink(&module, &link).unwrap();
        chmod(&open, 0o775);
        let refused = check_module(&link).unwrap_err();
        assert!(matches!(&refused, Error::Mode { path, .. } if *path == open), "{refused}");
        chmod(&open, 0o1777);
        check_module(&link).unwrap();

        assert!(matches!(check_module(&inner), Err(Error::FileType { .. })));
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&inner, Some(65_534), None).unwrap();
            let refused = check_module(&module).unwrap_err();
            assert!(matches!(refused, Error::Owner { owner: 65_534, .. }), "{refused}");
        }
    }

    /// Whoever waits for one module or token holds nothing that others need.
    #[test]
    fn what_hangs_holds_up_nothing_else() {
        let entry = |name: &str| Arc::clone(lock(&MODULES).entry(name.into()).or_default());
        let one = entry("/hanging.so");
        let _hanging = lock(&one);
        assert!(entry("/other.so").try_lock().is_ok());
        assert!(entry("/hanging.so").try_lock().is_err());
    }
}
