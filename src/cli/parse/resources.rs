//! `--memory SIZE` and `--cpus NUMBER`.

use crate::config::Size;

/// Scheduling period that `--cpus` is a share of, in microseconds.
pub(in crate::cli) const CPU_PERIOD: i64 = 100_000;

/// Reads a size of memory in bytes.
pub(in crate::cli) fn memory(text: &str) -> Result<i64, String> {
    let size: Size = text.parse()?;
    if size < Size::mib(4) {
        return Err("is less than a container needs to start; give at least 4MiB".into());
    }
    i64::try_from(size.bytes()).map_err(|_| "is too large".into())
}

/// Reads a number of CPUs into microseconds of each period.
pub(in crate::cli) fn cpus(text: &str) -> Result<i64, String> {
    let wrong = || "is not a number of CPUs; write one like 2 or 0.5".to_owned();
    let number: f64 = text.parse().map_err(|_| wrong())?;
    // The kernel takes no quota below a millisecond.
    if !(0.01..=8192.0).contains(&number) {
        return Err("must lie between 0.01 and 8192".into());
    }
    #[allow(clippy::cast_possible_truncation)]
    let quota = (number * CPU_PERIOD as f64).round() as i64;
    Ok(quota)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_limits() {
        assert_eq!(memory("64MiB"), Ok(64 << 20));
        assert_eq!(memory("1g"), Ok(1 << 30));
        assert!(memory("1k").is_err());
        assert!(memory("lots").is_err());
        assert_eq!(cpus("0.5"), Ok(50_000));
        assert_eq!(cpus("2"), Ok(200_000));
        for wrong in ["0", "-1", "NaN", "inf", "two", "1e9"] {
            assert!(cpus(wrong).is_err(), "{wrong}");
        }
    }
}
