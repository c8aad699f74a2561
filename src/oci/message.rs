//! What a runtime said when it failed: its own text, whole, and what it means.
//!
//! Runtimes tell errors apart by text alone; this is the one place that reads it.

use std::{fs::File, io::Read, path::Path};

use serde::Deserialize;

/// Most of a message that is kept.
const MESSAGE_CAP: usize = 64 * 1024;

/// Most of a log file that is read, from its end.
const LOG_CAP: u64 = 256 * 1024;

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The runtime has no such container.
    NoContainer,
    /// The container is there, and its process is gone or was never started.
    NotRunning,
    /// The command to run is not in the container, or is no program.
    NoCommand,
    /// More memory is in use than a new limit allows.
    BelowUsage,
    /// Something else.
    Other,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    level: String,
    msg: String,
}

/// The message in what a runtime wrote: lines of JSON, plain text, or both.
///
/// The last error counts, for runtimes report the cause before what followed from it within one
/// message; plain text counts where no line of JSON is an error.
pub fn extract(output: &[u8]) -> String {
    let mut error = None;
    let mut plain = Vec::new();
    let mut other = None;
    for line in output.split(|b| *b == b'\n') {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        if text.is_empty() {
            continue;
        }
        match serde_json::from_str::<Line>(text) {
            Ok(line) if matches!(line.level.as_str(), "error" | "fatal" | "panic") => {
                error = Some(line.msg);
            }
            Ok(line) => other = Some(line.msg),
            Err(_) => plain.push(text.to_owned()),
        }
    }
    let plain = Some(plain.join("\n")).filter(|text| !text.is_empty());
    let mut message = error.or(plain).or(other).unwrap_or_default();
    if message.len() > MESSAGE_CAP {
        let mut end = MESSAGE_CAP;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push('…');
    }
    message.trim().to_owned()
}

/// The message in a log file that the runtime was given with `--log`; empty when there is none.
/// Blocks on the file system.
pub fn from_log(path: &Path) -> String {
    let Ok(mut file) = File::open(path) else {
        return String::new();
    };
    let skip = file
        .metadata()
        .map_or(0, |data| data.len().saturating_sub(LOG_CAP));
    if skip > 0 {
        use std::io::Seek;
        if file.seek(std::io::SeekFrom::Start(skip)).is_err() {
            return String::new();
        }
    }
    let mut bytes = Vec::new();
    if file.take(LOG_CAP).read_to_end(&mut bytes).is_err() {
        return String::new();
    }
    extract(&bytes)
}

/// What a message means, as far as its text allows.
pub fn meaning(message: &str) -> Meaning {
    let text = message.to_lowercase();
    let has = |part: &str| text.contains(part);
    if has("container does not exist")
        || has("container with id") && has("does not exist")
        || (has("/status`") || has("/status'")) && has("no such file")
        || has("does not exist") && has("container") && !has("executable")
    {
        Meaning::NoContainer
    } else if has("executable file not found")
        || has("no such file or directory") && (has("exec") || has("executable"))
        || has("exec format error")
        || has("permission denied") && has("exec") && has("unable to start container process")
        || has("permission denied") && has("open executable")
    {
        Meaning::NoCommand
    } else if has("not running")
        || has("no such process")
        || has("process already finished")
        || has("container has been stopped")
        || has("cannot start a container that has stopped")
        || has("cannot exec in a stopped")
        || has("in stopped state")
    {
        Meaning::NotRunning
    } else if has("unable to set memory limit") && has("current usage")
        || has("rejecting memory") && has("usage")
        || has("memory limit lower than its current usage")
        || has("memory.limit_in_bytes") && has("resource busy")
    {
        Meaning::BelowUsage
    } else {
        Meaning::Other
    }
}

/// The exit code that shells have for what a message says of a command: 127 when it is not there, 126 when it
/// cannot be run; `None` when the message is about something else.
pub fn command_code(message: &str) -> Option<i32> {
    if meaning(message) != Meaning::NoCommand {
        return None;
    }
    let text = message.to_lowercase();
    let refused = text.contains("permission denied") || text.contains("exec format error");
    Some(if refused { 126 } else { 127 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_message_comes_whole_and_without_quoting() {
        let log = br#"{"level":"warning","msg":"careful","time":"x"}
{"level":"error","msg":"runc create failed: unable to start container process: exec: \"nope\": executable file not found in $PATH","time":"x"}
"#;
        let message = extract(log);
        assert_eq!(
            message,
            "runc create failed: unable to start container process: exec: \"nope\": executable file not found in $PATH"
        );
        assert_eq!(meaning(&message), Meaning::NoCommand);
    }

    #[test]
    fn plain_text_and_warnings_will_do() {
        assert_eq!(extract(b"one\n\ntwo\n"), "one\ntwo");
        assert_eq!(extract(br#"{"level":"warning","msg":"w"}"#), "w");
        assert_eq!(extract(b""), "");
        let both = b"{\"level\":\"error\",\"msg\":\"told\"}\nnoise";
        assert_eq!(extract(both), "told");
        let long = extract("é".repeat(MESSAGE_CAP).as_bytes());
        assert!(long.len() <= MESSAGE_CAP + 3 && long.ends_with('…'));
    }

    #[test]
    fn meanings() {
        for (text, expected) in [
            ("container does not exist", Meaning::NoContainer),
            (
                "error opening file `/run/crun/x/status`: No such file or directory",
                Meaning::NoContainer,
            ),
            ("container not running", Meaning::NotRunning),
            ("kill container: No such process", Meaning::NotRunning),
            (
                "cannot start a container that has stopped",
                Meaning::NotRunning,
            ),
            (
                "executable file `nope` not found in $PATH: No such file or directory",
                Meaning::NoCommand,
            ),
            ("open executable: Permission denied", Meaning::NoCommand),
            ("out of memory", Meaning::Other),
            (
                "unable to set memory limit to 4096 (current usage: 9000, peak usage: 9999)",
                Meaning::BelowUsage,
            ),
            (
                "rejecting memory limit 4096 <= usage 9000",
                Meaning::BelowUsage,
            ),
            (
                "cannot set the memory limit lower than its current usage",
                Meaning::BelowUsage,
            ),
        ] {
            assert_eq!(meaning(text), expected, "{text}");
        }
    }

    #[test]
    fn codes_of_commands() {
        for (text, code) in [
            (
                "exec: \"nope\": executable file not found in $PATH",
                Some(127),
            ),
            ("exec /x: exec format error", Some(126)),
            (
                "unable to start container process: exec: \"/x\": permission denied",
                Some(126),
            ),
            ("no space left on device", None),
        ] {
            assert_eq!(command_code(text), code, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_output_will_do(bytes: Vec<u8>) {
            let _ = meaning(&extract(&bytes));
        }
    }
}
