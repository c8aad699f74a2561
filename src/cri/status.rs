//! The one place where an error becomes a gRPC status.

use std::{error::Error, fmt, io, sync::Arc};

use tonic::{Code, Status};

use super::{convert::error::FieldError, redact::redact};
use crate::causes::whole;

/// Most bytes a message takes on the wire. It travels in a header, percent-encoded, and clients bound headers.
const MESSAGE_MAX: usize = 4096;

/// What kind of failure an error is, as far as a caller has to tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What was named is not there.
    NotFound,
    /// The request can never succeed as it is.
    InvalidArgument,
    /// Not possible in the present state.
    FailedPrecondition,
    /// The name is taken.
    AlreadyExists,
    /// May succeed later.
    Unavailable,
    /// Took longer than it may.
    DeadlineExceeded,
    /// A quota, a disk or a limit is used up.
    ResourceExhausted,
    /// corten does not do this.
    Unimplemented,
    /// Refused to this caller, or to corten by someone else.
    PermissionDenied,
    /// Anything else: a fault of corten's or of the machine's.
    Internal,
}

impl Kind {
    /// What an error number of the system means, where it means something to a caller.
    pub(super) fn of_errno(number: i32) -> Option<Self> {
        match number {
            libc::ENOSPC | libc::EDQUOT | libc::EMFILE | libc::ENFILE | libc::ENOMEM => {
                Some(Self::ResourceExhausted)
            }
            libc::EROFS => Some(Self::FailedPrecondition),
            _ => None,
        }
    }

    /// The gRPC code.
    pub fn code(self) -> Code {
        match self {
            Self::NotFound => Code::NotFound,
            Self::InvalidArgument => Code::InvalidArgument,
            Self::FailedPrecondition => Code::FailedPrecondition,
            Self::AlreadyExists => Code::AlreadyExists,
            Self::Unavailable => Code::Unavailable,
            Self::DeadlineExceeded => Code::DeadlineExceeded,
            Self::ResourceExhausted => Code::ResourceExhausted,
            Self::Unimplemented => Code::Unimplemented,
            Self::PermissionDenied => Code::PermissionDenied,
            Self::Internal => Code::Internal,
        }
    }
}

/// An error that knows its kind. Turned into a [`Failure`] by `?`.
pub trait Classify: Error {
    /// Its kind.
    fn kind(&self) -> Kind;
}

impl<E: Classify> Classify for Arc<E> {
    fn kind(&self) -> Kind {
        (**self).kind()
    }
}

impl Classify for FieldError {
    fn kind(&self) -> Kind {
        Kind::InvalidArgument
    }
}

/// A failed request: what the caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    kind: Kind,
    message: String,
}

impl Failure {
    /// A failure with a message of its own.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: redact(&message.into()),
        }
    }

    /// A failure of a kind that the error itself does not know, with the whole chain of its causes.
    pub fn of(kind: Kind, error: &(dyn Error + 'static)) -> Self {
        Self::new(kind, whole(error))
    }

    /// The same, beginning with a name that callers look for, such as `RegistryUnavailable`.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.message = format!("{name}: {}", self.message);
        self
    }

    /// The same without any of the secrets, wherever they came into the message from.
    #[must_use]
    pub fn without<'a>(mut self, secrets: impl IntoIterator<Item = &'a str>) -> Self {
        for secret in secrets {
            // Shorter ones would match by chance, and tell more by their absence.
            if secret.len() >= 4 {
                self.message = self.message.replace(secret, super::redact::REDACTED);
            }
        }
        self
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the caller is told.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}

impl<E: Classify + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let kind = match error.kind() {
            // Where an error has no meaning of its own, the system's may: a disk that is full, say.
            Kind::Internal => of_system(&error).unwrap_or(Kind::Internal),
            known => known,
        };
        Self::of(kind, &error)
    }
}

/// What the system's own error means that is among an error's causes.
fn of_system(error: &(dyn Error + 'static)) -> Option<Kind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(kind) = system_error(error).and_then(Kind::of_errno) {
            return Some(kind);
        }
        next = error.source();
    }
    None
}

/// The number of an error, if it is one of the system's.
fn system_error(error: &(dyn Error + 'static)) -> Option<i32> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return error.raw_os_error();
    }
    if let Some(error) = error.downcast_ref::<rustix::io::Errno>() {
        return Some(error.raw_os_error());
    }
    error.downcast_ref::<nix::errno::Errno>().map(|e| *e as i32)
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        Self::new(failure.kind.code(), shorten(&failure.message))
    }
}

