use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use sealwire_audit::note::Verifier;
use sealwire_audit::proof::{EntryProof, Prover};
use serde_json::json;

use super::Log;
use crate::cli::{Context, Failure, print, print_json, printable};

/// The file that says before which entry all were pruned (docs/spec/audit.md).
const PRUNED: &str = "pruned";

/// Prove that an entry is in the log, to somebody who has nothing but its public key
///
/// The proof has the entry, the hashes that lead from it to the root, and the signed checkpoint
/// (C2SP tlog-proof, with the entry as its extra data). With --since, it is a proof that the
/// log only grew since a checkpoint that was kept.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire audit prove 4711 > entry.tlog-proof
  sealwire audit prove --check entry.tlog-proof --key audit-signing.pub
  sealwire audit prove --since /mnt/elsewhere/checkpoint.txt")]
pub(super) struct Arguments {
    #[command(flatten)]
    log: Log,
    /// The number of the entry
    #[arg(required_unless_present_any = ["since", "check"])]
    entry: Option<u64>,
    /// Prove that the log is the continuation of this checkpoint
    #[arg(long, value_name = "FILE", conflicts_with = "entry")]
    since: Option<PathBuf>,
    /// Check a proof, and print its entry
    #[arg(long, value_name = "FILE", conflicts_with_all = ["entry", "since"])]
    check: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    let key = arguments.log.key(context)?;
    if let Some(path) = &arguments.check {
        let failed = |why: &dyn std::fmt::Display| {
            Failure::new("the proof proves nothing").at(path.display()).because(why)
        };
        let proof: EntryProof = read(path)?.parse().map_err(|error| failed(&error))?;
        let signed = proof.check(&key).map_err(|error| failed(&error))?;
        let line = String::from_utf8_lossy(&proof.line).into_owned();
        return if arguments.json {
            print_json(&json!({
                "entry": proof.entry,
                "line": line,
                "origin": key.name(),
                "tree_size": signed.size,
                "root_hash": signed.root.to_string(),
            }))
        } else {
            print(&format!("{}\n", printable(&line)))
        };
    }
    let directory = arguments.log.directory(context)?;
    let failed = |error| Failure::new("it cannot be proven").at(directory.display()).because(error);
    let prover = Prover::open(&directory, &key).map_err(failed)?;
    let (text, hashes) = match (&arguments.since, arguments.entry) {
        (Some(path), _) => {
            let kept = key.checkpoint(&read(path)?).map_err(|error| {
                Failure::new("it is no checkpoint of this log").at(path.display()).because(error)
            })?;
            let proof = prover.growth(&kept).map_err(failed)?;
            (proof.to_string(), proof.hashes)
        }
        (None, entry) => {
            let proof = prover.entry(entry.unwrap_or_default()).map_err(|error| {
                let is_none = error.kind() == io::ErrorKind::NotFound;
                let failure = failed(error);
                if is_none {
                    failure.fix(there(&directory, &key, prover.signed().size))
                } else {
                    failure
                }
            })?;
            (proof.to_string(), proof.hashes)
        }
    };
    if !arguments.json {
        return print(&text);
    }
    print_json(&json!({
        "proof": text,
        "hashes": hashes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "tree_size": prover.signed().size,
        "root_hash": prover.signed().root.to_string(),
    }))
}

/// Which entries can be proven of a log that is signed up to `size`.
fn there(directory: &Path, key: &Verifier, size: u64) -> String {
    let pruned = fs::read_to_string(directory.join(PRUNED)).ok();
    let first = pruned.and_then(|note| key.pruned(&note).ok()).map_or(0, |minimum| minimum.size);
    if size <= first {
        return "the log has no entry that is signed: see `sealwire audit verify`".to_owned();
    }
    let last = size - 1;
    format!("the log has the entries {first} to {last}: `sealwire audit tail` shows their numbers")
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path)
        .map_err(|error| Failure::new("the file cannot be read").at(path.display()).because(error))
}

#[cfg(test)]
mod tests {
    use sealwire_audit::note::{Checkpoint, Signer};
    use sealwire_audit::tree::TreeHash;

    use super::*;

    #[test]
    fn what_was_pruned_is_not_offered() {
        let dir = tempfile::tempdir().unwrap();
        let signer = Signer::new("a.example/log", &[7; 32]).unwrap();
        let told = |size| there(dir.path(), signer.verifier(), size);
        assert!(told(300).contains("the entries 0 to 299:"), "{}", told(300));
        assert!(told(0).contains("no entry"), "{}", told(0));
        let minimum = Checkpoint { size: 256, root: TreeHash::leaf(b"x") };
        fs::write(dir.path().join(PRUNED), signer.pruned(&minimum)).unwrap();
        assert!(told(300).contains("the entries 256 to 299:"), "{}", told(300));
        assert!(told(256).contains("no entry"), "{}", told(256));
    }
}
