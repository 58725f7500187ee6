//! What is revoked by command.

use std::time::SystemTime;

use sealwire_identity::{Revocation, Revocations, Revoked};
use sealwire_relay::ConversationReport;
use serde_json::json;

use super::protocol::Answer;
use super::service::Service;
use super::shown::revocation_as_json;

/// What to do about a fingerprint of which nothing else is known.
pub(crate) const UNKNOWN_CERTIFICATE: &str =
    "revoke its name, <kind>/<name>, which the log tells beside the fingerprint";

impl Service {
    /// Revokes a certificate or a name, and tells how many conversations end by it.
    pub(super) async fn revoke(
        &self,
        wanted: (&str, &str, Option<&str>),
        reason: String,
    ) -> Answer {
        let (kind, text, signed) = wanted;
        let conversations = self.0.relay.report().conversations;
        let by_connection = || {
            let fingerprint = text.parse().ok().filter(|_| kind == "certificate")?;
            let mut presented = conversations.iter().map(|of| &of.presented);
            let found = presented.find(|peer| peer.fingerprint == fingerprint)?;
            Some(Revoked::Certificate { fingerprint, signed: found.signed })
        };
        let Some(what) = Revoked::parse(kind, text, signed).or_else(by_connection) else {
            let wrong = format!("{kind} {text} is neither in this home nor has connected by now");
            return Answer::failed(wrong, UNKNOWN_CERTIFICATE);
        };
        let revocation = Revocation { what, at: SystemTime::now().into(), reason };
        let (alone, now) = (Revocations::new([revocation.clone()]), revocation.at);
        let is_ended = |of: &&ConversationReport| alone.check_peer(&of.presented, now).is_err();
        let ends = conversations.iter().filter(is_ended).count();
        let shown = revocation_as_json(&revocation);
        let revoked = self.change(move |state| state.revoke(&revocation)).await;
        revoked.map_or_else(
            |answer| answer,
            |is_new| {
                let answer = json!({"revoked": shown, "new": is_new, "conversations_ended": ends});
                Answer::Done(answer)
            },
        )
    }
}
