//! Names and numbers of signals.

/// SIGTERM, what a stop begins with unless something else is asked for.
pub const DEFAULT: i32 = libc::SIGTERM;

const NAMES: [(&str, i32); 36] = [
    ("ABRT", libc::SIGABRT),
    ("ALRM", libc::SIGALRM),
    ("BUS", libc::SIGBUS),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("FPE", libc::SIGFPE),
    ("HUP", libc::SIGHUP),
    ("ILL", libc::SIGILL),
    ("INT", libc::SIGINT),
    ("IO", libc::SIGIO),
    ("IOT", libc::SIGIOT),
    ("KILL", libc::SIGKILL),
    ("PIPE", libc::SIGPIPE),
    ("POLL", libc::SIGPOLL),
    ("PROF", libc::SIGPROF),
    ("PWR", libc::SIGPWR),
    ("QUIT", libc::SIGQUIT),
    ("SEGV", libc::SIGSEGV),
    ("STKFLT", libc::SIGSTKFLT),
    ("STOP", libc::SIGSTOP),
    ("SYS", libc::SIGSYS),
    ("TERM", libc::SIGTERM),
    ("TRAP", libc::SIGTRAP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("VTALRM", libc::SIGVTALRM),
    ("WINCH", libc::SIGWINCH),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("RTMIN", 34),
    ("RTMAX", 64),
];

/// A text that names no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stop signal {0:?} of the image is no signal of this system")]
pub struct UnknownSignal(String);

/// The signal a stop begins with: the request's, or the image's, or SIGTERM.
pub fn first(asked: Option<i32>, image: &str) -> Result<i32, UnknownSignal> {
    match asked {
        Some(number) => Ok(number),
        None if image.is_empty() => Ok(DEFAULT),
        None => parse(image).ok_or_else(|| UnknownSignal(image.to_owned())),
    }
}

/// Reads a signal as images name it: `SIGTERM`, `term`, `15` or `SIGRTMIN+3` (signal(7)).
pub fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let plain = |name: &str| {
        NAMES
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, number)| *number)
    };
    if let Some(offset) = name.strip_prefix("RTMIN+") {
        return Some(34 + realtime_offset(offset)?);
    }
    if let Some(offset) = name.strip_prefix("RTMAX-") {
        return Some(64 - realtime_offset(offset)?);
    }
    plain(name)
}

fn realtime_offset(text: &str) -> Option<i32> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n| plain && (0..=30).contains(n))
}

/// Name of a signal for messages and status, like `SIGTERM` or `SIGRTMIN+3`.
pub fn name(number: i32) -> Option<String> {
    if (35..64).contains(&number) {
        return Some(format!("SIGRTMIN+{}", number - 34));
    }
    NAMES
        .iter()
        .find(|(_, n)| *n == number)
        .map(|(name, _)| format!("SIG{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_every_form() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("term", 15),
            ("15", 15),
            ("SIGKILL", 9),
            ("SIGRTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("64", 64),
        ] {
            assert_eq!(parse(text), Some(number), "{text}");
        }
        for text in [
            "",
            "0",
            "65",
            "-9",
            "SIGNOPE",
            "SIGRTMIN+31",
            "SIGRTMIN+-1",
            "RTMIN+",
            "9 ",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_request_goes_before_the_image() {
        assert_eq!(first(Some(10), "SIGINT"), Ok(10));
        assert_eq!(first(None, "SIGINT"), Ok(2));
        assert_eq!(first(None, ""), Ok(15));
        assert!(first(None, "what").is_err());
    }

    proptest! {
        #[test]
        fn names_read_back(number in 1..=64i32) {
            if let Some(name) = name(number) {
                prop_assert_eq!(parse(&name), Some(number));
            }
        }
    }
}
