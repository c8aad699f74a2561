//! Timestamps without allocation.

/// Length of a timestamp's text.
pub const STAMP_LEN: usize = 30;

/// A time as RFC 3339 text in UTC, with nanoseconds: `2026-08-01T12:34:56.123456789Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp([u8; STAMP_LEN]);

impl Stamp {
    /// The time so many seconds and nanoseconds after 1970. Years end with 9999, and begin with 1970.
    pub fn new(seconds: i64, nanos: u32) -> Self {
        const LAST: u64 = 253_402_300_799;
        let seconds = u64::try_from(seconds).unwrap_or(0).min(LAST);
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = civil(days);
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        for (at, width, value) in [
            (0, 4, year),
            (5, 2, month),
            (8, 2, day),
            (11, 2, rest / 3600),
            (14, 2, rest / 60 % 60),
            (17, 2, rest % 60),
            (20, 9, u64::from(nanos.min(999_999_999))),
        ] {
            digits(&mut text[at..at + width], value);
        }
        Self(text)
    }

    /// The time now.
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Self::new(now.tv_sec, u32::try_from(now.tv_nsec).unwrap_or(0))
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8; STAMP_LEN] {
        &self.0
    }
}

fn digits(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Year, month and day of a day counted from 1970-01-01 in the Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    // Count from 0000-03-01, so that the leap day is a year's last, in cycles of 400 years.
    let days = days + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March have 31, 30, 31, 30, 31 days again and again: 153 in five.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (cycle * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(seconds: i64, nanos: u32) -> String {
        String::from_utf8(Stamp::new(seconds, nanos).as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn known_times() {
        assert_eq!(text(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(text(951_782_400, 1), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(
            text(1_709_251_199, 999_999_999),
            "2024-02-29T23:59:59.999999999Z"
        );
        assert_eq!(text(1_735_689_599, 5), "2024-12-31T23:59:59.000000005Z");
        assert_eq!(text(4_107_542_400, 0), "2100-03-01T00:00:00.000000000Z");
        assert_eq!(text(-5, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(text(i64::MAX, u32::MAX), "9999-12-31T23:59:59.999999999Z");
    }

    proptest! {
        #[test]
        fn agrees_with_a_slow_calendar(days in 0u64..110_000) {
            let (mut year, mut left) = (1970u64, days);
            let leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
            while left >= 365 + u64::from(leap(year)) {
                left -= 365 + u64::from(leap(year));
                year += 1;
            }
            let mut month = 1u64;
            for len in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
                if left < len {
                    break;
                }
                left -= len;
                month += 1;
            }
            prop_assert_eq!(civil(days), (year, month, left + 1));
        }
    }
}
