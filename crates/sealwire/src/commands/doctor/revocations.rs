//! Until when it is known what is revoked, and an authority whose place another one is to take.

use std::time::Duration;

use sealwire::config::SecureMcpConfig;
use sealwire::revocations::ListFiles;
use sealwire::state::State;
use sealwire_identity::CertificateAuthority;
use sealwire_names::RefusalCode;

use super::Case;
use super::finding::{Finding, Id};
use super::report::Report;
use crate::commands::ca;
use crate::commands::due::{self, Due, Urgency};

/// From how long before its end a list is found at the latest.
const MONTH: Duration = Duration::from_secs(30 * 86_400);

pub(super) fn examine(case: &Case<'_>, report: &mut Report) {
    let Some(config) = &case.config else { return };
    lists(case, config, report);
    told(case, config, report);
    rotation(case, config, report);
}

/// Lists of RFC 5280. What cannot be gone by has been found with the certificates.
fn lists(case: &Case<'_>, config: &SecureMcpConfig, report: &mut Report) {
    let Ok(lists) = ListFiles::of(config).load(case.now) else { return };
    for list in lists.iter() {
        let (issuer, until) = (&list.issuer, list.next_update);
        let life = list.this_update.until(until).unwrap_or_default();
        // A root's holds for years.
        let soon = (life / 4).min(MONTH);
        if case.now.until(until).unwrap_or_default() > soon {
            report.passed(format!("the revocation list of {issuer} holds until {until}"), "crl");
            continue;
        }
        let what = format!(
            "the revocation list of {issuer} holds until {until} only: then nobody is let in"
        );
        let found = Finding::warning(Id::RevocationListDue, what).at("crl");
        report.found(found.fix("bring the authority's list of now; `sealwire cert crl` writes it"));
    }
}

/// What the authority tells. Nothing is known of that where nothing was ever served.
fn told(case: &Case<'_>, config: &SecureMcpConfig, report: &mut Report) {
    let Some(service) = &config.renew_from else { return };
    let Ok(Some(state)) = State::open_existing(&config.layout()) else { return };
    let Ok(Some(edition)) = state.denylist() else { return };
    let until = edition.until();
    if case.now <= until {
        let what = format!("what the authority says is revoked is known until {until}");
        return report.passed(what, service);
    }
    let what = format!(
        "what the authority says is revoked is not known since {until}: `serve` lets nobody in without it"
    );
    let found = Finding::warning(RefusalCode::RevocationUnknown.as_str(), what).at(service);
    report.found(found.fix(
        "it is told while `serve` or `connect` runs here, and `ca serve` there: their logs tell \
         why it is not",
    ));
}

/// A rotation that has begun and waits for its second step.
fn rotation(case: &Case<'_>, config: &SecureMcpConfig, report: &mut Report) {
    let home = config.layout();
    let Ok(next) = CertificateAuthority::next(&home.ca_dir()) else { return };
    let Some(next) = next else { return ageing(case, config, report) };
    let due = match ca::due(config) {
        Ok(due) => due,
        Err(failure) => {
            let what = format!("{} is trusted here: {}", next.subject, failure.one_line());
            let found = Finding::note(Id::RotationBegun, what).at(home.ca_dir().display());
            return report.found(found.run(case.sealwire("ca rotate")));
        }
    };
    let is_due = case.now >= due;
    let when = if is_due { "now".to_owned() } else { format!("from {due} on") };
    let what = format!("{} is trusted, and can issue {when}", next.subject);
    let found = Finding::note(Id::RotationBegun, what).at(home.ca_dir().display());
    report.found(match is_due {
        true => found.run(case.sealwire("ca rotate --finish")),
        false => found.fix("finish the rotation then: sealwire ca rotate --finish"),
    });
}

/// An authority of ours that should begin to make room for another one. That it expires soon has
/// been found with the certificates.
fn ageing(case: &Case<'_>, config: &SecureMcpConfig, report: &mut Report) {
    let home = config.layout();
    let file = home.ca_cert();
    if !home.has_authority() || report.has(Id::ExpiresSoon, &file) {
        return;
    }
    let all = due::all(&home, Some(config), &case.context.invocation, case.now);
    let place = file.display().to_string();
    let is_it = |one: &&Due| {
        (one.kind, one.state, &one.place) == (due::Kind::Authority, Urgency::Due, &place)
    };
    if let Some(Due { what, until, .. }) = all.iter().find(is_it) {
        let what = format!(
            "{what} ends at {until}: no certificate outlives it, and another one must be known to \
             all before"
        );
        let found = Finding::warning(Id::AuthorityDue, what).at(&place);
        report.found(found.run(case.sealwire("ca rotate")));
    }
}
