//! What to do where a certificate is not valid at this time: the other end's, an authority's, or ours.

use std::time::SystemTime;

use sealwire::home::CertificatePair;
use sealwire_identity::{describe, files, is_by_peer, is_of_anchor};
use sealwire_names::{PeerId, Refusal, RefusalCode};

/// What to do where a clock may be wrong, and it cannot be told whose.
pub(crate) const CLOCKS: &str =
    "compare the clocks: date -u on both machines; set a wrong one: sudo timedatectl set-ntp true";

/// `None` if that is not why they do not connect. `server` is the name in the other end's
/// certificate, and `own` is what we present.
pub(super) fn remedy(refusal: &Refusal, server: &str, own: &CertificatePair) -> Option<String> {
    use RefusalCode as Code;
    match (refusal.code, is_by_peer(refusal)) {
        (Code::CertificateExpired, true) => Some(of_ours(own)),
        (Code::CertificateExpired, false) if is_of_anchor(refusal) => Some(format!(
            "{CLOCKS}; if they agree, another authority has to take its place: `sealwire doctor` \
             here names its file, and what to do"
        )),
        (Code::CertificateExpired, false) => Some(format!(
            "{CLOCKS}; if they agree, where the authority is: sealwire cert issue {server} --kind \
             mcp-server --force; another machine takes a new bundle; its serve takes it up by itself, \
             or says in its log why not"
        )),
        (Code::CertificateNotYetValid, _) => Some(CLOCKS.to_owned()),
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
