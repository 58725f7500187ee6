use sealwire_envelope::{
    Audience, Deferred, Group, GroupRef, KeyId, Receiving, RecipientKey, SecureAgentMessage,
    VerifyingKey,
};
use sealwire_names::{AgentId, Refusal, RefusalCode, Timestamp};

use crate::settings::power;
use crate::{AgentRateLimiter, ChannelSettings, Limited, Seen, Taken};

/// What the envelope asks about one stored message.
pub(crate) struct Checks<'a> {
    settings: &'a ChannelSettings,
    limiter: &'a AgentRateLimiter,
    taken: &'a Taken,
    now: Timestamp,
    refused: Option<Refusal>,
}

impl<'a> Checks<'a> {
    pub(crate) fn new(
        settings: &'a ChannelSettings,
        limiter: &'a AgentRateLimiter,
        taken: &'a Taken,
        now: Timestamp,
    ) -> Self {
        Self { settings, limiter, taken, now, refused: None }
    }
}

impl Receiving for Checks<'_> {
    fn sender_key(
        &self,
        from: &AgentId,
        kid: &KeyId,
        now: Timestamp,
    ) -> Result<VerifyingKey, Refusal> {
        self.settings.directory.sender_key(from, kid, now)
    }

    fn group(&self, reference: &GroupRef) -> Result<&Group, Refusal> {
        self.settings.groups.iter().find(|group| group.reference() == reference).ok_or_else(|| {
            Refusal::new(RefusalCode::RosterUnknown, format!("{reference} is not known here"))
        })
    }

    fn recipient_key(&self, kid: &KeyId) -> Option<&RecipientKey> {
        self.settings.keys.recipients.iter().find(|key| key.public().kid() == *kid)
    }

    fn trusted(&self, message: &SecureAgentMessage) -> Result<(), Refusal> {
        if let Audience::Group(reference) = &message.audience
            && !self.group(reference)?.has(&message.from)
        {
            let reason = format!("{} is not a member of {reference}", message.from);
            return Err(Refusal::new(RefusalCode::NotTrusted, reason));
        }
        let power = power(message.metadata.message_type);
        self.settings.trust.check(&message.from, &self.settings.keys.agent, power, self.now)
    }

    /// What the transport saw is about the key and id that it has kept; if the message has
    /// others, the claim will tell.
    fn seen(&self, message: &SecureAgentMessage) -> Result<(), Refusal> {
        let label = &self.taken.label;
        let same =
            label.key == message.sender_kid && label.message_id == message.metadata.message_id;
        if !same || self.taken.seen != Seen::Another {
            return Ok(());
        }
        let reason = format!("{} has had this message before", self.settings.keys.agent);
        Err(Refusal::new(RefusalCode::MessageReplayed, reason))
    }

    fn admit(&mut self, message: &SecureAgentMessage) -> Result<(), Deferred> {
        match self.limiter.allow_request(&message.from) {
            Ok(()) => Ok(()),
            Err(Limited::For(wait)) => Err(Deferred { from: message.from.clone(), wait }),
            Err(Limited::Unregistered(refusal)) => {
                self.refused = Some(refusal);
                Ok(())
            }
        }
    }

    /// The claim itself is a commit of the transport's. It comes after this, and before anybody
    /// is given the content.
    fn claim(&mut self, _message: &SecureAgentMessage) -> Result<(), Refusal> {
        self.refused.take().map_or(Ok(()), Err)
    }
}
