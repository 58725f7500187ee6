//! Whether anybody would be told: the settings of alerts, their secrets, and whether receivers
//! can be reached.

use std::sync::Arc;

use sealwire::config::Secret;

use super::Case;
use super::finding::{Finding, Id};
use super::progress::Checks;
use super::report::Report;
use crate::alerts::{Channel, Setup};

/// Looks at what the configuration says.
pub(super) fn examine(case: &Case<'_>, report: &mut Report) {
    let Some(config) = &case.config else { return };
    let place = case.context.config_file.display();
    let alerts = &config.alerts;
    if !alerts.enabled {
        if alerts.slack.is_some() || alerts.webhook.is_some() || alerts.email.is_some() {
            let what = "alerts are configured, and turned off: nobody is told of an incident";
            let remedy = "remove enabled = false from [audit.alerts] when it has served its turn";
            report.found(Finding::note(Id::AlertsOff, what).at(place).fix(remedy));
        }
        return;
    }
    let mark = report.mark();
    for (key, secret) in alerts.secrets() {
        let Err((what, remedy)) = secret.read() else { continue };
        let what = format!("{key}: {what}");
        report.found(match secret {
            Secret::File(file) => {
                Finding::error(Id::AlertsSecret, what).at(file.display()).fix(remedy)
            }
            Secret::Variable(_) => {
                let what = format!("{what} here; `serve` does not start without it");
                Finding::warning(Id::AlertsSecret, what).at(&place).fix(remedy)
            }
        });
    }
    if report.mark() != mark {
        return;
    }
    match Setup::load(config) {
        Ok(Some(setup)) => {
            for (name, channel) in setup.channels().filter(|(_, channel)| channel.is_in_clear()) {
                let receiver = channel.receiver();
                let what = format!(
                    "{name} goes to {receiver} in the clear: who is on this machine may read it"
                );
                let remedy = "use https://, or security = \"starttls\" under [audit.alerts.smtp]";
                report.found(Finding::warning(Id::AlertsInClear, what).at(&place).fix(remedy));
            }
        }
        Ok(None) => {}
        Err(failure) => {
            let found = Finding::error(Id::AlertsUnusable, failure.one_line()).at(&place);
            report.found(found.fix("correct [audit.alerts] as docs/alerts.md says"));
        }
    }
    if report.mark() == mark {
        report.passed("alerts can be sent, as far as settings tell", place);
    }
}

/// Adds a connection to each receiver, to whom nothing is sent.
pub(super) fn reach_all(case: &Case<'_>, checks: &mut Checks) {
    let Some(config) = &case.config else { return };
    // What is wrong with it has been found.
    let Ok(Some(setup)) = Setup::load(config) else { return };
    for (name, channel) in setup.channels() {
        let place = case.context.config_file.display().to_string();
        checks.add(format!("alerts by {name}"), reach(name, Arc::clone(channel), place));
    }
}

async fn reach(name: &'static str, channel: Arc<Channel>, place: String) -> Report {
    let mut report = Report::default();
    let receiver = channel.receiver();
    match channel.try_out().await {
        Ok(()) => report.passed(format!("{name} can be reached"), receiver),
        Err(undelivered) => {
            let what = format!("alerts by {name} cannot be delivered: {}", undelivered.reason);
            let remedy = format!(
                "correct [audit.alerts] in {place}, or mend the way there; then run: sealwire alerts test"
            );
            report.found(Finding::error(Id::AlertsUnreachable, what).at(receiver).fix(remedy));
        }
    }
    report
}
