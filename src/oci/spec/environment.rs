//! The environment of a process.

use super::SpecError;

/// Where programs are looked for when neither image nor request says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Kind of terminal when neither image nor request says.
const TERM: &str = "xterm";

/// An ordered environment in which a later value takes the place of an earlier one.
#[derive(Debug, Default)]
pub(super) struct Environment(Vec<(String, String)>);

impl Environment {
    /// Sets a variable.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), SpecError> {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(SpecError::EnvName(name.to_owned()));
        }
        if value.contains('\0') {
            return Err(SpecError::Nul {
                field: "environment variable",
                value: format!("{name}={value}"),
            });
        }
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
        Ok(())
    }

    /// Sets a variable that is not set.
    pub(super) fn set_default(&mut self, name: &str, value: &str) -> Result<(), SpecError> {
        if self.get(name).is_none() {
            self.set(name, value)?;
        }
        Ok(())
    }

    /// Takes over the `NAME=value` lines of an image; what has no name is passed over, as there is
    /// nothing a program could see of it.
    pub(super) fn set_lines(&mut self, lines: &[String]) -> Result<(), SpecError> {
        for line in lines {
            match line.split_once('=') {
                Some(("", _)) | None => {}
                Some((name, value)) => self.set(name, value)?,
            }
        }
        Ok(())
    }

    /// What every process finds set. Who has no home is at home in the root: some runtimes say so by themselves.
    pub(super) fn complete(&mut self, home: Option<&str>, tty: bool) -> Result<(), SpecError> {
        self.set_default("PATH", PATH)?;
        if tty {
            self.set_default("TERM", TERM)?;
        }
        self.set_default("HOME", home.unwrap_or("/"))
    }

    /// The value of a variable.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// As the runtime specification has it.
    pub(super) fn into_lines(self) -> Vec<String> {
        self.0
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn later_wins_in_the_place_of_the_earlier() {
        let mut env = Environment::default();
        env.set_lines(&["A=1".into(), "B=x=y".into(), "bare".into(), "=none".into()])
            .unwrap();
        env.set("A", "2").unwrap();
        env.complete(Some("/root"), true).unwrap();
        assert_eq!(
            env.into_lines(),
            [
                "A=2",
                "B=x=y",
                &format!("PATH={PATH}"),
                "TERM=xterm",
                "HOME=/root"
            ]
        );
    }

    #[test]
    fn everybody_has_a_home() {
        let mut env = Environment::default();
        env.complete(None, false).unwrap();
        assert_eq!(env.get("HOME"), Some("/"));
    }

    #[test]
    fn says_what_is_wrong() {
        let mut env = Environment::default();
        assert!(matches!(env.set("", "x"), Err(SpecError::EnvName(_))));
        assert!(matches!(env.set("A=B", "x"), Err(SpecError::EnvName(_))));
        assert!(matches!(env.set("A", "x\0"), Err(SpecError::Nul { .. })));
    }

    proptest! {
        #[test]
        fn names_are_unique(pairs: Vec<(String, String)>) {
            let mut env = Environment::default();
            for (name, value) in &pairs {
                let _ = env.set(name, value);
            }
            let lines = env.into_lines();
            let names: std::collections::HashSet<_> = lines.iter().map(|l| l.split('=').next()).collect();
            prop_assert_eq!(names.len(), lines.len());
        }
    }
}
