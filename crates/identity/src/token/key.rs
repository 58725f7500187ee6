use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::rand;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};

use super::TokenUri;
use super::module::Access;
use super::signature::{ED25519_NAME, ED25519_OID, P256};
use crate::error::Error;
use crate::keys::KeyAlgorithm;

/// Sessions that are kept for the next signature; what handshakes at the same moment need beyond
/// that is opened for each.
const IDLE_SESSIONS: usize = 4;
/// Signatures that are waited for at a time, each by a thread. A token that hangs must not take all
/// threads of the process, and anybody who connects asks for a signature.
const MOST_WAITING: usize = 32;
const CHOOSE_ANOTHER: &str = "name another key, or make one: sealwire cert issue NAME --key URI";

/// A private key in a token. It is not in this process's memory, and neither is the PIN.
#[derive(Clone)]
pub(crate) struct TokenKey {
    shared: Arc<Shared>,
}

struct Shared {
    uri: TokenUri,
    algorithm: KeyAlgorithm,
    point: Vec<u8>,
    idle: Mutex<Vec<OpenKey>>,
    waiting: Waiting,
}

/// How many wait.
#[derive(Default)]
struct Waiting(AtomicUsize);

/// One of them, until it is dropped.
struct Waits<'a>(&'a AtomicUsize);

impl Waiting {
    /// `None` if there are too many.
    fn enter(&self) -> Option<Waits<'_>> {
        let waits = Waits(&self.0);
        (self.0.fetch_add(1, Ordering::AcqRel) < MOST_WAITING).then_some(waits)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The key, in one session. A session does one thing at a time.
struct OpenKey {
    session: Session,
    handle: ObjectHandle,
}

impl TokenKey {
    /// Opens a key, and has it sign something, so that what is wrong shows now.
    ///
    /// # Errors
    /// [`Error::Token`]: no such module, token or key; a wrong PIN; a key that can leave the token,
    /// that is of another kind, or has another public key than its object says. Of the PIN's file.
    pub(crate) fn open(uri: &TokenUri) -> Result<Self, Error> {
        let session = uri.session(Access::Read)?;
        let handle = uri.find(&session)?.ok_or_else(|| {
            uri.refuse("there is no such private key in the token", CHOOSE_ANOTHER)
        })?;
        Self::of(uri, session, handle)
    }

    /// The same; makes the key if there is none, for `algorithm`: in the token, of which it cannot
    /// be taken out.
    ///
    /// # Errors
    /// As [`TokenKey::open`], and if the token cannot make it.
    pub(crate) fn open_or_generate(uri: &TokenUri, algorithm: KeyAlgorithm) -> Result<Self, Error> {
        let session = uri.session(Access::Write)?;
        let handle = match uri.find(&session)? {
            Some(handle) => handle,
            None => uri.generate(&session, algorithm)?,
        };
        Self::of(uri, session, handle)
    }

    /// Where it is.
    pub(crate) fn uri(&self) -> &TokenUri {
        &self.shared.uri
    }

    pub(crate) fn algorithm(&self) -> KeyAlgorithm {
        self.shared.algorithm
    }

    /// The point of the public key: uncompressed for P-256.
    pub(crate) fn public_point(&self) -> &[u8] {
        &self.shared.point
    }

    pub(crate) fn spki(&self) -> SubjectPublicKeyInfoDer<'static> {
        self.shared.algorithm.spki(&self.shared.point)
    }

