//! What to do where a certificate is not valid at this time: the other end's, or ours.

use std::time::SystemTime;

use sealwire::home::CertificatePair;
use sealwire_identity::{describe, files, is_by_peer};
use sealwire_names::{PeerId, Refusal, RefusalCode};

const CLOCKS: &str = "compare the clocks: date -u on both machines";

/// `None` if that is not why they do not connect. `own` is what we present.
pub(super) fn remedy(refusal: &Refusal, own: &CertificatePair) -> Option<String> {
    match (refusal.code, is_by_peer(refusal)) {
        (RefusalCode::CertificateExpired, false) => Some(
            "if the time here is wrong, set the clock; else, where the authority is: sealwire \
             cert issue NAME --kind mcp-server --force; of a trust anchor, `sealwire doctor` here \
             tells more"
                .to_owned(),
        ),
        (RefusalCode::CertificateExpired, true) => Some(of_ours(own)),
        (RefusalCode::CertificateNotYetValid, _) => Some(CLOCKS.to_owned()),
        _ => None,
    }
}

/// The other end says of ours no more than that it is not valid at this time.
fn of_ours(own: &CertificatePair) -> String {
    let file = own.cert.display();
    let chain = files::read_public(&own.cert).and_then(|pem| describe(&pem, &file.to_string()));
    let chain = chain.unwrap_or_default();
    let now = SystemTime::now().into();
    let (Some(leaf), Some(until)) = (chain.first(), chain.iter().map(|one| one.not_after).min())
    else {
        return CLOCKS.to_owned();
    };
    if let Some(early) = chain.iter().map(|one| one.not_before).max().filter(|from| *from > now) {
        return format!("{file} is not valid before {early} by the clock here, {now}: {CLOCKS}");
    }
    let Some(expired) = chain.iter().find(|one| one.not_after < now) else {
        return format!(
            "{file} is valid until {until} by the clock here, {now}: {CLOCKS}; if they agree, an \
             authority has expired there: sealwire doctor on that machine"
        );
    };
    let until = expired.not_after;
    if expired.is_ca {
        return format!(
            "the authority's certificate in {file} expired at {until}: where the authority is, \
             `sealwire doctor` tells what renews it"
        );
    }
    let id = leaf.uris.first().and_then(|uri| uri.parse::<PeerId>().ok());
    let issue = match id {
        Some(id) => format!("sealwire cert issue {} --kind {} --force", id.name(), id.kind()),
        None => "sealwire cert issue NAME --force".to_owned(),
    };
    format!(
        "{file} expired at {until}: where the authority is, {issue}; another machine takes a new \
         bundle (sealwire cert bundle), or joins again"
    )
}
