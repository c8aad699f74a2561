//! `--user NAME|UID[:GID]`.

/// Who the container runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum UserArg {
    /// By number.
    Id(u32, Option<u32>),
    /// By a name of the image's.
    Name(String, Option<u32>),
}

impl std::str::FromStr for UserArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let gid = match group {
            None => None,
            Some(group) => Some(group.parse().map_err(|_| {
                format!("the group {group:?} is not a number; write NAME, UID, NAME:GID or UID:GID")
            })?),
        };
        if user.is_empty() {
            return Err("names no user; write NAME, UID, NAME:GID or UID:GID".into());
        }
        if user.bytes().all(|b| b.is_ascii_digit()) {
            return user
                .parse()
                .map(|uid| Self::Id(uid, gid))
                .map_err(|_| format!("the user ID {user} is larger than {}", u32::MAX));
        }
        if user.starts_with('-') || user.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(format!("{user:?} is not a user name"));
        }
        Ok(Self::Name(user.to_owned(), gid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_users() {
        assert_eq!("7".parse(), Ok(UserArg::Id(7, None)));
        assert_eq!("7:8".parse(), Ok(UserArg::Id(7, Some(8))));
        assert_eq!("www".parse(), Ok(UserArg::Name("www".into(), None)));
        assert_eq!("www:8".parse(), Ok(UserArg::Name("www".into(), Some(8))));
        // A number that does not fit must never wrap round to root.
        for wrong in ["", ":8", "4294967296", "-1", "7:www", "a b", "7:4294967296"] {
            assert!(wrong.parse::<UserArg>().is_err(), "{wrong}");
        }
    }
}
