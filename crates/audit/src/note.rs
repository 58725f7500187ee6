//! Signed notes (C2SP signed-note), and the two that the log makes: the checkpoint (C2SP
//! tlog-checkpoint) and the statement of what was pruned.
//!
//! A note is text, a blank line, and a line for each signature. Only Ed25519 (type 1) is made
//! and checked; signatures by keys that are not asked for, a witness's for example, are left
//! alone, as the specification wants it.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use crate::tree::TreeHash;

/// Largest note that is read, in bytes.
pub const MAX_NOTE: usize = 64 * 1024;

/// The type byte of Ed25519.
const TYPE: u8 = 1;

/// Length of a signature in base64: of 4 bytes of the key's id and 64 of Ed25519.
const SIGNATURE_TEXT: usize = 92;

/// What is wrong with a note, or with the text of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoteError {
    /// It is no signed note, or not what was expected in one.
    Malformed(&'static str),
    /// It is a note of that origin, which is another log than that of the key.
    OtherLog(String),
    /// None of its signatures is by that key.
    NotSigned,
    /// There is a signature by that key's name and id, and it does not verify.
    BadSignature,
}

impl fmt::Display for NoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => f.write_str(what),
            Self::OtherLog(origin) => write!(f, "it is about another log, {origin}"),
            Self::NotSigned => f.write_str("it is not signed by the log's key"),
            Self::BadSignature => f.write_str("its signature does not verify"),
        }
    }
}

impl std::error::Error for NoteError {}

/// The key with which a log signs, and its name, which is the log's origin.
pub struct Signer {
    pair: Ed25519KeyPair,
    verifier: Verifier,
}

impl Signer {
    /// From a 32-byte private key (RFC 8032).
    ///
    /// # Errors
    /// [`NoteError::Malformed`] if the name cannot be one, or the key is none.
    pub fn new(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed)
            .map_err(|_| NoteError::Malformed("it is not an Ed25519 key"))?;
        let key = pair.public_key().as_ref().try_into();
        let key = key.map_err(|_| NoteError::Malformed("it is not an Ed25519 key"))?;
        Ok(Self { pair, verifier: Verifier::new(name, key)? })
    }

    /// What others need to check its notes.
    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Signs a text, which ends with a line feed, and gives the whole note.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        let mut signature = self.verifier.id().to_vec();
        signature.extend_from_slice(self.pair.sign(text.as_bytes()).as_ref());
        format!("{text}\n— {} {}\n", self.verifier.name, BASE64_STANDARD.encode(signature))
    }

    /// Signs a checkpoint of this log.
    #[must_use]
    pub fn checkpoint(&self, checkpoint: &Checkpoint) -> String {
        self.sign(&format!("{}\n{checkpoint}", self.verifier.name))
    }

    /// A checkpoint as one line of the file of earlier ones, without its line feed.
    #[must_use]
    pub fn history(&self, checkpoint: &Checkpoint) -> String {
        let note = self.checkpoint(checkpoint);
        let signature = note.trim_end().rsplit(' ').next().unwrap_or_default();
        format!("{} {} {signature}", checkpoint.size, checkpoint.root)
    }

    /// Signs that the entries before `minimum.size`, whose root is `minimum.root`, were deleted.
    #[must_use]
    pub fn pruned(&self, minimum: &Checkpoint) -> String {
        self.sign(&format!("{}{PRUNED}\n{minimum}", self.verifier.name))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.verifier)
    }
}

/// What the first line of a statement about a prune has after the origin. With it the line is
/// not the origin, so that an old checkpoint is no permission to delete what came before it.
const PRUNED: &str = "/pruned";

/// A public key and its name. Its text is `name+id+key`, one line, as in Go's `note` package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    key: [u8; 32],
}

impl Verifier {
    /// A key of that name.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] if the name is empty, or has spaces, `+` or control characters.
    pub fn new(name: &str, key: [u8; 32]) -> Result<Self, NoteError> {
        if name.is_empty()
            || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
        {
            return Err(NoteError::Malformed(
                "the name of a log has no spaces, no + and no control characters",
            ));
        }
        Ok(Self { name: name.to_owned(), key })
    }

    /// Its name: the log's origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key.
    #[must_use]
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// Checks a checkpoint of this log.
    ///
    /// # Errors
    /// If it is not one, is of another log, or is not signed by this key.
    pub fn checkpoint(&self, note: &str) -> Result<Checkpoint, NoteError> {
        self.statement(note, "")
    }