/// Cuts the middle out of a message that is too long: what failed stands first, the cause last.
fn shorten(message: &str) -> String {
    // What percent-encoding leaves as it is costs one byte.
    let cost = |c: char| match c {
        ' ' | '"' | '#' | '%' | '<' | '>' | '?' | '`' | '{' | '}' => 3,
        '!'..='~' => 1,
        other => 3 * other.len_utf8(),
    };
    if message.chars().map(cost).sum::<usize>() <= MESSAGE_MAX {
        return message.to_owned();
    }
    let head = prefix_len(message.chars(), cost, MESSAGE_MAX * 5 / 8);
    let tail = prefix_len(message.chars().rev(), cost, MESSAGE_MAX * 2 / 8);
    format!(
        "{} [...] {}",
        &message[..head],
        &message[message.len() - tail..]
    )
}

/// Bytes of the characters that fit into `budget`.
fn prefix_len(
    chars: impl Iterator<Item = char>,
    cost: impl Fn(char) -> usize,
    budget: usize,
) -> usize {
    let mut spent = 0;
    chars
        .take_while(|c| {
            spent += cost(*c);
            spent <= budget
        })
        .map(char::len_utf8)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, thiserror::Error)]
    enum Sample {
        #[error("creating the container")]
        Create(#[source] std::io::Error),
        #[error("reading: {0}")]
        Read(#[source] std::io::Error),
    }

    impl Classify for Sample {
        fn kind(&self) -> Kind {
            Kind::Unavailable
        }
    }

    #[test]
    fn causes_are_joined_once() {
        let io = || std::io::Error::other("no space");
        let status = Status::from(Failure::from(Sample::Create(io())));
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.message(), "creating the container: no space");
        assert_eq!(
            Failure::from(Arc::new(Sample::Read(io()))).kind(),
            Kind::Unavailable
        );
    }

    #[derive(Debug, thiserror::Error)]
    #[error("making a pipe")]
    struct Outer(#[source] Box<dyn Error + Send + Sync>);

    impl Classify for Outer {
        fn kind(&self) -> Kind {
            Kind::Internal
        }
    }

    #[test]
    fn the_systems_reason_counts_where_there_is_no_other() {
        let io = |number| Box::new(std::io::Error::from_raw_os_error(number));
        for (cause, kind) in [
            (Outer(io(libc::EMFILE)), Kind::ResourceExhausted),
            (
                Outer(Box::new(Outer(io(libc::ENOSPC)))),
                Kind::ResourceExhausted,
            ),
            (
                Outer(Box::new(rustix::io::Errno::NFILE)),
                Kind::ResourceExhausted,
            ),
            (
                Outer(Box::new(nix::errno::Errno::EROFS)),
                Kind::FailedPrecondition,
            ),
            (Outer(io(libc::EIO)), Kind::Internal),
        ] {
            assert_eq!(Failure::from(Arc::new(cause)).kind(), kind);
        }
        let sample = Sample::Read(*io(libc::EMFILE));
        assert_eq!(Failure::from(sample).kind(), Kind::Unavailable);
    }

    #[test]
    fn known_secrets_go() {
        let failure = Failure::new(Kind::Internal, "login as bob with hunter22 failed");
        assert_eq!(
            failure.without(["hunter22", "", "bo"]).message(),
            "login as bob with [redacted] failed"
        );
    }

    #[test]
    fn callers_find_the_name_first() {
        let failure = Failure::new(Kind::Unavailable, "x").named("RegistryUnavailable");
        assert_eq!(failure.message(), "RegistryUnavailable: x");
    }

    proptest! {
        #[test]
        fn messages_fit_into_a_header(text in "\\PC{0,600}", n in 1..40usize) {
            let long = text.repeat(n);
            let status = Status::from(Failure { kind: Kind::Internal, message: long.clone() });
            let mut headers = http::HeaderMap::new();
            status.add_header(&mut headers).unwrap();
            prop_assert!(headers.values().map(|v| v.len()).sum::<usize>() <= MESSAGE_MAX + 64);
            if long.len() < 1000 {
                prop_assert_eq!(status.message(), long);
            }
        }
    }
}
