//! Terminals, input and attached clients.

use std::os::fd::OwnedFd;

use corten_conmon::{
    attach,
    socket::{self, Address, Received},
};
use rustix::net::SocketType;
use serde_json::json;

use super::bundle::*;
use crate::monitor::*;

fn terminal(script: &str) -> (Bundle, CreateRequest) {
    let bundle = Bundle::new(&["sh", "-c", script], |spec| {
        spec["process"]["terminal"] = json!(true);
        spec["process"]["env"] = json!(["PATH=/bin"]);
    });
    let mut request = bundle.request();
    let at = request.runtime_argv.len() - 1;
    request
        .runtime_argv
        .splice(at..at, ["--console-socket".into(), "console".into()]);
    request.console_socket = Some("console".into());
    (bundle, request)
}

fn connect(bundle: &Bundle) -> OwnedFd {
    Address::of(&bundle.path("attach"))
        .unwrap()
        .connect(SocketType::SEQPACKET)
        .unwrap()
}

/// Reads packets until the data of all of them holds `text`, or the end.
async fn read_until(client: &OwnedFd, stream: u8, text: &str) -> String {
    let mut seen = Vec::new();
    within(async {
        let mut buf = [0; attach::MAX_DATA + 1];
        loop {
            match socket::receive(client, &mut buf) {
                Ok(Received::Packet(len, _)) if buf[0] == stream => {
                    seen.extend_from_slice(&buf[1..len])
                }
                Ok(Received::Packet(..)) => {}
                Ok(Received::Closed) => break,
                Ok(Received::Oversized) => panic!("a packet is too long"),
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            }
            if !text.is_empty() && String::from_utf8_lossy(&seen).contains(text) {
                break;
            }
        }
    })
    .await;
    String::from_utf8(seen).unwrap()
}

/// Sends input, when there is room for it.
async fn give(client: &OwnedFd, data: &str) {
    let packet = [&[attach::STDIN], data.as_bytes()].concat();
    let sent = async {
        while let Err(error) = socket::send(client, &packet, &[]) {
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    within(sent).await;
}

/// Attached, and known to be: the monitor takes clients in turn.
async fn attached(bundle: &Bundle, monitor: &Monitor) -> OwnedFd {
    let client = connect(bundle);
    monitor.state().await.unwrap();
    monitor.state().await.unwrap();
    client
}

#[tokio::test]
async fn a_terminal_is_one_and_can_be_resized() {
    let (bundle, request) = terminal(
        "test -t 0 && test -t 1 && test -t 2 && echo yes; while [ ! -e /go ]; do sleep 0.02; done; stty size",
    );
    let created = bundle.create_as(request).await.unwrap();
    created
        .monitor
        .resize(TerminalSize {
            width: 101,
            height: 37,
        })
        .await
        .unwrap();
    bundle.start();
    std::fs::write(bundle.path("rootfs/go"), "").unwrap();
    let record = record(ended(&created.monitor).await);
    assert_eq!(record.status, ExitStatus::Code(0));
    assert!(record.log_drained);
    assert_eq!(bundle.logged("stdout"), "yes\r\n37 101\r\n");
    assert!(!bundle.path("console").exists());
}

#[tokio::test]
async fn what_has_no_terminal_has_no_size() {
    let bundle = Bundle::shell("exec sleep 1000");
    let monitor = bundle.run().await;
    let error = monitor
        .resize(TerminalSize {
            width: 1,
            height: 1,
        })
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            MonitorError::Refused {
                kind: Refusal::NotThere,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_runtime_that_sends_no_terminal_is_noticed() {
    let bundle = Bundle::shell("exec sleep 1000");
    let mut request = bundle.request();
    request.console_socket = Some("console".into());
    let error = within(spawn(&binary(), request)).await.unwrap_err();
    let MonitorError::Create(failure) = error else {
        panic!("{error:?}")
    };
    assert_eq!(failure.stage, Stage::Console);
}

#[tokio::test]
async fn a_terminal_takes_input_of_attached_clients() {
    let (bundle, mut request) = terminal("read line; echo \"<$line>\"");
    request.stdin = Stdin::Open;
    let created = bundle.create_as(request).await.unwrap();
    let client = attached(&bundle, &created.monitor).await;
    bundle.start();
    give(&client, "hello\n").await;
    let seen = read_until(&client, attach::STDOUT, "").await;
    assert!(seen.contains("<hello>\r\n"), "{seen:?}");
    assert_eq!(
        record(ended(&created.monitor).await).status,
        ExitStatus::Code(0)
    );
}

#[tokio::test]
async fn every_client_gets_the_output_and_may_give_input() {
    let bundle = Bundle::shell("echo ready; echo oops >&2; cat; echo over");
    let mut request = bundle.request();
    request.stdin = Stdin::Open;
    let created = bundle.create_as(request).await.unwrap();
    let (one, two) = (
        attached(&bundle, &created.monitor).await,
        attached(&bundle, &created.monitor).await,
    );
    let errors = attached(&bundle, &created.monitor).await;
    bundle.start();
    assert_eq!(
        read_until(&errors, attach::STDERR, "oops\n").await,
        "oops\n"
    );
    give(&one, "from one\n").await;
    read_until(&two, attach::STDOUT, "from one\n").await;
    give(&two, "from two\n").await;
    read_until(&one, attach::STDOUT, "from two\n").await;
    read_until(&two, attach::STDOUT, "from two\n").await;
    // It stays open when clients leave, until it is closed.
    drop(one);
    created.monitor.close_stdin().await.unwrap();
    assert_eq!(read_until(&two, attach::STDOUT, "").await, "over\n");
    assert_eq!(
        record(ended(&created.monitor).await).status,
        ExitStatus::Code(0)
    );
    assert_eq!(bundle.logged("stdout"), "ready\nfrom one\nfrom two\nover\n");
}

#[tokio::test]
async fn input_for_once_ends_with_the_client_that_gave_it() {
    for says_so in [true, false] {
        let bundle = Bundle::shell("cat; echo over");
        let mut request = bundle.request();
        request.stdin = Stdin::Once;
        let created = bundle.create_as(request).await.unwrap();
        bundle.start();
        // One that only listens ends nothing.
        drop(attached(&bundle, &created.monitor).await);
        let client = attached(&bundle, &created.monitor).await;
        let big = "x".repeat(8000) + "\n";
        for _ in 0..20 {
            give(&client, &big).await;
        }
        if says_so {
            give(&client, "").await;
        } else {
            drop(client);
        }
        assert_eq!(
            record(ended(&created.monitor).await).status,
            ExitStatus::Code(0)
        );
        assert!(bundle.logged("stdout") == big.repeat(20) + "over\n");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_nobody() {
    let bundle = Bundle::shell("busybox seq 1 400000; echo over");
    let created = bundle.create().await;
    let idle = attached(&bundle, &created.monitor).await;
    bundle.start();
    let record = record(ended(&created.monitor).await);
    assert!(record.log_drained);
    assert!(bundle.logged("stdout").ends_with("400000\nover\n"));
    // It was let go early: the end of the output is not among what waits for it.
    assert!(
        !read_until(&idle, attach::STDOUT, "")
            .await
            .ends_with("over\n")
    );
}
