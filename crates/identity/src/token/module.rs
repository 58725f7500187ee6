//! The modules of this process, and sessions with their tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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

/// A module is initialized once in a process (PKCS #11 v3.1 §5.4.1), whoever uses it, and stays.
static MODULES: Mutex<Modules> = Mutex::new(Modules { loaded: None, refused: None });

#[derive(Default)]
struct Modules {
    loaded: Option<BTreeMap<PathBuf, Pkcs11>>,
    /// PINs that a token has refused, by their hash. Most tokens are locked after a few wrong ones,
    /// and several keys may name the same file.
    refused: Option<BTreeSet<(PathBuf, String, Fingerprint)>>,
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
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = modules.loaded.get_or_insert_default();
        if let Some(module) = loaded.get(path) {
            return Ok(module.clone());
        }
        self.check_module(path)?;
        let cannot = |reason: String| {
            self.refuse(
                format!("the module {} cannot be loaded: {reason}", path.display()),
                "install the token's PKCS #11 module, and name it in [pkcs11] or module-path",
            )
        };
        let module = Pkcs11::new(path).map_err(|problem| cannot(problem.to_string()))?;
        // Handshakes sign in several threads.
        module
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
            .map_err(|problem| cannot(problem.to_string()))?;
        loaded.insert(path.to_owned(), module.clone());
        Ok(module)
    }

    /// Refuses code that others could have put there.
    fn check_module(&self, path: &Path) -> Result<(), Error> {
        let metadata = fs::metadata(path).map_err(Error::io("read", path))?;
        if !metadata.is_file() {
            return Err(Error::FileType { path: path.into(), wanted: "regular file" });
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            const WRITABLE_BY_OTHERS: u32 = 0o022;
            let mode = metadata.permissions().mode() & 0o777;
            if mode & WRITABLE_BY_OTHERS != 0 {
                let allowed = mode & !WRITABLE_BY_OTHERS;
                return Err(Error::Mode { path: path.into(), mode, allowed });
            }
        }
        Ok(())
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
        let tried = (module.to_owned(), serial, sha256(pin.as_bytes()));
        // Held while it is tried, so that of several threads one alone does.
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = modules.refused.get_or_insert_default();
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
