//! Errors as one line of text.

/// An error with all its causes: `outer: inner: innermost`. A cause that the text before it ends with, as some
/// libraries' errors do, is not repeated.
pub(crate) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let inner = cause.to_string();
        if !inner.is_empty() && !text.ends_with(&inner) {
            text.push_str(": ");
            text.push_str(&inner);
        }
        next = cause.source();
    }
    text
}

/// An error of the kernel's as it stands in the middle of a sentence: in lower case, and without its number.
pub(crate) fn within_a_sentence(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_stand_in_a_sentence() {
        for (errno, words) in [
            (libc::ENOENT, "no such file or directory"),
            (libc::ERFKILL, "operation not possible due to RF-kill"),
        ] {
            let error = std::io::Error::from_raw_os_error(errno);
            assert_eq!(within_a_sentence(&error), words);
        }
        let own = std::io::Error::other("Its own");
        assert_eq!(within_a_sentence(&own), "its own");
    }

    #[derive(Debug, thiserror::Error)]
    enum Sample {
        #[error("reading")]
        Read(#[source] std::io::Error),
        #[error("reading: {0}")]
        Repeated(#[source] std::io::Error),
    }

    #[test]
    fn a_cause_stands_once() {
        let io = || std::io::Error::other("no space");
        assert_eq!(whole(&Sample::Read(io())), "reading: no space");
        assert_eq!(whole(&Sample::Repeated(io())), "reading: no space");
    }
}
