//! Whether what happens can be recorded, and for how long: the audit log of the `serve` that runs.

use std::io::{self, ErrorKind};
use std::time::Duration;

use sealwire::config::SecureMcpConfig;

use super::Case;
use super::finding::{Finding, Id};
use super::report::Report;
use crate::cli::printable;
use crate::control::{Answer, Request, find};

/// How much of `max_total_size` is used when `serve` calls it little room, in hundredths
/// (docs/alerts.md).
const WARN_AT: u64 = 80;

/// Asks the one that runs with this home; whoever may not ask it hears nothing.
pub(super) fn examine(case: &Case<'_>, report: &mut Report) {
    let Some(config) = &case.config else { return };
    let Ok(Some(daemon)) = find(&config.layout()) else { return };
    // None at all is refused by the system.
    let patience = case.patience.max(Duration::from_millis(1));
    let asked = daemon.within(patience).and_then(|mut daemon| daemon.exchange(&Request::Status {}));
    let log = match asked {
        Ok(Answer::Done(status)) => status["audit"].clone(),
        Ok(Answer::Failed { .. }) => return,
        Err(error) => return report.found(silent(case, config, &error)),
    };
    if log.is_null() {
        return;
    }
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

/// It runs, and nothing can be asked of it.
fn silent(case: &Case<'_>, config: &SecureMcpConfig, error: &io::Error) -> Finding {
    let why = match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("no answer within {:?}", case.patience)
        }
        _ => error.to_string(),
    };
    let what = format!("the serve that runs with this home does not answer: {why}");
    let place = config.layout().control_socket();
    Finding::warning(Id::ServeSilent, what).at(place.display()).fix(format!(
        "see its log for what keeps it, or restart it: {}; if it is only slow: --timeout 60s",
        case.sealwire("serve")
    ))
}
