//! The steps of a debug build: traced and counted, up to one that is the daemon's last.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
};

use super::{Step, VARIABLE};

/// What the file `armed` said when it was last read, and how often its step was reached since.
#[derive(Debug, Default)]
struct Armed {
    text: String,
    reached: u64,
}

static ARMED: Mutex<Armed> = Mutex::new(Armed {
    text: String::new(),
    reached: 0,
});

/// Tells where the daemon's work is.
pub(crate) fn reached(step: Step) {
    static DIRECTORY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| std::env::var_os(VARIABLE).map(Into::into));
    if let Some(directory) = directory {
        // One step at a time, so that the trace is in order and nothing goes on beside the last of them.
        let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
        trace(directory, step);
        let text = fs::read_to_string(directory.join("armed")).unwrap_or_default();
        if armed.is_last(text, step) {
            end(directory);
        }
    }
}

impl Armed {
    fn is_last(&mut self, text: String, step: Step) -> bool {
        if self.text != text {
            *self = Self { text, reached: 0 };
        }
        let mut words = self.text.split_whitespace();
        if words.next() != Some(step.name()) {
            return false;
        }
        self.reached += 1;
        words.next().and_then(|count| count.parse().ok()) == Some(self.reached)
    }
}

fn trace(directory: &Path, step: Step) {
    // There only where somebody wants it.
    let file = OpenOptions::new()
        .append(true)
        .open(directory.join("trace"));
    if let Ok(mut file) = file {
        // A step that is missing there fails the test that asked for it.
        let _ = writeln!(file, "{}", step.name());
    }
}

/// The daemon's end, once: the next one finds nothing armed.
fn end(directory: &Path) -> ! {
    let _ = fs::rename(directory.join("armed"), directory.join("fired"));
    let own = rustix::process::getpid();
    loop {
        let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_counts_from_when_it_is_armed() {
        let mut armed = Armed::default();
        let mut last = |text: &str, step| armed.is_last(text.to_owned(), step);
        assert!(!last("", Step::ShmMounted));
        assert!(!last("shm-mounted 2\n", Step::ShmMounted));
        assert!(!last("shm-mounted 2\n", Step::ShmUnmounted));
        assert!(last("shm-mounted 2\n", Step::ShmMounted));
        assert!(!last("shm-mounted 2\n", Step::ShmMounted));
        assert!(last("shm-mounted 1\n", Step::ShmMounted));
        assert!(!last("shm-mounted\n", Step::ShmMounted));
    }
}
