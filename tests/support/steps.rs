//! Killing the daemon at a step of its work, and following what it does.

use std::{collections::BTreeSet, path::PathBuf};

use super::{Node, leftovers::files_below};

impl Node {
    fn steps(&self, name: &str) -> PathBuf {
        self.scratch.join("steps").join(name)
    }

    /// Has the daemon killed when a step is reached for the `nth` time from now on.
    pub(crate) fn arm(&self, step: &str, nth: usize) {
        self.disarm();
        let staged = self.steps("staged");
        std::fs::write(&staged, format!("{step} {nth}\n")).unwrap();
        std::fs::rename(staged, self.steps("armed")).unwrap();
    }

    /// Takes that back.
    pub(crate) fn disarm(&self) {
        let _ = std::fs::remove_file(self.steps("armed"));
    }

    /// Begins to write down which steps are reached.
    pub(crate) fn follow(&self) {
        std::fs::write(self.steps("trace"), "").unwrap();
    }

    /// The steps reached since, in order.
    pub(crate) fn followed(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.steps("trace")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The same, and no more is written down.
    pub(crate) fn follow_no_more(&self) -> Vec<String> {
        let steps = self.followed();
        std::fs::remove_file(self.steps("trace")).unwrap();
        steps
    }

    /// Every file and directory of the daemon's.
    pub(crate) fn files(&self) -> BTreeSet<String> {
        [self.root(), self.runroot()]
            .iter()
            .flat_map(|dir| files_below(dir))
            .map(|path| format!("file {}", path.display()))
            .collect()
    }
}