    /// Checks a line of the file of earlier checkpoints: `size root signature`, which is a
    /// checkpoint with its name left out.
    ///
    /// # Errors
    /// If it is not one, or is not signed by this key.
    pub fn history(&self, line: &str) -> Result<Checkpoint, NoteError> {
        let mut parts = line.split(' ');
        let (Some(size), Some(root), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NoteError::Malformed("it is not `size root signature`"));
        };
        // What a crash has torn is no signature that is wrong.
        if signature.len() != SIGNATURE_TEXT {
            return Err(NoteError::Malformed("its signature is not whole"));
        }
        let name = &self.name;
        self.checkpoint(&format!("{name}\n{size}\n{root}\n\n— {name} {signature}\n"))
    }

    /// Checks a statement about what was pruned: the size and root up to which entries are gone.
    ///
    /// # Errors
    /// If it is not one, is of another log, or is not signed by this key.
    pub fn pruned(&self, note: &str) -> Result<Checkpoint, NoteError> {
        self.statement(note, PRUNED)
    }

    fn statement(&self, note: &str, suffix: &str) -> Result<Checkpoint, NoteError> {
        let (text, _) = split(note)?;
        let (first, rest) =
            text.split_once('\n').ok_or(NoteError::Malformed("it has no first line"))?;
        if first.strip_suffix(suffix) != Some(&self.name) {
            return Err(NoteError::OtherLog(first.to_owned()));
        }
        self.verify(note)?;
        rest.parse()
    }

    /// Checks that a note is signed by this key, and gives its text.
    ///
    /// # Errors
    /// If it is no note, or not signed by this key.
    pub fn verify<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let (text, signatures) = split(note)?;
        let mut signed = false;
        for line in signatures.split_terminator('\n') {
            let (name, signature) = line
                .strip_prefix("— ")
                .and_then(|line| line.split_once(' '))
                .ok_or(NoteError::Malformed("a signature line is not one"))?;
            let signature = BASE64_STANDARD
                .decode(signature)
                .map_err(|_| NoteError::Malformed("a signature is not base64"))?;
            let (id, signature) = signature
                .split_first_chunk()
                .ok_or(NoteError::Malformed("a signature is too short"))?;
            if name == self.name && *id == self.id() {
                UnparsedPublicKey::new(&ED25519, self.key)
                    .verify(text.as_bytes(), signature)
                    .map_err(|_| NoteError::BadSignature)?;
                signed = true;
            }
        }
        if signed { Ok(text) } else { Err(NoteError::NotSigned) }
    }

    fn id(&self) -> [u8; 4] {
        let hash = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', TYPE])
            .chain_update(self.key)
            .finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u32::from_be_bytes(self.id());
        let key = [&[TYPE], self.key.as_slice()].concat();
        write!(f, "{}+{id:08x}+{}", self.name, BASE64_STANDARD.encode(key))
    }
}

impl FromStr for Verifier {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let malformed = NoteError::Malformed("it is not a verifier key, `name+id+key`");
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(malformed);
        };
        let key = BASE64_STANDARD.decode(key).map_err(|_| malformed.clone())?;
        let Some(key) = key.strip_prefix(&[TYPE]).and_then(|key| key.try_into().ok()) else {
            return Err(NoteError::Malformed("it is not an Ed25519 verifier key"));
        };
        let verifier = Self::new(name, key)?;
        // So the id is right, too.
        if verifier.to_string() == text { Ok(verifier) } else { Err(malformed) }
    }
}

/// How many entries a log had, and the root hash over them. Shown as the lines of a
/// checkpoint after its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Entries.
    pub size: u64,
    /// The root of the tree over them.
    pub root: TreeHash,
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n", self.size, self.root)
    }
}

impl FromStr for Checkpoint {
    type Err = NoteError;

    /// Lines after those of size and root, which the specification calls extensions, are
    /// refused: this log makes none.
    fn from_str(text: &str) -> Result<Self, NoteError> {
        let malformed = NoteError::Malformed("it is not a checkpoint: origin, size, root hash");
        let (size, root) = text
            .strip_suffix('\n')
            .and_then(|text| text.split_once('\n'))
            .ok_or(malformed.clone())?;
        let size = decimal(size).ok_or(malformed.clone())?;
        Ok(Self { size, root: root.parse().map_err(|_| malformed)? })
    }
}

