//! Until when it is known what is revoked, where the authority is elsewhere and tells.

use std::time::{Duration, SystemTime};

use sealwire::denylist::{Denylist, Edition};
use sealwire_names::Timestamp;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::protocol::Answer;
use super::service::{Service, Serving, lock};

/// Before anything was told.
const NEVER: Timestamp = Timestamp::from_unix_millis(0);

/// What is known of that.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Whether nobody is let in without it.
    is_wanted: bool,
    /// The list that is gone by.
    edition: Option<Edition>,
    /// Whether it was told that it is out of date.
    is_stale: bool,
}

impl Known {
    /// By the list that was gone by last.
    pub(super) fn of(edition: Option<Edition>) -> Self {
        Self { edition, ..Self::default() }
    }

    /// Until when, if that matters.
    pub(super) fn until(&self) -> Option<Timestamp> {
        let until = self.edition.map_or(NEVER, |edition| edition.until());
        self.is_wanted.then_some(until)
    }

    /// As commands show it.
    pub(super) fn as_json(&self) -> Value {
        let now: Timestamp = SystemTime::now().into();
        let edition = self.edition.map(|edition| {
            json!({
                "number": edition.number,
                "issued": edition.issued.to_string(),
                "until": edition.until().to_string(),
            })
        });
        json!({
            "wanted": self.is_wanted,
            "known": self.until().is_none_or(|until| now <= until),
            "list": edition,
        })
    }
}

impl Service {
    /// Takes over what the authority says is revoked.
    ///
    /// # Errors
    /// Why not, in words.
    pub(crate) async fn learn(&self, list: Denylist) -> Result<(), String> {
        let edition = list.edition;
        let learned = self.change(move |state| state.learn(&list)).await;
        learned.map_err(|answer| match answer {
            Answer::Failed { what, .. } => what,
            Answer::Done(_) => String::new(),
        })??;
        let mut serving = lock(&self.0.serving);
        serving.known.edition = Some(edition);
        self.put_in_force(&serving);
        self.look_whether_known(&mut serving);
        self.0.told.notify_waiters();
        Ok(())
    }

    /// Waits until it is known what is revoked, if that is wanted, but not for ever: nobody is
    /// let in before, whether we wait or not.
    pub(crate) async fn known(&self, patience: Duration) {
        let waiting = async {
            loop {
                let told = self.0.told.notified();
                let until = lock(&self.0.serving).known.until();
                if until.is_none_or(|until| Timestamp::from(SystemTime::now()) <= until) {
                    return;
                }
                told.await;
            }
        };
        if timeout(patience, waiting).await.is_err() {
            tracing::warn!("nobody is let in before the authority tells what is revoked");
        }
    }

    /// From now on, nobody is let in without knowing, or is.
    pub(super) fn want_known(&self, serving: &mut Serving, is_wanted: bool) {
        if serving.known.is_wanted != is_wanted {
            serving.known.is_wanted = is_wanted;
            self.put_in_force(serving);
            self.look_whether_known(serving);
        }
    }

    /// Ends what stands when it is known no longer, and tells.
    pub(super) fn look_whether_known(&self, serving: &mut Serving) {
        let now = Timestamp::from(SystemTime::now());
        let stale = serving.known.until().filter(|until| now > *until);
        if stale.is_some() == serving.known.is_stale {
            return;
        }
        serving.known.is_stale = stale.is_some();
        self.0.readiness.unknown_since(stale);
        match stale {
            Some(NEVER) => {}
            Some(until) => {
                tracing::error!(
                    %until,
                    "what is revoked is not known any more: nobody is let in until the authority tells"
                );
                // Who is connected is asked about again.
                self.put_in_force(serving);
            }
            None => tracing::info!("it is known what is revoked"),
        }
    }
}
