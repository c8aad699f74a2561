//! The exit record: the one durable fact about a container's end.
//!
//! It is a text of lines, the first of which has the version. As with the wire, a program reads its own version and the
//! one before, and a new version only gains lines, before the last.

use std::fmt::{self, Write as _};

use crate::wire::{choice, message};

/// Longest record.
pub const MAX_RECORD: usize = 512;

/// What the first line begins with; the version follows.
const HEAD: &str = "corten-exit ";
/// The only version there has been so far.
const VERSION: u32 = 1;

choice! {
    /// How a process ended.
    #[derive(Copy, Hash)]
    pub enum ExitStatus {
        /// It exited with a code.
        Code = 0 {
            /// The code, 0 to 255.
            code: i32,
        },
        /// A signal ended it.
        Signal = 1 {
            /// The signal's number.
            signal: i32,
        },
    }
}

impl ExitStatus {
    /// Whether it is exit code 0.
    pub fn success(self) -> bool {
        self == Self::Code { code: 0 }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code { code } => write!(f, "exit code {code}"),
            Self::Signal { signal } => write!(f, "signal {signal}"),
        }
    }
}

message! {
    /// How and when a container ended.
    #[derive(Copy, Hash)]
    pub struct ExitRecord {
        /// How init ended.
        pub status: ExitStatus,
        /// The kernel killed a process of the container for want of memory.
        pub oom_killed: bool,
        /// When init was reaped, in nanoseconds since 1970 (UTC).
        pub finished_at: i64,
        /// All output up to its end is in the log.
        pub log_drained: bool,
    }
}

/// A file that is not a whole exit record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError(String);

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an exit record: {}", self.0)
    }
}

impl std::error::Error for RecordError {}

impl ExitRecord {
    /// The record as the text of its file.
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(128);
        let (kind, number) = match self.status {
            ExitStatus::Code { code } => ("code", code),
            ExitStatus::Signal { signal } => ("signal", signal),
        };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{HEAD}{VERSION}\nstatus {kind} {number}\noom_killed {}\nfinished_at {}\nlog_drained {}\nend\n",
            self.oom_killed, self.finished_at, self.log_drained
        );
        text
    }

    /// Reads the text of a record's file.
    pub fn from_text(text: &[u8]) -> Result<Self, RecordError> {
        let bad = |why: &str| RecordError(why.to_owned());
        if text.len() > MAX_RECORD {
            return Err(RecordError(format!(
                "{} bytes, at most {MAX_RECORD} are possible",
                text.len()
            )));
        }
        let text = std::str::from_utf8(text).map_err(|_| bad("it is not text"))?;
        let mut lines = text.lines();
        match lines.next().and_then(|line| line.strip_prefix(HEAD)) {
            Some(version) if version == VERSION.to_string() => {}
            Some(version) => {
                return Err(RecordError(format!(
                    "it is of version {version:?}, and {VERSION} is understood here"
                )));
            }
            None => return Err(RecordError(format!("it does not begin with {HEAD:?}"))),
        }
        let mut field = |name: &str| {
            lines
                .next()
                .and_then(|line| line.strip_prefix(name)?.strip_prefix(' '))
                .ok_or_else(|| RecordError(format!("{name} is missing")))
        };
        let flag = |name: &str, value: &str| {
            value
                .parse()
                .map_err(|_| RecordError(format!("{name} is {value:?}")))
        };
        let status = field("status")?;
        let status = match status.split_once(' ').map(|(kind, n)| (kind, n.parse())) {
            Some(("code", Ok(code))) => ExitStatus::Code { code },
            Some(("signal", Ok(signal))) => ExitStatus::Signal { signal },
            _ => return Err(RecordError(format!("status is {status:?}"))),
        };
        let oom_killed = flag("oom_killed", field("oom_killed")?)?;
        let at = field("finished_at")?;
        let finished_at = at
            .parse()
            .map_err(|_| RecordError(format!("finished_at is {at:?}")))?;
        let log_drained = flag("log_drained", field("log_drained")?)?;
        if (lines.next(), lines.next()) != (Some("end"), None) || !text.ends_with('\n') {
            return Err(bad("it is cut short"));
        }
        Ok(Self {
            status,
            oom_killed,
            finished_at,
            log_drained,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> impl Strategy<Value = ExitRecord> {
        (
            any::<i32>(),
            any::<bool>(),
            any::<bool>(),
            any::<i64>(),
            any::<bool>(),
        )
            .prop_map(
                |(n, signal, oom_killed, finished_at, log_drained)| ExitRecord {
                    status: if signal {
                        ExitStatus::Signal { signal: n }
                    } else {
                        ExitStatus::Code { code: n }
                    },
                    oom_killed,
                    finished_at,
                    log_drained,
                },
            )
    }

    proptest! {
        #[test]
        fn every_record_reads_back(record in record()) {
            let text = record.to_text();
            prop_assert!(text.len() <= MAX_RECORD);
            prop_assert_eq!(ExitRecord::from_text(text.as_bytes()), Ok(record));
        }

        #[test]
        fn no_part_of_a_record_is_a_record(record in record(), cut in 0usize..200) {
            let text = record.to_text();
            if cut < text.len() {
                prop_assert!(ExitRecord::from_text(&text.as_bytes()[..cut]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = ExitRecord::from_text(&bytes);
        }
    }
}
