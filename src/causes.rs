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

#[cfg(test)]
mod tests {
    use super::*;

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
