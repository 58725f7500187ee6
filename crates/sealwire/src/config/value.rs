//! Values with a unit.

use std::time::Duration;

/// Longest duration a setting may have.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);

/// Reads a duration such as `250ms`, `10s`, `2m`, `1h 30m`: longer than nothing, at
/// most 24 hours.
///
/// # Errors
/// What is expected instead.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected = "expected a duration such as \"250ms\", \"10s\", \"2m\" or \"1h\"";
    let signed: jiff::SignedDuration = text.parse().map_err(|_| expected.to_owned())?;
    let duration = Duration::try_from(signed).map_err(|_| expected.to_owned())?;
    if duration < Duration::from_millis(1) {
        return Err("must be at least 1ms".to_owned());
    }
    if duration > MAX_DURATION {
        return Err("must be at most 24h".to_owned());
    }
    Ok(duration)
}

/// Reads a size such as `512KiB`, `64MiB` or `65536B`, in bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let expected = || {
        "expected bytes, or a size with a binary unit such as \"512KiB\" or \"64MiB\"".to_owned()
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| expected())?;
    let factor: u64 = match unit.trim_start() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(expected()),
    };
    number.checked_mul(factor).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in
            [("250ms", 250), ("10s", 10_000), ("2m", 120_000), ("1h 30m", 5_400_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "0s", "10", "-1s", "1s ago", "25h", "1d", "ten", "1ns", "9999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("64MiB", 64 << 20), ("512 KiB", 512 << 10), ("7B", 7)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "64", "64MB", "64mib", "MiB", "-1KiB", "1.5MiB", "99999999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
