//! Who a container runs as.

use super::{
    error::{At, FieldError},
    number, text,
};
use crate::{
    container::spec::{GroupsPolicy, RunAs},
    cri::api,
};

/// The user asked for. A group alone is refused: it would belong to a user nobody named.
pub fn run_as(
    at: &At<'_>,
    uid: Option<api::Int64Value>,
    username: String,
    gid: Option<api::Int64Value>,
) -> Result<RunAs, FieldError> {
    let gid = gid
        .map(|gid| number::id(&at.field("run_as_group"), gid.value, "a group ID"))
        .transpose()?;
    match (uid, username.is_empty()) {
        (Some(_), false) => Err(at.field("run_as_username").bad(
            &username,
            "is given together with run_as_user, only one can be",
        )),
        (Some(uid), true) => Ok(RunAs::Ids {
            uid: number::id(&at.field("run_as_user"), uid.value, "a user ID")?,
            gid,
        }),
        (None, false) => Ok(RunAs::Name {
            name: user_name(&at.field("run_as_username"), username)?,
            gid,
        }),
        (None, true) => match gid {
            Some(gid) => Err(at
                .field("run_as_group")
                .bad_number(gid, "is given without run_as_user or run_as_username")),
            None => Ok(RunAs::Image),
        },
    }
}

/// A name that can stand in `/etc/passwd`.
fn user_name(at: &At<'_>, value: String) -> Result<String, FieldError> {
    let value = text::word(at, value, 256)?;
    if value.contains([':', '/', ',']) {
        return Err(at.bad(&value, "is not a user name"));
    }
    Ok(value)
}

/// Whether the image's groups are added.
pub fn groups_policy(at: &At<'_>, value: i32) -> Result<GroupsPolicy, FieldError> {
    Ok(match number::choice(at, value, "a policy")? {
        api::SupplementalGroupsPolicy::Merge => GroupsPolicy::Merge,
        api::SupplementalGroupsPolicy::Strict => GroupsPolicy::Strict,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: At<'static> = At::root("sc");

    fn run(uid: Option<i64>, name: &str, gid: Option<i64>) -> Result<RunAs, String> {
        let value = |v: Option<i64>| v.map(|value| api::Int64Value { value });
        run_as(&AT, value(uid), name.into(), value(gid)).map_err(|e| e.to_string())
    }

    #[test]
    fn users() {
        assert_eq!(run(None, "", None), Ok(RunAs::Image));
        assert_eq!(run(Some(0), "", None), Ok(RunAs::Ids { uid: 0, gid: None }));
        assert_eq!(
            run(None, "www", Some(33)),
            Ok(RunAs::Name {
                name: "www".into(),
                gid: Some(33)
            })
        );
        assert_eq!(
            run(None, "", Some(5)).unwrap_err(),
            "sc.run_as_group: 5 is given without run_as_user or run_as_username"
        );
        assert_eq!(
            run(Some(-5), "", None).unwrap_err(),
            "sc.run_as_user: -5 is not a user ID (0 to 4294967294)"
        );
        assert!(run(Some(1 << 32), "", None).is_err());
        assert!(run(Some(1), "www", None).is_err());
        assert!(run(None, "www:0\nroot", None).is_err());
    }
}
