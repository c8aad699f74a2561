//! The subprotocols that clients name, and what each of them has.

use super::codec::Encoding;

/// A subprotocol of exec and attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteProtocol {
    /// As in `Sec-WebSocket-Protocol`; empty for clients that name none.
    pub name: &'static str,
    /// How its messages hold data.
    pub encoding: Encoding,
    /// The status comes as a `metav1.Status`, not as text: from version 4 on.
    pub status: bool,
    /// Channels can be closed: from version 5 on.
    pub half_close: bool,
}

const fn remote(
    name: &'static str,
    encoding: Encoding,
    status: bool,
    half_close: bool,
) -> RemoteProtocol {
    RemoteProtocol {
        name,
        encoding,
        status,
        half_close,
    }
}

/// What exec and attach speak.
pub const REMOTE: [RemoteProtocol; 8] = [
    remote("v5.channel.k8s.io", Encoding::Binary, true, true),
    remote("v4.channel.k8s.io", Encoding::Binary, true, false),
    remote("v4.base64.channel.k8s.io", Encoding::Base64, true, false),
    remote("v3.channel.k8s.io", Encoding::Binary, false, false),
    remote("v2.channel.k8s.io", Encoding::Binary, false, false),
    remote("channel.k8s.io", Encoding::Binary, false, false),
    remote("base64.channel.k8s.io", Encoding::Base64, false, false),
    remote("", Encoding::Binary, false, false),
];

/// How ports are forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardKind {
    /// Two channels for each port that the query names.
    Channels(Encoding),
    /// The bytes of a SPDY connection.
    Tunnel,
}

/// A subprotocol of port forwarding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardProtocol {
    /// As in `Sec-WebSocket-Protocol`; empty for clients that name none.
    pub name: &'static str,
    /// How it works.
    pub kind: ForwardKind,
}

const fn forward(name: &'static str, kind: ForwardKind) -> ForwardProtocol {
    ForwardProtocol { name, kind }
}

/// What port forwarding speaks.
pub const FORWARD: [ForwardProtocol; 4] = [
    forward("SPDY/3.1+portforward.k8s.io", ForwardKind::Tunnel),
    forward("v4.channel.k8s.io", ForwardKind::Channels(Encoding::Binary)),
    forward(
        "v4.base64.channel.k8s.io",
        ForwardKind::Channels(Encoding::Base64),
    ),
    forward("", ForwardKind::Channels(Encoding::Binary)),
];

/// The first of the client's names, in its order, that is among `known`; a client that names none wants "".
pub fn choose<'a, T>(
    offered: &[&str],
    known: &'a [T],
    name: impl Fn(&T) -> &'static str,
) -> Option<&'a T> {
    let none = [""];
    let offered = if offered.is_empty() { &none } else { offered };
    offered
        .iter()
        .find_map(|offer| known.iter().find(|known| name(known) == *offer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_order_counts() {
        let pick = |offered: &[&str]| choose(offered, &REMOTE, |p| p.name).map(|p| p.name);
        assert_eq!(
            pick(&["v4.channel.k8s.io", "v5.channel.k8s.io"]),
            Some("v4.channel.k8s.io")
        );
        assert_eq!(
            pick(&["v9.channel.k8s.io", "base64.channel.k8s.io"]),
            Some("base64.channel.k8s.io")
        );
        assert_eq!(pick(&[]), Some(""));
        assert_eq!(pick(&["soap"]), None);
        let pick = |offered: &[&str]| choose(offered, &FORWARD, |p| p.name).map(|p| p.kind);
        assert_eq!(
            pick(&["SPDY/3.1+portforward.k8s.io"]),
            Some(ForwardKind::Tunnel)
        );
        assert_eq!(pick(&["v5.channel.k8s.io"]), None);
    }
}
