//! What is said when something fails.

use std::{
    fmt::{self, Write as _},
    fs::OpenOptions,
    io::{self, Write as _},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::PathBuf,
    rc::Rc,
};

use rustix::fs::MemfdFlags;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};

use crate::causes::whole;

use super::error::Failure;

/// Most of what a failing child says that is passed on.
const CAP: usize = 16 * 1024;

/// Begins a line that tells the whole of a failure, rather than a detail of it.
const VERDICT: u8 = 0x01;

/// Where errors of a call go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    /// A file; standard error when there is none.
    pub(super) path: Option<PathBuf>,
    /// As lines of JSON.
    pub(super) json: bool,
}

/// Tells of an error on standard error, and in the log where there is one.
pub(super) fn complain(log: &Log, error: &Failure) {
    let text = whole(error);
    let line = match log.json {
        true => serde_json::json!({ "level": "error", "msg": text }).to_string(),
        false => format!("level=error msg={text:?}"),
    };
    let Some(path) = &log.path else {
        eprintln!("{line}");
        return;
    };
    let mut open = OpenOptions::new();
    open.append(true).create(true).mode(0o600);
    // Standard error is where it is told, should the log not take it.
    let _ = open
        .open(path)
        .and_then(|mut file| writeln!(file, "{line}"));
    eprintln!("{text}");
}

/// What a call's children say, in memory that they share with it: pipes would have to be read meanwhile.
#[derive(Debug, Clone)]
pub(super) struct Sayings(Rc<OwnedFd>);

impl Sayings {
    /// Nothing said yet.
    pub(super) fn new() -> io::Result<Self> {
        let fd = rustix::fs::memfd_create("sayings", MemfdFlags::CLOEXEC)?;
        Ok(Self(Rc::new(fd)))
    }

    /// Has what the libraries report as errors go here.
    pub(super) fn listen(&self) -> io::Result<()> {
        let fd = self.0.try_clone()?;
        // It can be set once, and nobody else does it.
        let _ = tracing::subscriber::set_global_default(Ear(fd));
        Ok(())
    }

    /// Tells why a child fails.
    pub(super) fn verdict(&self, text: &str) {
        let mut line = vec![VERDICT];
        line.extend(text.bytes().map(|b| if b == b'\n' { b' ' } else { b }));
        line.push(b'\n');
        // The channel to the parent tells it too, if not as well.
        let _ = rustix::io::write(&*self.0, &line);
    }

    /// What failed: a child's verdict, or the first detail there is with what the caller knows.
    pub(super) fn made_of(&self, known: &str) -> String {
        let mut said = vec![0; CAP];
        let length = rustix::io::pread(&*self.0, &mut said, 0).unwrap_or(0);
        said.truncate(length);
        let mut lines = said.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
        let verdict = lines.clone().find_map(|line| line.strip_prefix(&[VERDICT]));
        match (verdict, lines.next()) {
            (Some(verdict), _) => text(verdict),
            (None, Some(detail)) => format!("{known} ({})", text(detail)),
            (None, None) => known.to_owned(),
        }
    }
}

/// Takes errors alone, from code that knows no other way to tell.
struct Ear(OwnedFd);

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR && !metadata.is_span()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::ERROR)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = format!("{}{}\n", line.message, line.fields).replace(char::from(VERDICT), " ");
        let _ = rustix::io::write(self.0.as_fd(), text.as_bytes());
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, ", {name}: {value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_counts_more_than_details() {
        let sayings = Sayings::new().unwrap();
        assert_eq!(sayings.made_of("known"), "known");
        rustix::io::write(&*sayings.0, b"first detail\nsecond\n").unwrap();
        assert_eq!(sayings.made_of("known"), "known (first detail)");
        sayings.verdict("all\nof it");
        assert_eq!(sayings.made_of("known"), "all of it");
    }

    #[test]
    fn the_log_takes_errors_whole() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log {
            path: Some(dir.path().join("log")),
            json: true,
        };
        complain(&log, &Failure::NoContainer);
        let failed = Failure::step("doing it")(io::Error::other("no \"way\""));
        complain(&log, &failed);
        let text = std::fs::read(dir.path().join("log")).unwrap();
        assert_eq!(crate::oci::message::extract(&text), "doing it: no \"way\"");
    }
}