    /// Signs; waits for the token so long. ECDSA signatures are DER.
    ///
    /// # Errors
    /// If the token refuses, also in a new session: one that was lost meanwhile is found again. If
    /// too many wait for it already.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let Shared { uri, algorithm, idle, waiting, .. } = &*self.shared;
        let _waits = waiting.enter().ok_or_else(|| {
            uri.refuse(
                format!("{MOST_WAITING} signatures are being waited for already"),
                "see why the token is so slow; limit [listen] max_connections",
            )
        })?;
        let lock = || idle.lock().unwrap_or_else(PoisonError::into_inner);
        let data = algorithm.to_sign(message);
        let kept = lock().pop();
        let (open, raw) = match kept.and_then(|open| Some((open.sign(*algorithm, &data)?, open))) {
            Some((raw, open)) => (open, raw),
            // The token was taken out, restarted, or has ended its sessions: of those that are
            // kept none is good then.
            None => {
                lock().clear();
                let session = uri.session(Access::Read)?;
                let handle = uri.find(&session)?.ok_or_else(|| {
                    uri.refuse("the private key is no longer in the token", CHOOSE_ANOTHER)
                })?;
                let raw = session
                    .sign(&algorithm.mechanism(), handle, &data)
                    .map_err(|problem| uri.failed("signing", &problem))?;
                (OpenKey { session, handle }, raw)
            }
        };
        let signature = algorithm.encode(&raw).ok_or_else(|| {
            let reason = format!("the token made a signature of {} bytes", raw.len());
            uri.refuse(reason, "its module is not fit for this kind of key")
        })?;
        let mut idle = lock();
        if idle.len() < IDLE_SESSIONS {
            idle.push(open);
        }
        Ok(signature)
    }

    fn of(uri: &TokenUri, session: Session, handle: ObjectHandle) -> Result<Self, Error> {
        uri.check_stays(&session, handle)?;
        let (algorithm, point) = uri.public_half(&session, handle)?;
        let open = OpenKey { session, handle };
        let (uri, idle) = (uri.clone(), Mutex::new(vec![open]));
        let waiting = Waiting::default();
        let key = Self { shared: Arc::new(Shared { uri, algorithm, point, idle, waiting }) };
        key.check_signs()?;
        Ok(key)
    }

    /// The public half is an object of its own, and may be that of another key.
    fn check_signs(&self) -> Result<(), Error> {
        let mut message = [0; 32];
        rand::fill(&mut message).map_err(Error::crypto("reading randomness"))?;
        let signature = self.sign(&message)?;
        if self.shared.algorithm.verifies(&self.shared.point, &message, &signature) {
            return Ok(());
        }
        Err(self.uri().refuse(
            "what the private key signs does not verify with the public key of that name",
            "the two are not halves of one key: name the pair by its id=",
        ))
    }
}

impl OpenKey {
    fn sign(&self, algorithm: KeyAlgorithm, data: &[u8]) -> Option<Vec<u8>> {
        self.session.sign(&algorithm.mechanism(), self.handle, data).ok()
    }
}

impl TokenUri {
    /// The one private key that is meant.
    fn find(&self, session: &Session) -> Result<Option<ObjectHandle>, Error> {
        let mut wanted = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
        wanted.extend(self.object.as_ref().map(|label| Attribute::Label(label.clone().into())));
        wanted.extend(self.id.clone().map(Attribute::Id));
        let found = session
            .find_objects(&wanted)
            .map_err(|problem| self.failed("looking for the key", &problem))?;
        match found[..] {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            _ => Err(self.refuse(
                "several private keys in the token are of that name",
                "say which one with id=, as `pkcs11-tool --module MODULE --login -O` shows it",
            )),
        }
    }

    /// Refuses a key that the token would give away: then it may be elsewhere already.
    fn check_stays(&self, session: &Session, key: ObjectHandle) -> Result<(), Error> {
        let asked = [
            AttributeType::Extractable,
            AttributeType::Sensitive,
            AttributeType::AlwaysAuthenticate,
        ];
        let mut says = [None; 3];
        for (value, asked) in says.iter_mut().zip(asked) {
            // By itself, for a token need not know the last of them.
            let held = session.get_attributes(key, &[asked]).unwrap_or_default();
            *value = held.first().and_then(|attribute| match attribute {
                Attribute::Extractable(value)
                | Attribute::Sensitive(value)
                | Attribute::AlwaysAuthenticate(value) => Some(*value),
                _ => None,
            });
        }
        let [extractable, sensitive, always_authenticate] = says;
        if extractable != Some(false) || sensitive != Some(true) {
            return Err(self.refuse(
                "the private key can be read out of the token (CKA_EXTRACTABLE is not false, or \
                 CKA_SENSITIVE not true)",
                "make a key in the token that cannot: sealwire cert issue NAME --key URI does",
            ));
        }
        if always_authenticate == Some(true) {
            return Err(self.refuse(
                "the key wants the PIN for every signature (CKA_ALWAYS_AUTHENTICATE)",
                "use a key that does not; of a YubiKey, one in another slot than 9c",
            ));
        }
        Ok(())
    }

