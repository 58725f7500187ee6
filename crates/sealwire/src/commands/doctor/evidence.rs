//! Whether there will be room for what happens: the audit log of the `serve` that runs.

use std::time::Duration;

use super::Case;
use super::finding::{Finding, Id};
use super::report::Report;
use crate::control::{Request, find};

/// How long a `serve` may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

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
    if log["nearly_full"] != true {
        return report.passed("there is room for the audit log", place);
    }
    let size = match (log["bytes"].as_u64(), log["most_bytes"].as_u64()) {
        (Some(bytes), Some(most)) => format!(" (it has {bytes} bytes of {most})"),
        _ => String::new(),
    };
    let what = format!(
        "there is little room left for the audit log{size}: without any, nothing is allowed"
    );
    let remedy = "raise max_total_size under [audit], let go of old entries by a smaller \
                  retention_days, or make room on its disk";
    report.found(Finding::warning(Id::AuditNearlyFull, what).at(place).fix(remedy));
}
