//! Who is invited gets a certificate, once.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::SystemTime;

use sealwire::config::SecureMcpConfig;
use sealwire::invitations::{Denied, Invitations};
use sealwire_audit::ChangeKind;
use sealwire_identity::RequestedKey;
use sealwire_identity::join::{Binding, Secret, Side};
use sealwire_names::{PeerId, RefusalCode};

use super::doors::Place;
use super::wire::{self, Answer, Grant, Request, VERSION, Why};
use crate::commands::{Terms, leaf_request, open_authority};
use crate::control::note;

/// Why somebody was not let in.
#[derive(Debug)]
pub(super) struct Refused {
    /// What he is told.
    pub(super) why: Why,
    /// What we know.
    pub(super) reason: String,
    /// Whom it is about, if that is proven: that is evidence. Strangers could fill the log with
    /// anything else.
    pub(super) about: Option<PeerId>,
}

/// What the service answers.
pub(super) fn answer(
    config: &SecureMcpConfig,
    request: &Request,
    exporter: [u8; 32],
    (address, place): (SocketAddr, &Place),
) -> Answer {
    decide(config, request, exporter, (address, place)).unwrap_or_else(
        |Refused { why, reason, about }| {
            let code = RefusalCode::InvitationRefused;
            tracing::warn!(%address, %code, reason, "join refused");
            if let Some(peer) = about {
                let detail = format!("from {}: {reason}", address.ip());
                note(config, ChangeKind::JoinRefused, &peer, &detail);
            }
            Answer::Refused { why }
        },
    )
}

fn decide(
    config: &SecureMcpConfig,
    request: &Request,
    exporter: [u8; 32],
    (address, place): (SocketAddr, &Place),
) -> Result<Answer, Refused> {
    let malformed = |what: &str| Refused::stranger(Why::Malformed, what.to_owned());
    if request.version != VERSION {
        return Err(malformed("it is of another version"));
    }
    let token = wire::token_id(&request.invitation)
        .ok_or_else(|| malformed("the invitation's name is none"))?;
    let proof = wire::decode(&request.proof).ok_or_else(|| malformed("the proof is none"))?;
    let key = RequestedKey::parse(request.certificate_request.as_bytes())
        .map_err(|refusal| malformed(&refusal.to_string()))?;
    let binding = Binding { exporter, request: key.digest() };
    let mut invitations = Invitations::open_again(&config.layout()).map_err(Refused::failed)?;
    let now = SystemTime::now().into();
    let proves = |secret: &Secret| secret.verify(Side::Client, &binding, &proof);
    match invitations.check(&token, now, proves).map_err(Refused::failed)? {
        Some(denied @ (Denied::Unknown | Denied::Dead(_))) => return Err(Refused::denied(denied)),
        // It counts against the invitation, below.
        Some(_) => {}
        // Before it is used up: what comes of it is to be told.
        None if place.keep() => {}
        None => return Err(Refused::stranger(Why::Failed, "others have come since")),
    }
    let taken = invitations.take(&token, now, proves).map_err(Refused::failed)?;
    let (invitation, secret) = taken.map_err(Refused::denied)?;
    let peer = &invitation.peer;
    // The invitation is used up: that is to be found again.
    let failed = |why: &dyn Display| {
        Refused::known(Why::Failed, format!("the authority failed: {why}"), peer)
    };
    let terms = Terms { validity: invitation.lifetime, ..Terms::default() };
    let authority = open_authority(config).map_err(|why| failed(&why.one_line()))?;
    if authority.revocations().of_name(peer).is_some_and(|revoked| revoked >= invitation.made) {
        return Err(Refused::known(Why::Revoked, "the name was revoked since", peer));
    }
    // Whoever has a certificate is to be known, and whoever has none loses nothing by that.
    invitations.joined(&invitation, now).map_err(|why| failed(&why))?;
    let issued = authority.issue_for(&leaf_request(peer, &terms), &key);
    let issued = issued.map_err(|why| failed(&why.one_line()))?;
    let grant = Grant {
        id: peer.to_string(),
        certificate: issued.cert_pem,
        ca_cert: authority.certificate_pem().to_owned(),
        servers: serde_json::from_str(&invitation.servers).map_err(|why| failed(&why))?,
    };
    let grant = serde_json::to_string(&grant).map_err(|why| failed(&why))?;
    let until = issued.not_after;
    let detail = format!("joined from {}, until {until}", address.ip());
    note(config, ChangeKind::CertificateIssued, peer, &detail);
    tracing::info!(%peer, %address, %until, "joined");
    let side = Side::Service { answer: grant.as_bytes() };
    let proof = wire::encode(&secret.prove(side, &binding));
    Ok(Answer::Granted { grant, proof })
}

impl Refused {
    pub(super) fn stranger(why: Why, reason: impl Display) -> Self {
        Self { why, reason: reason.to_string(), about: None }
    }

    pub(super) fn known(why: Why, reason: impl Display, about: &PeerId) -> Self {
        Self { about: Some(about.clone()), ..Self::stranger(why, reason) }
    }

    pub(super) fn failed(error: impl Display) -> Self {
        Self::stranger(Why::Failed, format!("the authority failed: {error}"))
    }

    fn denied(denied: Denied) -> Self {
        match denied {
            Denied::Unknown => Self::stranger(Why::Unproven, "there is no such invitation"),
            // Nothing new, as often as anybody wants.
            Denied::Dead(peer) => Self::stranger(
                Why::Unproven,
                format!("too many attempts to join as {peer} were refused"),
            ),
            Denied::Unproven(peer) => {
                Self::known(Why::Unproven, "the invitation was not proven", &peer)
            }
            Denied::Used(peer) => Self::known(Why::Used, "the invitation has been used", &peer),
            Denied::Expired(peer) => Self::known(Why::Expired, "the invitation has expired", &peer),
        }
    }
}