    fn public_half(
        &self,
        session: &Session,
        key: ObjectHandle,
    ) -> Result<(KeyAlgorithm, Vec<u8>), Error> {
        let failed = |problem| self.failed("reading the public key", &problem);
        let asked = [AttributeType::KeyType, AttributeType::EcParams, AttributeType::Id];
        let held = session.get_attributes(key, &asked).map_err(failed)?;
        let (mut kind, mut curve, mut wanted) = (None, Vec::new(), Vec::new());
        for attribute in held {
            match attribute {
                Attribute::KeyType(it) => kind = Some(it),
                Attribute::EcParams(it) => curve = it,
                Attribute::Id(id) if !id.is_empty() => wanted.push(Attribute::Id(id)),
                _ => {}
            }
        }
        let algorithm = match kind {
            Some(KeyType::EC) if curve == P256 => KeyAlgorithm::EcdsaP256,
            Some(KeyType::EC_EDWARDS) if curve == ED25519_OID || curve == ED25519_NAME => {
                KeyAlgorithm::Ed25519
            }
            _ => {
                let reason = "it is neither an ECDSA key on P-256 nor an Ed25519 key";
                return Err(self.refuse(reason, CHOOSE_ANOTHER));
            }
        };
        if wanted.is_empty() {
            wanted.extend(self.object.as_ref().map(|label| Attribute::Label(label.clone().into())));
        }
        wanted.push(Attribute::Class(ObjectClass::PUBLIC_KEY));
        for public in session.find_objects(&wanted).map_err(failed)? {
            let held = session.get_attributes(public, &[AttributeType::EcPoint]).map_err(failed)?;
            if let Some(Attribute::EcPoint(point)) = held.first()
                && let Some(point) = algorithm.point(point)
            {
                return Ok((algorithm, point.to_vec()));
            }
        }
        Err(self.refuse(
            "the public half of the key is not in the token",
            "store it there under the same id, e.g. with `pkcs11-tool --write-object`",
        ))
    }

    fn generate(&self, session: &Session, algorithm: KeyAlgorithm) -> Result<ObjectHandle, Error> {
        let mut id = vec![0; 16];
        rand::fill(&mut id).map_err(Error::crypto("reading randomness"))?;
        let id = self.id.clone().unwrap_or(id);
        let mut names = vec![Attribute::Token(true), Attribute::Id(id)];
        names.extend(self.object.as_ref().map(|label| Attribute::Label(label.clone().into())));
        let private = [
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ];
        let private = [names.clone(), private.into()].concat();
        let make = |mechanism: &Mechanism<'_>, curve: &[u8]| {
            let public = [
                Attribute::Private(false),
                Attribute::Verify(true),
                Attribute::EcParams(curve.to_vec()),
            ];
            let public = [names.clone(), public.into()].concat();
            session.generate_key_pair(mechanism, &public, &private)
        };
        let made = match algorithm {
            KeyAlgorithm::EcdsaP256 => make(&Mechanism::EccKeyPairGen, P256),
            KeyAlgorithm::Ed25519 => {
                let mechanism = Mechanism::EccEdwardsKeyPairGen;
                make(&mechanism, ED25519_OID).or_else(|_| make(&mechanism, ED25519_NAME))
            }
        };
        let (_, key) = made.map_err(|problem| self.failed("making the key", &problem))?;
        Ok(key)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenKey").field(&self.shared.uri).finish()
    }
}

/// Signs handshakes.
impl SigningKey for TokenKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let fits = offered.contains(&self.shared.algorithm.scheme());
        fits.then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(self.spki())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.shared.algorithm {
            KeyAlgorithm::EcdsaP256 => SignatureAlgorithm::ECDSA,
            KeyAlgorithm::Ed25519 => SignatureAlgorithm::ED25519,
        }
    }
}

impl Signer for TokenKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        TokenKey::sign(self, message).map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        self.shared.algorithm.scheme()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_wait_than_there_are_threads_to_spare() {
        let waiting = Waiting::default();
        let mut inside: Vec<_> = (0..MOST_WAITING).map(|_| waiting.enter().unwrap()).collect();
        assert!(waiting.enter().is_none() && waiting.enter().is_none());
        inside.pop();
        assert!(waiting.enter().is_some());
        drop(inside);
        assert_eq!(waiting.0.load(Ordering::Acquire), 0);
    }
}
