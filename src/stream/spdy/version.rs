//! Versions of the remote command protocol.

/// A version of the remote command protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RemoteVersion {
    /// The first: errors as text.
    V1,
    /// The same, with half-close of input done right by clients.
    V2,
    /// With a stream of terminal sizes.
    V3,
    /// With errors as `metav1.Status`, and so exit codes.
    V4,
    /// Over SPDY the same as 4: what it adds, a signal for half-close, SPDY always had.
    V5,
}

const NAMES: [(&str, RemoteVersion); 5] = [
    ("v5.channel.k8s.io", RemoteVersion::V5),
    ("v4.channel.k8s.io", RemoteVersion::V4),
    ("v3.channel.k8s.io", RemoteVersion::V3),
    ("v2.channel.k8s.io", RemoteVersion::V2),
    ("channel.k8s.io", RemoteVersion::V1),
];

impl RemoteVersion {
    /// All protocols, the best first.
    pub fn protocols() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }

    /// The first protocol that the client names and there is. `offered` has the values of the request's
    /// `X-Stream-Protocol-Version` headers, each of which may have several in it, with commas between.
    pub fn negotiate<S: AsRef<str>>(offered: &[S]) -> Option<(&'static str, Self)> {
        offered
            .iter()
            .flat_map(|value| value.as_ref().split(','))
            .find_map(|name| NAMES.into_iter().find(|(known, _)| *known == name.trim()))
    }

    /// Whether a client with a terminal opens a stream of its sizes.
    pub fn has_resize(self) -> bool {
        self >= Self::V3
    }

    /// Whether the outcome is a `metav1.Status`.
    pub fn has_status(self) -> bool {
        self >= Self::V4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_first_that_is_known() {
        let negotiated = |offered: &[&str]| RemoteVersion::negotiate(offered);
        assert_eq!(
            negotiated(&[
                "v9.channel.k8s.io",
                "v4.channel.k8s.io",
                "v3.channel.k8s.io"
            ]),
            Some(("v4.channel.k8s.io", RemoteVersion::V4))
        );
        assert_eq!(
            negotiated(&["x, channel.k8s.io ,v4.channel.k8s.io"]),
            Some(("channel.k8s.io", RemoteVersion::V1))
        );
        assert_eq!(negotiated(&[]), None);
        assert_eq!(negotiated(&["portforward.k8s.io", ""]), None);
        assert!(RemoteVersion::V3.has_resize() && !RemoteVersion::V2.has_resize());
        assert!(RemoteVersion::V4.has_status() && !RemoteVersion::V3.has_status());
    }
}
