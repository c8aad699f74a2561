//! Points in time as text.

use std::time::{SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;
const NANOS: i64 = 1_000_000_000;

/// Now, in nanoseconds since 1970.
pub(super) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|span| i64::try_from(span.as_nanos()).ok())
        .unwrap_or(0)
}

/// Reads RFC 3339, like `2026-08-01T12:00:00.5+02:00`, into nanoseconds since 1970.
pub(super) fn parse_rfc3339(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let mut date = date.split('-');
    let (year, month, day) = (
        digits(date.next()?, 4)?,
        digits(date.next()?, 2)?,
        digits(date.next()?, 2)?,
    );
    if date.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let zone = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut clock = clock.split(':');
    let (hour, minute, second) = (
        digits(clock.next()?, 2)?,
        digits(clock.next()?, 2)?,
        digits(clock.next()?, 2)?,
    );
    if clock.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let nanos = digits(fraction, fraction.len())? * 10i64.pow(9 - fraction.len() as u32);
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            sign * (digits(hours, 2)? * 3600 + digits(minutes, 2)? * 60)
        }
    };
    let seconds = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset;
    seconds.checked_mul(NANOS)?.checked_add(nanos)
}

fn digits(text: &str, count: usize) -> Option<i64> {
    (text.len() == count && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

/// Days from 1970-01-01, in the Gregorian calendar: years that begin in March, in cycles of 400.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let cycle = year.div_euclid(400);
    let in_cycle = year.rem_euclid(400);
    let since_march = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    cycle * 146_097 + in_cycle * 365 + in_cycle / 4 - in_cycle / 100 + since_march - 719_468
}

/// How long ago `then` was, in the largest unit that fits.
pub(super) fn age(then: i64, now: i64) -> String {
    let seconds = (now - then).max(0) / NANOS;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / DAY),
    }
}

/// A number of bytes for people: `1.2 MiB`.
pub(super) fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    #[allow(clippy::cast_precision_loss)]
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_timestamps() {
        assert_eq!(parse_rfc3339("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse_rfc3339("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(
            parse_rfc3339("2000-02-29T00:00:00Z"),
            Some(951_782_400 * NANOS)
        );
        assert_eq!(
            parse_rfc3339("2016-10-06T00:17:09.669794202Z"),
            Some(1_475_713_029 * NANOS + 669_794_202)
        );
        assert_eq!(parse_rfc3339("1969-12-31T23:59:59.5Z"), Some(-NANOS / 2));
        for wrong in [
            "",
            "yesterday",
            "2016-13-01T00:00:00Z",
            "2016-10-06",
            "2016-10-06T00:17:09",
            "2016-10-06T00:17Z",
            "2016-10-06T00:17:09.Z",
            "2016-10-06T00:17:09+1",
        ] {
            assert_eq!(parse_rfc3339(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn tells_ages_and_sizes() {
        assert_eq!(age(0, 5 * NANOS), "5s");
        assert_eq!(age(0, 3599 * NANOS), "59m");
        assert_eq!(age(0, 100_000 * NANOS), "27h");
        assert_eq!(age(0, 200_000 * NANOS), "2d");
        assert_eq!(age(9, 0), "0s");
        assert_eq!(bytes(5), "5 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
    }

    proptest! {
        #[test]
        fn days_go_up_one_by_one(year in 1900i64..2200, month in 1i64..=12, day in 1i64..28) {
            prop_assert_eq!(days(year, month, day) + 1, days(year, month, day + 1));
            prop_assert_eq!(days(year, 12, 31) + 1, days(year + 1, 1, 1));
        }

        #[test]
        fn any_text_is_answered(text in ".{0,40}") {
            let _ = parse_rfc3339(&text);
        }
    }
}
