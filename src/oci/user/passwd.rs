//! The lines of `/etc/passwd` and `/etc/group`, as an image has them: data to be wary of.

/// A line of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// User name.
    pub name: String,
    /// User ID.
    pub uid: u32,
    /// Primary group ID.
    pub gid: u32,
    /// Home directory; empty when it could not be one.
    pub home: String,
}

/// A line of `/etc/group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Group name.
    pub name: String,
    /// Group ID.
    pub gid: u32,
    /// User names, as written, separated by commas.
    members: String,
}

impl Group {
    /// Whether that user is listed.
    pub fn has_member(&self, user: &str) -> bool {
        !user.is_empty() && self.members.split(',').any(|m| m.trim() == user)
    }
}

/// The largest ID that can be used: IDs beyond it turn negative in places, and 4294967295 means
/// "no change" to the kernel.
pub const MAX_ID: u32 = i32::MAX as u32;

/// The accounts of a `passwd` file. Lines that are none are passed over.
pub fn accounts(text: &[u8]) -> impl Iterator<Item = Account> + '_ {
    lines(text).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let _password = fields.next()?;
        let uid = id(fields.next()?)?;
        let gid = id(fields.next()?)?;
        let _comment = fields.next();
        let home = fields.next().unwrap_or("");
        (!name.is_empty()).then(|| Account {
            name: name.to_owned(),
            uid,
            gid,
            home: home_of(home),
        })
    })
}

/// The groups of a `group` file. Lines that are none are passed over.
pub fn groups(text: &[u8]) -> impl Iterator<Item = Group> + '_ {
    lines(text).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let _password = fields.next()?;
        let gid = id(fields.next()?)?;
        let members = fields.next().unwrap_or("");
        (!name.is_empty()).then(|| Group {
            name: name.to_owned(),
            gid,
            members: members.to_owned(),
        })
    })
}

/// An ID in plain decimal digits, within range.
pub fn id(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|id| *id <= MAX_ID)
}

fn lines(text: &[u8]) -> impl Iterator<Item = &str> {
    text.split(|b| *b == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// A home directory becomes an environment variable: one that is not a plain absolute path is none.
fn home_of(text: &str) -> String {
    if text.starts_with('/') && text.len() < 4096 && !text.contains(char::is_control) {
        text.to_owned()
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_is_usual_and_passes_over_the_rest() {
        let text = b"root:x:0:0:root:/root:/bin/sh\n\n# note\nshort:x\nbig:x:4294967296:0::/:\n\
            max:x:2147483648:0::/:\nneg:x:-1:0::/:\n:x:5:5::/:\nodd:x:7:8::home\nweb:x:33:34\r\n\xff:x:1:1::/:\n";
        let found: Vec<_> = accounts(text)
            .map(|a| (a.name, a.uid, a.gid, a.home))
            .collect();
        assert_eq!(
            found,
            [
                ("root".into(), 0, 0, "/root".into()),
                ("odd".into(), 7, 8, String::new()),
                ("web".into(), 33, 34, String::new()),
            ]
        );
        let text = b"root:x:0:\nwheel:x:10:root, admin\nbad:x:ten:root\n";
        let found: Vec<_> = groups(text).collect();
        assert_eq!(found.len(), 2);
        assert!(found[1].has_member("root") && found[1].has_member("admin"));
        assert!(!found[1].has_member("") && !found[1].has_member("roo"));
    }

    proptest! {
        #[test]
        fn any_bytes_will_do(text: Vec<u8>) {
            for account in accounts(&text) {
                prop_assert!(account.uid <= MAX_ID && account.gid <= MAX_ID);
                prop_assert!(!account.name.contains([':', '\n']));
                prop_assert!(!account.home.contains('\n'));
            }
            let _ = groups(&text).count();
        }

        #[test]
        fn what_is_written_is_read(name in "[a-z][a-z0-9_-]{0,20}", uid in 0..=MAX_ID, gid in 0..=MAX_ID) {
            let text = format!("x:y\n{name}:x:{uid}:{gid}::/home/{name}:/bin/sh\n");
            let found: Vec<_> = accounts(text.as_bytes()).collect();
            prop_assert_eq!(found, vec![Account { name: name.clone(), uid, gid, home: format!("/home/{name}") }]);
        }
    }
}
