//! Stop signals.

use super::{
    error::{At, FieldError},
    number,
};
use crate::cri::api::Signal;

/// First real-time signal as programs see it: the C library keeps two for itself.
const RTMIN: i32 = 34;
/// Last real-time signal.
const RTMAX: i32 = 64;

/// The names and their numbers on this architecture. Of two names for one number the first is told back.
const NUMBERS: [(Signal, i32); 34] = [
    (Signal::Sigabrt, libc::SIGABRT),
    (Signal::Sigiot, libc::SIGABRT),
    (Signal::Sigalrm, libc::SIGALRM),
    (Signal::Sigbus, libc::SIGBUS),
    (Signal::Sigchld, libc::SIGCHLD),
    (Signal::Sigcld, libc::SIGCHLD),
    (Signal::Sigcont, libc::SIGCONT),
    (Signal::Sigfpe, libc::SIGFPE),
    (Signal::Sighup, libc::SIGHUP),
    (Signal::Sigill, libc::SIGILL),
    (Signal::Sigint, libc::SIGINT),
    (Signal::Sigio, libc::SIGIO),
    (Signal::Sigpoll, libc::SIGIO),
    (Signal::Sigkill, libc::SIGKILL),
    (Signal::Sigpipe, libc::SIGPIPE),
    (Signal::Sigprof, libc::SIGPROF),
    (Signal::Sigpwr, libc::SIGPWR),
    (Signal::Sigquit, libc::SIGQUIT),
    (Signal::Sigsegv, libc::SIGSEGV),
    (Signal::Sigstkflt, libc::SIGSTKFLT),
    (Signal::Sigstop, libc::SIGSTOP),
    (Signal::Sigsys, libc::SIGSYS),
    (Signal::Sigterm, libc::SIGTERM),
    (Signal::Sigtrap, libc::SIGTRAP),
    (Signal::Sigtstp, libc::SIGTSTP),
    (Signal::Sigttin, libc::SIGTTIN),
    (Signal::Sigttou, libc::SIGTTOU),
    (Signal::Sigurg, libc::SIGURG),
    (Signal::Sigusr1, libc::SIGUSR1),
    (Signal::Sigusr2, libc::SIGUSR2),
    (Signal::Sigvtalrm, libc::SIGVTALRM),
    (Signal::Sigwinch, libc::SIGWINCH),
    (Signal::Sigxcpu, libc::SIGXCPU),
    (Signal::Sigxfsz, libc::SIGXFSZ),
];

/// The number of a stop signal; `None` when the image's or the default counts.
pub fn stop_signal(at: &At<'_>, value: i32) -> Result<Option<i32>, FieldError> {
    let signal: Signal = number::choice(at, value, "a signal of the protocol")?;
    if signal == Signal::RuntimeDefault {
        return Ok(None);
    }
    if let Some((_, number)) = NUMBERS.iter().find(|(name, _)| *name == signal) {
        return Ok(Some(*number));
    }
    // The rest are the real-time signals, in the order of their numbers.
    let number = RTMIN + (signal as i32 - Signal::Sigrtmin as i32);
    if !(RTMIN..=RTMAX).contains(&number) {
        return Err(at.bad(signal.as_str_name(), "is not a signal of this architecture"));
    }
    Ok(Some(number))
}

/// A signal by number, back to the protocol; unknown ones become the runtime's default.
pub fn to_api(number: Option<i32>) -> Signal {
    let Some(number) = number else {
        return Signal::RuntimeDefault;
    };
    if let Some((name, _)) = NUMBERS.iter().find(|(_, n)| *n == number) {
        return *name;
    }
    if (RTMIN..=RTMAX).contains(&number) {
        return Signal::try_from(Signal::Sigrtmin as i32 + number - RTMIN)
            .unwrap_or(Signal::RuntimeDefault);
    }
    Signal::RuntimeDefault
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: At<'static> = At::root("stop_signal");

    #[test]
    fn every_value_has_a_number_and_comes_back() {
        for value in 1..=65 {
            let signal = Signal::try_from(value).unwrap();
            let number = stop_signal(&AT, value).unwrap().unwrap();
            assert!((1..=64).contains(&number));
            let back = to_api(Some(number));
            assert_eq!(stop_signal(&AT, back as i32), Ok(Some(number)));
            let synonym = matches!(signal, Signal::Sigiot | Signal::Sigcld | Signal::Sigpoll);
            assert!(back == signal || synonym, "{signal:?}");
        }
        assert_eq!(stop_signal(&AT, 0), Ok(None));
        assert_eq!(
            stop_signal(&AT, 66).unwrap_err().to_string(),
            "stop_signal: 66 is not a signal of the protocol"
        );
    }

    #[test]
    fn real_time_signals_keep_their_numbers() {
        assert_eq!(stop_signal(&AT, Signal::Sigrtmin as i32), Ok(Some(34)));
        assert_eq!(stop_signal(&AT, Signal::Sigrtminplus3 as i32), Ok(Some(37)));
        assert_eq!(
            stop_signal(&AT, Signal::Sigrtmaxminus14 as i32),
            Ok(Some(50))
        );
        assert_eq!(stop_signal(&AT, Signal::Sigrtmax as i32), Ok(Some(64)));
        assert_eq!(to_api(Some(33)), Signal::RuntimeDefault);
        assert_eq!(to_api(None), Signal::RuntimeDefault);
    }
}
