//! What comes from the log of somebody who wants to have it believed: notes, proofs and lines.

use std::sync::OnceLock;

use sealwire_audit::note::{Checkpoint, MAX_NOTE, Signer, Verifier};
use sealwire_audit::path::includes;
use sealwire_audit::proof::{EntryProof, GrowthProof};
use sealwire_audit::tree::{Tree, TreeHash};
use sealwire_audit::{MAX_LINE, is_unsafe, parse_line};
use serde_json::{Map, Value};

/// The log that the seeds of the corpora are of.
const LINES: [&str; 3] = [
    r#"{"entry":0,"time":1,"type":"log.start"}"#,
    r#"{"entry":1,"time":2,"type":"call.decision","decision":"allow"}"#,
    r#"{"entry":2,"time":3,"type":"log.stop"}"#,
];

/// The key that they are signed with.
fn signer() -> &'static Signer {
    static SIGNER: OnceLock<Signer> = OnceLock::new();
    SIGNER.get_or_init(|| Signer::new("sealwire-audit/fuzz.example/1", &[7; 32]).expect("a name"))
}

fn root(size: usize) -> TreeHash {
    let mut tree = Tree::new();
    LINES.iter().take(size).for_each(|line| tree.append(TreeHash::leaf(line.as_bytes()), |_| {}));
    tree.root()
}

/// What was signed with that key: nobody else can sign, so nothing else may pass.
fn is_ours(signed: &Checkpoint) -> bool {
    (0..=LINES.len()).any(|size| root(size) == signed.root && size as u64 == signed.size)
}

/// A signed note, a line of the file of earlier ones, or the text of a key.
pub fn note(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(key) = text.parse::<Verifier>() {
        assert_eq!(key.to_string(), text, "a key is written in one way");
    }
    let verifier = signer().verifier();
    let found = [verifier.checkpoint(text), verifier.history(text), verifier.pruned(text)];
    assert!(found.iter().flatten().count() <= 1, "a note is taken for another");
    for found in found.iter().flatten() {
        assert!(is_ours(found), "nobody signed {found:?}");
    }
    if let Ok(signed) = verifier.verify(text) {
        assert!(text.starts_with(signed) && text.len() <= MAX_NOTE);
        let again = signer().sign(signed);
        let ours = again.lines().last().expect("a signature");
        assert!(text.lines().any(|line| line == ours), "a text has one signature by a key");
    }
    let other = Verifier::new("sealwire-audit/fuzz.example/1", [9; 32]).expect("a name");
    assert!(other.verify(text).is_err(), "the name alone is no key");
}

/// A proof of an entry, or of growth.
pub fn proof(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(proof) = text.parse::<EntryProof>() {
        assert_eq!(proof.to_string().parse(), Ok(proof.clone()), "what was written is read");
        of_entry(&proof);
    }
    if let Ok(proof) = text.parse::<GrowthProof>() {
        assert_eq!(proof.to_string().parse(), Ok(proof.clone()), "what was written is read");
        of_growth(&proof);
    }
}

fn of_entry(proof: &EntryProof) {
    let Ok(signed) = proof.check(signer().verifier()) else { return };
    assert!(is_ours(&signed), "nobody signed {signed:?}");
    let line = usize::try_from(proof.entry).ok().and_then(|entry| LINES.get(entry));
    assert_eq!(line.map(|line| line.as_bytes()), Some(&*proof.line), "it is not there");
    for elsewhere in (0..signed.size).filter(|index| *index != proof.entry) {
        let leaf = TreeHash::leaf(&proof.line);
        assert!(!includes(leaf, elsewhere, signed.size, &proof.hashes, signed.root));
    }
}

fn of_growth(proof: &GrowthProof) {
    let verifier = signer().verifier();
    for size in 0..=LINES.len() {
        let kept = Checkpoint { size: size as u64, root: root(size) };
        if let Ok(signed) = proof.check(verifier, &kept) {
            assert!(is_ours(&signed) && signed.size >= kept.size, "{signed:?}");
        }
        let forged = Checkpoint { root: TreeHash::leaf(b"another"), ..kept };
        assert!(size == 0 || proof.check(verifier, &forged).is_err(), "of another log");
    }
}

/// A line of a file of the log: what passes is JSON, read alike by others, on one line, with
/// nothing in it that a terminal would carry out, and each member once.
pub fn entry_line(data: &[u8]) {
    let Ok(head) = parse_line(data) else { return };
    assert!(data.len() <= MAX_LINE);
    let text = str::from_utf8(data).expect("UTF-8");
    assert!(!text.chars().any(is_unsafe), "{text:?}");
    let entry: Map<String, Value> = serde_json::from_slice(data).expect("JSON");
    assert_eq!(entry["entry"].as_u64(), Some(head.entry));
    assert_eq!(entry["time"].as_i64(), Some(head.time));
    let kind = entry["type"].as_str().expect("a text");
    assert!(head.kind.contains('\\') || head.kind == kind, "{text}");
    // Of what is there twice, the other parser would have dropped one.
    assert_eq!(entry.len(), members(text), "{text}");
}

/// How many members the outermost object has, by its colons.
fn members(text: &str) -> usize {
    let (mut depth, mut count, mut is_in_text, mut is_escaped) = (0, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_in_text => is_escaped = true,
            b'"' => is_in_text = !is_in_text,
            _ if is_in_text => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b':' if depth == 1 => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seeds that nobody here has signed would reach nothing of what is checked.
    #[test]
    fn the_seeds_are_of_this_log_and_signed_with_this_key() {
        let verifier = signer().verifier();
        let note = include_str!("../../../fuzz/corpus/note/checkpoint-3");
        assert_eq!(verifier.checkpoint(note), Ok(Checkpoint { size: 3, root: root(3) }));
        let pruned = include_str!("../../../fuzz/corpus/note/pruned");
        assert_eq!(verifier.pruned(pruned), Ok(Checkpoint { size: 2, root: root(2) }));
        let entry: EntryProof = include_str!("../../../fuzz/corpus/proof/entry-1").parse().unwrap();
        assert!(entry.check(verifier).is_ok());
        let grown = include_str!("../../../fuzz/corpus/proof/grown-2").parse::<GrowthProof>();
        let kept = Checkpoint { size: 2, root: root(2) };
        assert!(grown.unwrap().check(verifier, &kept).is_ok());
        let line = include_bytes!("../../../fuzz/corpus/entry_line/escapes");
        assert_eq!(parse_line(line).unwrap().entry, 4);
    }
}
