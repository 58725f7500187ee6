//! Proofs that somebody checks who has nothing of the log but its public key.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;

use sealwire_audit::note::{Checkpoint, Verifier};
use sealwire_audit::proof::{EntryProof, GrowthProof, ProofError, Prover};
use sealwire_audit::tree::{Tree, TreeHash};
use support::{Log, line, signer};

fn key() -> Verifier {
    signer().verifier().to_string().parse().unwrap()
}

#[test]
fn an_entry_is_proven_by_its_file_and_the_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    Log::new(3, 300).write(dir.path(), &signer());
    let prover = Prover::open(dir.path(), &key()).unwrap();
    for entry in [0, 1, 255, 256, 299, 300, 767, 768, 899] {
        let text = prover.entry(entry).unwrap().to_string();
        let proof: EntryProof = text.parse().unwrap();
        assert_eq!(proof.check(&key()), Ok(prover.signed()));
        assert_eq!(proof.line, line(entry, "call.decision").into_bytes());
        let other = EntryProof { line: line(entry + 1, "call.decision").into(), ..proof.clone() };
        assert_eq!(other.check(&key()), Err(ProofError::Wrong));
        let other = EntryProof { entry: entry + 1, ..proof };
        assert_eq!(other.check(&key()), Err(ProofError::Wrong));
    }
    let error = prover.entry(900).unwrap_err().to_string();
    assert!(error.starts_with("the log is signed up to entry 900, not with it; "), "{error}");
    for (from, to) in [("index 7", "index 07"), ("extra ", "more "), ("@v1", "@v2"), ("\n\n", "\n")]
    {
        let text = prover.entry(7).unwrap().to_string().replace(from, to);
        assert!(matches!(text.parse::<EntryProof>(), Err(ProofError::Malformed(_))), "{text}");
    }
}

#[test]
fn growth_is_proven_to_who_kept_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new(3, 300);
    log.write(dir.path(), &signer());
    let prover = Prover::open(dir.path(), &key()).unwrap();
    let mut tree = Tree::new();
    let mut leaves = log.leaves().into_iter();
    for size in [0, 1, 256, 300, 511, 899, 900] {
        while tree.size() < size {
            tree.append(leaves.next().unwrap(), |_| {});
        }
        let kept = Checkpoint { size, root: tree.root() };
        let text = prover.growth(&kept).unwrap().to_string();
        let proof: GrowthProof = text.parse().unwrap();
        assert_eq!(proof.check(&key(), &kept), Ok(prover.signed()));
        let other = Checkpoint { root: TreeHash::leaf(b"x"), ..kept };
        assert_eq!(proof.check(&key(), &other), Err(ProofError::Wrong));
        assert!(prover.growth(&other).is_err());
    }
    let more = Checkpoint { size: 901, root: tree.root() };
    assert_eq!(
        prover.growth(&more).unwrap_err().to_string(),
        "the log has 900 entries, and had 901"
    );
}

#[test]
fn what_remains_of_a_pruned_log_can_be_proven() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::new(3, 300);
    log.write(dir.path(), &signer());
    let root = {
        let mut t = Tree::new();
        log.leaves()[..600].iter().for_each(|l| t.append(*l, |_| {}));
        t.root()
    };
    log.prune(dir.path(), &signer(), 512);
    let prover = Prover::open(dir.path(), &key()).unwrap();
    for entry in [512, 600, 899] {
        assert_eq!(prover.entry(entry).unwrap().check(&key()), Ok(prover.signed()));
    }
    let error = prover.entry(511).unwrap_err().to_string();
    assert_eq!(error, "the entries before 512 were pruned");
    let kept = Checkpoint { size: 600, root };
    prover.growth(&kept).unwrap().check(&key(), &kept).unwrap();
}

#[test]
fn nothing_is_proven_of_what_was_altered() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::new(3, 300);
    log.write(dir.path(), &signer());
    log.days[0].1[7] = log.days[0].1[7].replace("allow", "deny!");
    log.write_lines(dir.path());
    let prover = Prover::open(dir.path(), &key()).unwrap();
    let error = prover.entry(7).unwrap_err().to_string();
    assert!(error.starts_with("the entry is not the one that was signed"), "{error}");
    log.days[2].1[299] = log.days[2].1[299].replace("allow", "deny!");
    log.write_lines(dir.path());
    let error = Prover::open(dir.path(), &key()).unwrap_err().to_string();
    assert!(error.starts_with("the log is not what was signed"), "{error}");
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    assert!(Prover::open(dir.path(), &key()).is_err());
}