/// A number as it must be written: digits, no sign, no zero in front.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// The text of a note and its signature lines.
fn split(note: &str) -> Result<(&str, &str), NoteError> {
    if note.len() > MAX_NOTE {
        return Err(NoteError::Malformed("it is too long for a signed note"));
    }
    if note.contains(|c: char| c < ' ' && c != '\n') {
        return Err(NoteError::Malformed("it has control characters"));
    }
    let end = note.rfind("\n\n").ok_or(NoteError::Malformed("it is not a signed note"))?;
    let (text, signatures) = (&note[..=end], &note[end + 2..]);
    if signatures.is_empty() || !signatures.ends_with('\n') {
        return Err(NoteError::Malformed("its last line is not whole"));
    }
    Ok((text, signatures))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signer() -> Signer {
        Signer::new("sealwire-audit/example/1", &[7; 32]).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { size: 12, root: TreeHash::leaf(b"x") }
    }

    #[test]
    fn the_example_of_go_verifies() {
        // From the documentation of golang.org/x/mod/sumdb/note.
        let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let note = "If you think cryptography is the answer to your problem,\n\
            then you don't know what your problem is.\n\n\
            — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let key: Verifier = key.parse().unwrap();
        assert!(key.verify(note).unwrap().ends_with("problem is.\n"));
        assert_eq!(key.verify(&note.replace("your", "my")), Err(NoteError::BadSignature));
    }

    #[test]
    fn the_example_of_the_specification_parses() {
        let text = "20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let parsed: Checkpoint = text.parse().unwrap();
        assert_eq!((parsed.size, parsed.to_string().as_str()), (20_852_163, text));
    }

    #[test]
    fn a_checkpoint_is_read_back_by_its_key_alone() {
        let signer = signer();
        let note = signer.checkpoint(&checkpoint());
        let verifier: Verifier = signer.verifier().to_string().parse().unwrap();
        assert_eq!(verifier.checkpoint(&note), Ok(checkpoint()));
        let line = signer.history(&checkpoint());
        assert!(line.starts_with(&format!("12 {} ", checkpoint().root)), "{line}");
        assert_eq!(verifier.history(&line), Ok(checkpoint()));
        assert_eq!(verifier.history(&line.replace("12 ", "13 ")), Err(NoteError::BadSignature));
        for torn in 0..line.len() {
            let error = verifier.history(&line[..torn]);
            assert!(matches!(error, Err(NoteError::Malformed(_))), "{torn}");
        }
        // Other signatures do no harm.
        let witnessed = format!("{note}— witness.example {}\n", BASE64_STANDARD.encode([9; 76]));
        assert_eq!(verifier.checkpoint(&witnessed), Ok(checkpoint()));

        let other = Signer::new("sealwire-audit/example/1", &[8; 32]).unwrap();
        assert_eq!(other.verifier().checkpoint(&note), Err(NoteError::NotSigned));
        let other = Signer::new("sealwire-audit/example/2", &[7; 32]).unwrap();
        let error = other.verifier().checkpoint(&note);
        assert_eq!(error, Err(NoteError::OtherLog("sealwire-audit/example/1".into())));
    }

    #[test]
    fn a_checkpoint_is_no_permission_to_prune() {
        let signer = signer();
        let key = signer.verifier();
        assert!(matches!(
            key.pruned(&signer.checkpoint(&checkpoint())),
            Err(NoteError::OtherLog(_))
        ));
        let pruned = signer.pruned(&checkpoint());
        assert_eq!(key.pruned(&pruned), Ok(checkpoint()));
        assert!(matches!(key.checkpoint(&pruned), Err(NoteError::OtherLog(_))));
    }

    #[test]
    fn what_is_not_exactly_a_note_is_refused() {
        let signer = signer();
        let key = signer.verifier();
        let note = signer.checkpoint(&checkpoint());
        for (what, bad) in [
            ("no last line feed", note.trim_end().to_owned()),
            ("no signature", note[..note.find('—').unwrap()].to_owned()),
            ("carriage returns", note.replace('\n', "\r\n")),
            ("a tab", note.replace("\n12\n", "\n12\t\n")),
            ("an empty text", String::new()),
            ("text after it", format!("{note}x")),
            ("two blanks", note.replace("— ", "—  ")),
        ] {
            assert!(matches!(key.checkpoint(&bad), Err(NoteError::Malformed(_))), "{what}");
        }
        for text in ["012", "+12", "-1", "", "12 ", "18446744073709551616", "12\nx"] {
            let text = format!("{}\n{text}\n{}\n", key.name(), checkpoint().root);
            let error = key.checkpoint(&signer.sign(&text));
            assert!(matches!(error, Err(NoteError::Malformed(_))), "{text}");
        }
        for name in ["", "a b", "a+b", "a\nb"] {
            assert!(Signer::new(name, &[7; 32]).is_err(), "{name}");
        }
        let text = key.to_string();
        for bad in [text.replace("+", "-"), text[..text.len() - 4].into(), {
            let id = text.split('+').nth(1).unwrap();
            text.replace(id, "00000000")
        }] {
            assert!(bad.parse::<Verifier>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_byte_of_a_checkpoint_can_be_changed(at in 0_usize..1_000, to in any::<char>()) {
            let signer = signer();
            let note = signer.checkpoint(&checkpoint());
            let mut chars: Vec<char> = note.chars().collect();
            let at = at % chars.len();
            prop_assume!(chars[at] != to);
            chars[at] = to;
            let changed: String = chars.into_iter().collect();
            prop_assert!(signer.verifier().checkpoint(&changed).is_err());
        }

        #[test]
        fn anything_may_be_parsed(text in ".{0,200}", bytes in "[a-z+\n—= 0-9]{0,200}") {
            let key = signer();
            for text in [&text, &bytes] {
                let _ = key.verifier().checkpoint(text);
                let _ = text.parse::<Verifier>();
                let _ = text.parse::<Checkpoint>();
            }
        }
    }
}
