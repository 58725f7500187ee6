use std::fmt::Debug;

use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds of what a call takes, in seconds: from that of a link on one machine to that of
/// somebody who thinks about a question.
const BUCKETS: [f64; 19] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0, 300.0,
];

/// What can be counted.
pub(super) trait Kind:
    EncodeMetric + TypedMetric + Clone + Debug + Send + Sync + 'static
{
    /// The word for it.
    const WORD: &'static str;

    /// One that has counted nothing.
    fn make() -> Self;
}

impl Kind for Counter {
    const WORD: &'static str = "counter";
    fn make() -> Self {
        Self::default()
    }
}

impl Kind for Gauge {
    const WORD: &'static str = "gauge";
    fn make() -> Self {
        Self::default()
    }
}

impl Kind for Histogram {
    const WORD: &'static str = "histogram";
    fn make() -> Self {
        Self::new(BUCKETS)
    }
}

type Labels = Vec<(&'static str, String)>;

/// A metric with its labels: one series for each value of them, and just one without any. What has
/// no series is not shown.
#[derive(Clone, Debug)]
pub(super) struct Labelled<M> {
    labels: &'static [&'static str],
    series: Family<Labels, M>,
}

impl<M: Kind> Labelled<M> {
    pub(super) fn new(labels: &'static [&'static str]) -> Self {
        Self { labels, series: Family::new_with_constructor(M::make) }
    }

    pub(super) fn register(
        &self,
        registry: &mut Registry,
        name: &'static str,
        help: &'static str,
        unit: Option<Unit>,
    ) {
        let series = self.series.clone();
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit, series),
            None => registry.register(name, help, series),
        }
    }

    /// The series of these values of the labels, begun if it is new. Kept by whoever counts often.
    pub(super) fn of<const N: usize>(&self, values: [&str; N]) -> M {
        debug_assert_eq!(self.labels.len(), N, "one value for each label");
        let values = values.into_iter().map(str::to_owned);
        self.series.get_or_create_owned(&self.labels.iter().copied().zip(values).collect())
    }

    /// The one series of what has no labels.
    pub(super) fn alone(&self) -> M {
        self.of([])
    }

    /// Ends all series: of what is told anew each time.
    pub(super) fn clear(&self) {
        self.series.clear();
    }
}
