//! Whether what happens can be recorded, and for how long: the audit log of the `serve` that runs.

use std::time::Duration;

use super::Case;
use super::finding::{Finding, Id};
use super::report::Report;
use crate::cli::printable;
use crate::control::{Request, find};

/// How long a `serve` may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of `max_total_size` is used when `serve` calls it little room, in hundredths
/// (docs/alerts.md).
const WARN_AT: u64 = 80;

/// Asks the one that runs with this home; whoever may not ask it hears nothing.
pub(super) fn examine(case: &Case<'_>, report: &mut Report) {
    let Some(config) = &case.config else { return };
    let Ok(Some(daemon)) = find(&config.layout()) else { return };
    let asked = daemon.within(PATIENCE).ok();
    let status = asked.and_then(|mut daemon| daemon.ask(&Request::Status {}).ok());
    let Some(log) = status.map(|status| status["audit"].clone()).filter(|log| !log.is_null())
    else {
        return;
    };
    let place = config.audit.log_dir.display();
    if let Some(trouble) = log["trouble"].as_str() {
        let why = printable(trouble);
        let what = format!("the audit log cannot be written, so nothing is allowed: {why}");
        let remedy = "mend that: serve goes on by itself once it can be written";
        return report.found(Finding::error(Id::AuditUnwritable, what).at(place).fix(remedy));
    }
    if log["nearly_full"] != true {
        return report.passed("there is room for the audit log", place);
    }
    let own_limit = match (log["bytes"].as_u64(), log["most_bytes"].as_u64()) {
        (Some(bytes), Some(most)) if bytes.saturating_mul(100) >= most.saturating_mul(WARN_AT) => {
            Some((bytes, most))
        }
        _ => None,
    };
    let (limit, remedy) = match own_limit {
        Some((bytes, most)) => {
            (format!("it has {bytes} bytes of {most}"), "raise max_total_size under [audit]")
        }
        None => ("on its disk".to_owned(), "make room on that disk"),
    };
    let what = format!(
        "there is little room left for the audit log, {limit}: without any, nothing is allowed"
    );
    let remedy = format!(
        "{remedy}; a smaller retention_days lets go of old entries at midnight (UTC) or a restart"
    );
    report.found(Finding::warning(Id::AuditNearlyFull, what).at(place).fix(remedy));
}
