//! Numbers within their ranges.

use std::ops::RangeInclusive;

use super::error::{At, FieldError};

/// Largest user or group ID: the one after it means "no change" to the kernel.
pub const ID_MAX: u32 = u32::MAX - 1;

/// A number in `range`; zero means it was not set.
pub fn optional(
    at: &At<'_>,
    value: i64,
    range: RangeInclusive<i64>,
    what: &str,
) -> Result<Option<i64>, FieldError> {
    if value == 0 {
        return Ok(None);
    }
    if !range.contains(&value) {
        return Err(at.bad_number(
            value,
            format!("is not {what} ({} to {})", range.start(), range.end()),
        ));
    }
    Ok(Some(value))
}

/// A user or group ID; `what` is "a user ID" or "a group ID".
pub fn id(at: &At<'_>, value: i64, what: &str) -> Result<u32, FieldError> {
    u32::try_from(value)
        .ok()
        .filter(|id| *id <= ID_MAX)
        .ok_or_else(|| at.bad_number(value, format!("is not {what} (0 to {ID_MAX})")))
}

/// A list of group IDs.
pub fn groups(at: &At<'_>, values: &[i64]) -> Result<Vec<u32>, FieldError> {
    values
        .iter()
        .enumerate()
        .map(|(i, value)| id(&at.index(i), *value, "a group ID"))
        .collect()
}

/// A value of an enumeration of the protocol.
pub fn choice<E: TryFrom<i32>>(at: &At<'_>, value: i32, what: &str) -> Result<E, FieldError> {
    E::try_from(value).map_err(|_| at.bad_number(value, format!("is not {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: At<'static> = At::root("f");

    #[test]
    fn ranges() {
        assert_eq!(optional(&AT, 0, 2..=5, "x"), Ok(None));
        assert_eq!(optional(&AT, 5, 2..=5, "x"), Ok(Some(5)));
        assert_eq!(
            optional(&AT, 6, 2..=5, "a weight").unwrap_err().to_string(),
            "f: 6 is not a weight (2 to 5)"
        );
        assert_eq!(id(&AT, 4_294_967_294, "a user ID"), Ok(ID_MAX));
        assert_eq!(
            id(&AT, 4_294_967_296, "a user ID").unwrap_err().to_string(),
            "f: 4294967296 is not a user ID (0 to 4294967294)"
        );
        assert!(id(&AT, 4_294_967_295, "a user ID").is_err());
        assert_eq!(
            groups(&AT, &[1, -1]).unwrap_err().to_string(),
            "f[1]: -1 is not a group ID (0 to 4294967294)"
        );
    }
}
