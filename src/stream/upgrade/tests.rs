use proptest::prelude::*;

use super::*;

const SOCKET: [(&str, &str); 4] = [
    ("connection", "keep-alive, Upgrade"),
    ("upgrade", "WebSocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];
const SPDY: [(&str, &str); 2] = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];

fn asked(method: &str, uri: &str, headers: &[(&'static str, &str)]) -> Result<Asked, Refusal> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().unwrap());
    }
    read(&method.parse().unwrap(), &uri.parse().unwrap(), &map)
}

fn refused(method: &str, uri: &str, headers: &[(&'static str, &str)]) -> u16 {
    asked(method, uri, headers).unwrap_err().status.as_u16()
}

fn with(
    base: &[(&'static str, &'static str)],
    more: &[(&'static str, &'static str)],
) -> Vec<(&'static str, &'static str)> {
    [base, more].concat()
}

#[test]
fn what_clients_send_is_granted() {
    let headers = with(&SOCKET, &[("sec-websocket-protocol", "v5.channel.k8s.io")]);
    let granted = asked("GET", "/exec/abc", &headers).unwrap();
    assert_eq!((granted.kind, granted.token.as_str()), (Kind::Exec, "abc"));
    assert_eq!(granted.protocol, Protocol::SocketRemote(REMOTE[0]));
    assert_eq!(
        granted.answer["sec-websocket-protocol"],
        "v5.channel.k8s.io"
    );

    let headers = with(
        &SPDY,
        &[
            ("x-stream-protocol-version", "v9.channel.k8s.io"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
        ],
    );
    let granted = asked("POST", "/attach/abc", &headers).unwrap();
    assert_eq!(granted.kind, Kind::Attach);
    assert_eq!(granted.protocol, Protocol::SpdyRemote(RemoteVersion::V4));
    assert_eq!(
        granted.answer["x-stream-protocol-version"],
        "v4.channel.k8s.io"
    );
    assert_eq!(granted.answer["upgrade"], "SPDY/3.1");

    let headers = with(
        &SPDY,
        &[("x-stream-protocol-version", "portforward.k8s.io")],
    );
    let granted = asked("POST", "/portforward/abc", &headers).unwrap();
    assert_eq!(granted.protocol, Protocol::SpdyForward);

    let headers = with(
        &SOCKET,
        &[("sec-websocket-protocol", "SPDY/3.1+portforward.k8s.io")],
    );
    let granted = asked("GET", "/portforward/abc", &headers).unwrap();
    assert_eq!(
        granted.protocol,
        Protocol::SocketForward(FORWARD[0], vec![])
    );

    let granted = asked("GET", "/portforward/abc?port=80&x=1&port=443,8080", &SOCKET).unwrap();
    let ports = vec![80, 443, 8080];
    assert_eq!(granted.protocol, Protocol::SocketForward(FORWARD[3], ports));
    assert!(!granted.answer.contains_key("sec-websocket-protocol"));
}

#[test]
fn what_cannot_be_granted_is_refused_with_a_reason() {
    for path in ["/", "/exec", "/exec/", "/exec/a/b", "/run/a", "/../exec/a"] {
        assert_eq!(refused("GET", path, &SOCKET), 404, "{path}");
    }
    let long = format!("/exec/{}", "a".repeat(200));
    assert_eq!(refused("GET", &long, &SOCKET), 404);
    assert_eq!(refused("PUT", "/exec/a", &SOCKET), 405);
    assert_eq!(refused("POST", "/exec/a", &SOCKET), 405);
    assert_eq!(refused("GET", "/exec/a", &[]), 400);
    assert_eq!(refused("GET", "/exec/a", &SOCKET[1..]), 400);
    assert_eq!(refused("GET", "/exec/a", &SOCKET[..3]), 400);
    assert_eq!(refused("GET", "/exec/a", &SOCKET[..2]), 426);
    let soap = with(&SOCKET, &[("sec-websocket-protocol", "soap")]);
    assert_eq!(refused("GET", "/exec/a", &soap), 403);
    assert_eq!(refused("POST", "/exec/a", &SPDY), 400);
    let unknown = with(&SPDY, &[("x-stream-protocol-version", "v9")]);
    let refusal = asked("POST", "/exec/a", &unknown).unwrap_err();
    assert_eq!(refusal.status, 403);
    let known = |(name, _): &&(HeaderName, _)| *name == SPDY_KNOWN;
    assert_eq!(refusal.headers.iter().filter(known).count(), 5);
    assert!(refusal.text.contains("v9"), "{}", refusal.text);
    for query in ["port=0", "port=65536", "port=x", "port="] {
        let uri = format!("/portforward/a?{query}");
        assert_eq!(refused("GET", &uri, &SOCKET), 400, "{query}");
    }
    let many = "port=1&".repeat(PORTS_MAX + 1);
    let uri = format!("/portforward/a?{many}");
    assert_eq!(refused("GET", &uri, &SOCKET), 400);
}

proptest! {
    #[test]
    fn any_head_is_read_and_answered_in_text(
        path in "/[ -~&&[^ ]]{0,60}",
        protocol in "[ -~]{0,60}",
        spdy: bool,
    ) {
        let Ok(uri) = path.parse::<Uri>() else { return Ok(()) };
        let mut headers = HeaderMap::new();
        let base: &[(&str, &str)] = if spdy { &SPDY } else { &SOCKET };
        for (name, value) in base {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        let name = if spdy { SPDY_PROTOCOL } else { header::SEC_WEBSOCKET_PROTOCOL };
        headers.append(name, HeaderValue::from_str(&protocol).unwrap());
        if let Err(refusal) = read(&Method::GET, &uri, &headers) {
            prop_assert!(refusal.status.is_client_error());
            prop_assert!(!refusal.text.is_empty());
        }
    }
}
