//! `invite --list` and `--withdraw`: what became of invitations.

use std::time::SystemTime;

use sealwire::invitations::{Invitations, Listed, MOST_FAILURES};
use sealwire::revocations::revoked;
use sealwire_identity::Revocations;
use sealwire_names::Timestamp;
use serde_json::json;

use crate::cli::{Context, Failure, print, print_json};

/// Hexadecimal digits of an ID that are shown, and the fewest that name one.
const SHOWN: usize = 8;
const FEWEST: usize = 4;

/// Shows all that are remembered.
pub(super) fn list(json: bool, context: &Context) -> Result<(), Failure> {
    let home = context.load_config()?.layout();
    let (all, revocations) = (Invitations::open(&home)?.all()?, Revocations::new(revoked(&home)?));
    let now = SystemTime::now().into();
    if json {
        let shown = |listed: &Listed| {
            json!({
                "id": id(listed),
                "peer": listed.invitation.peer.to_string(),
                "made": listed.invitation.made.to_string(),
                "expires": listed.invitation.expires.to_string(),
                "state": state(listed, &revocations, now).0,
                "used": listed.used.map(|at| at.to_string()),
                "wrong_proofs": listed.failures,
            })
        };
        return print_json(&json!(all.iter().map(shown).collect::<Vec<_>>()));
    }
    if all.is_empty() {
        return print("there are no invitations\n");
    }
    let line = |listed: &Listed| {
        let (peer, (_, told)) = (&listed.invitation.peer, state(listed, &revocations, now));
        format!("{:SHOWN$.SHOWN$}  {peer}  {told}\n", id(listed))
    };
    print(&all.iter().map(line).collect::<String>())
}

/// Withdraws the one whose ID begins so.
pub(super) fn withdraw(wanted: &str, json: bool, context: &Context) -> Result<(), Failure> {
    let mut invitations = Invitations::open(&context.load_config()?.layout())?;
    let all = invitations.all()?;
    let is_meant = |listed: &&Listed| wanted.len() >= FEWEST && id(listed).starts_with(wanted);
    let meant: Vec<_> = all.iter().filter(is_meant).collect();
    let [listed] = meant.as_slice() else {
        let what = match meant.len() {
            0 => format!("no invitation here has the ID {wanted:?}"),
            several => format!("the IDs of {several} invitations begin with {wanted:?}"),
        };
        return Err(Failure::usage(what).fix("see `sealwire invite --list`"));
    };
    invitations.withdraw(&listed.token)?;
    let peer = &listed.invitation.peer;
    if json {
        return print_json(&json!({"withdrawn": id(listed), "peer": peer.to_string()}));
    }
    let note = match listed.used {
        Some(at) => format!(
            "it was used at {at}: to end what came of it, {} cert revoke {}/{}\n",
            context.invocation,
            peer.kind(),
            peer.name()
        ),
        None => String::new(),
    };
    print(&format!("withdrawn: nobody can join as {peer} by that line\n{note}"))
}

fn id(listed: &Listed) -> String {
    listed.token.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A word for what became of it, and the same for people.
fn state(listed: &Listed, revocations: &Revocations, now: Timestamp) -> (&'static str, String) {
    let Listed { invitation, failures, used, .. } = listed;
    let revoked = revocations.of_name(&invitation.peer);
    if let Some(at) = used {
        ("used", format!("used at {at}"))
    } else if *failures >= MOST_FAILURES {
        ("spoilt", format!("spoilt by {failures} wrong proofs"))
    } else if let Some(at) = revoked.filter(|revoked| *revoked >= invitation.made) {
        ("revoked", format!("ended at {at}, when the name was revoked"))
    } else if now >= invitation.expires {
        ("expired", format!("expired at {}", invitation.expires))
    } else {
        ("open", format!("open until {}", invitation.expires))
    }
}
