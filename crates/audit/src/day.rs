//! Days in UTC, by which the log is divided.

use std::fmt;
use std::str::FromStr;

use sealwire_names::Timestamp;

const MILLIS: i64 = 86_400_000;
/// 9999-12-31: later ones have no name of ten characters.
const LAST: i64 = 2_932_896;

/// A day in UTC, from 1970 to 9999. Shown as `2026-11-23`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(i64);

/// A text is not the name of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a day, as in 2026-11-23")]
pub struct NoDay;

impl Day {
    /// The day of a moment; the first or the last where it has none.
    pub fn of(time: Timestamp) -> Self {
        Self(time.unix_millis().div_euclid(MILLIS).clamp(0, LAST))
    }

    /// When it begins.
    pub fn start(self) -> Timestamp {
        Timestamp::from_unix_millis(self.0 * MILLIS)
    }

    /// So many days earlier, or the first.
    #[must_use]
    pub fn earlier(self, days: u32) -> Self {
        Self((self.0 - i64::from(days)).max(0))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = self.start().to_string();
        f.write_str(&moment[..10])
    }
}

impl FromStr for Day {
    type Err = NoDay;

    fn from_str(text: &str) -> Result<Self, NoDay> {
        let mut parts = text.splitn(3, '-').map(|part| part.parse::<i64>().map_err(|_| NoDay));
        let mut next = || parts.next().unwrap_or(Err(NoDay));
        let (year, month, day) = (next()?, next()?, next()?);
        if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day)
        {
            return Err(NoDay);
        }
        // Near enough from below, and then to it: a month at most.
        let near = (year - 1970) * 365 + (year - 1969) / 4 - (year - 1901) / 100
            + (year - 1601) / 400
            + (month - 1) * 30;
        (near - 3..near + 36)
            .filter(|day| (0..=LAST).contains(day))
            .map(Self)
            .find(|day| day.to_string() == text)
            .ok_or(NoDay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_has_a_name_and_is_found_by_it() {
        for number in (0..60_000).chain([LAST - 1, LAST]) {
            let day = Day(number);
            assert_eq!(day.to_string().parse(), Ok(day));
            assert_eq!(Day::of(day.start()), day);
            let last = Timestamp::from_unix_millis(day.start().unix_millis() + MILLIS - 1);
            assert_eq!(Day::of(last), day);
        }
        assert_eq!("2026-11-23".parse::<Day>().unwrap().earlier(90).to_string(), "2026-08-25");
    }

    #[test]
    fn other_texts_name_no_day() {
        for text in [
            "",
            "2026-02-30",
            "2026-2-03",
            "+2026-02-03",
            "1969-12-31",
            "10000-01-01",
            "x",
            "2026-11-23.jsonl",
        ] {
            assert_eq!(text.parse::<Day>(), Err(NoDay), "{text}");
        }
        assert_eq!(Day::of(Timestamp::from_unix_millis(-1)), Day(0));
        assert_eq!(Day::of(Timestamp::from_unix_millis(i64::MAX)), Day(LAST));
    }
}
