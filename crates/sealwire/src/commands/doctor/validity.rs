//! When certificates are valid, and what the clock has to do with it.

use std::time::Duration;

use sealwire_identity::CertificateSummary;
use sealwire_names::{RefusalCode, Timestamp};

use super::finding::{Finding, Id};
use crate::commands::certificates::ends_soon;

pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// From how long before its end a certificate is found.
const SOON: Duration = DAY.saturating_mul(30);
/// From how long before its end it is urgent.
const THIS_WEEK: Duration = DAY.saturating_mul(7);
/// Longest validity of a leaf that is not remarkable: what public authorities may issue.
const LONG: Duration = DAY.saturating_mul(398);

/// Expired, not yet valid, or about to expire; without place and remedy.
pub(super) fn of(certificate: &CertificateSummary, now: Timestamp) -> Option<Finding> {
    let CertificateSummary { subject, not_before, not_after, .. } = certificate;
    if now < *not_before {
        let what =
            format!("{subject} is not valid before {not_before}; the clock here reads {now}");
        return Some(Finding::error(RefusalCode::CertificateNotYetValid.as_str(), what));
    }
    if now.until(*not_after).is_none() {
        let what = format!("{subject} expired at {not_after}");
        return Some(Finding::error(RefusalCode::CertificateExpired.as_str(), what));
    }
    ending(subject, (*not_before, *not_after), now)
}

/// About to expire; without place and remedy.
pub(super) fn ending(
    whose: &str,
    (not_before, not_after): (Timestamp, Timestamp),
    now: Timestamp,
) -> Option<Finding> {
    let soon = ends_soon(not_before, not_after, SOON);
    let left = now.until(not_after).filter(|left| *left < soon)?;
    let id = if left < THIS_WEEK { Id::ExpiresThisWeek } else { Id::ExpiresSoon };
    let left = match left.as_secs() / DAY.as_secs() {
        0 => format!("{} minutes", left.as_secs() / 60),
        days => format!("{days} days"),
    };
    Some(Finding::warning(id, format!("{whose} expires at {not_after}, in {left}")))
}

/// A leaf that outlives what one who steals its key should have of it.
pub(super) fn long_lived(leaf: &CertificateSummary) -> Option<Finding> {
    let lifetime = leaf.not_before.until(leaf.not_after).filter(|lifetime| *lifetime > LONG)?;
    let what = format!(
        "is valid for {} days in all: whoever gets its key, and is not noticed, can use it \
         until {}",
        lifetime.as_secs() / DAY.as_secs(),
        leaf.not_after
    );
    Some(Finding::warning(Id::LongLived, what))
}

/// Adds to the remedy of a certificate from the future that it may be the clock which is
/// wrong; which of the two cannot be told from here.
pub(super) fn or_the_clock(finding: Finding) -> Finding {
    if finding.id != RefusalCode::CertificateNotYetValid.as_str() {
        return finding;
    }
    let remedy = format!(
        "if `date -u` shows a wrong time, set the clock: sudo timedatectl set-ntp true; else {}",
        finding.remedy
    );
    finding.fix(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_the_end_the_graver() {
        let now = Timestamp::from_unix_seconds(1_000_000_000);
        let in_days = |days: i64| {
            let end = Timestamp::from_unix_seconds(1_000_000_000 + days * 86_400);
            ending("it", (Timestamp::from_unix_seconds(0), end), now).map(|finding| finding.id)
        };
        assert_eq!(in_days(31), None);
        assert_eq!(in_days(29), Some(Id::ExpiresSoon.into()));
        assert_eq!(in_days(6), Some(Id::ExpiresThisWeek.into()));
    }

    #[test]
    fn what_lives_for_a_day_is_found_when_it_should_have_been_renewed() {
        let hour = |hour: i64| Timestamp::from_unix_seconds(hour * 3600);
        let at = |now| ending("it", (hour(0), hour(24)), hour(now)).map(|finding| finding.id);
        assert_eq!(at(1), None);
        assert_eq!(at(17), None);
        assert_eq!(at(19), Some(Id::ExpiresThisWeek.into()));
    }
}
