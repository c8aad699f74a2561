//! Monitors of another version than the daemon's.

use std::{
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    thread,
};

use corten_conmon::socket::{Address, Received, receive_waiting, send};
use rustix::{
    event::{PollFd, PollFlags},
    net::SocketType,
};

use super::bundle::*;
use crate::monitor::*;

/// The monitor's program, which speaks version 1 alone.
fn binary_of_version_1(bundle: &Bundle) -> MonitorBinary {
    let path = bundle.path("conmon-1");
    let script = format!(
        "#!/bin/sh\nexec {} \"$@\" --protocol 1\n",
        binary().path().display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    MonitorBinary::new(path)
}

#[tokio::test]
async fn a_monitor_of_version_1_does_all_that_it_ever_did() {
    let bundle =
        Bundle::shell("echo one; while [ ! -e /go ]; do sleep 0.02; done; echo two; exit 3");
    let created = within(spawn(&binary_of_version_1(&bundle), bundle.request()))
        .await
        .unwrap();
    bundle.start();
    let old = |about: &About| (about.program.clone(), about.protocol) == (None, 1);
    assert!(old(created.monitor.about()), "{created:?}");
    let pid = created.pid;
    created.monitor.close();
    let Adopted::Alive(monitor) = within(adopt(&bundle.paths())).await.unwrap() else {
        panic!()
    };
    assert!(old(monitor.about()), "{monitor:?}");
    assert_eq!(monitor.about().pid, created.monitor_pid);
    assert_eq!(monitor.pid(), pid);
    let said = within(monitor.exec(bundle.exec_request(&["echo", "hello"]))).await;
    assert_eq!(said.unwrap().stdout.bytes, b"hello\n");
    monitor.reopen_log().await.unwrap();
    std::fs::write(bundle.path("rootfs/go"), "").unwrap();
    assert_eq!(record(ended(&monitor).await).status, ExitStatus::Code(3));
    assert_eq!(bundle.logged("stdout"), "one\ntwo\n");
}

#[tokio::test]
async fn a_monitor_of_this_version_says_which_program_it_is() {
    let bundle = Bundle::shell("exec sleep 1000");
    let created = bundle.create().await;
    let known = |about: &About| {
        about.program.as_deref() == Some(env!("CARGO_PKG_VERSION")) && about.protocol == 3
    };
    assert!(known(created.monitor.about()), "{created:?}");
    created.monitor.close();
    let Adopted::Alive(monitor) = within(adopt(&bundle.paths())).await.unwrap() else {
        panic!()
    };
    assert!(known(monitor.about()), "{monitor:?}");
    kill(monitor.pid());
    record(ended(&monitor).await);
}

/// A frame of version 1 as bytes: head, number, message.
fn old_frame(id: u64, message: &[u8]) -> Vec<u8> {
    [&[0xC7, 1][..], &id.to_le_bytes(), message].concat()
}

/// A monitor as it was before there were versions: what it does not understand it closes the connection for. It stands
/// for a container whose init is this process.
fn monitor_of_old(listener: OwnedFd) -> Vec<Vec<u8>> {
    let own = i32::try_from(std::process::id()).unwrap().to_le_bytes();
    let mut heard = Vec::new();
    loop {
        rustix::event::poll(&mut [PollFd::new(&listener, PollFlags::IN)], None).unwrap();
        let client = rustix::net::accept(&listener).unwrap();
        let mut buf = [0; 4096];
        while let Ok(Received::Packet(len, _)) = receive_waiting(client.as_fd(), &mut buf) {
            let frame = buf[..len].to_vec();
            heard.push(frame.clone());
            let [0xC7, 1, id @ .., verb] = &frame[..] else {
                break;
            };
            let id = u64::from_le_bytes(id.try_into().unwrap());
            let answer = match verb {
                0 => [&[0][..], &own].concat(),
                1 | 2 => [&[1, 1][..], &own].concat(),
                other => panic!("verb {other}"),
            };
            send(&client, &old_frame(id, &answer), &[]).unwrap();
            if *verb == 1 {
                // The container ends: code 7, no OOM, at 5 ns, all of it in the log.
                let end = [&[8, 0, 7, 0, 0, 0, 0][..], &5i64.to_le_bytes(), &[1]].concat();
                send(&client, &old_frame(0, &end), &[]).unwrap();
                return heard;
            }
        }
    }
}

#[tokio::test]
async fn a_monitor_that_only_closes_the_connection_is_asked_again_in_its_version() {
    let bundle = Bundle::shell("true");
    let listener = Address::of(&bundle.path("ctl"))
        .unwrap()
        .listen(SocketType::SEQPACKET, 4)
        .unwrap();
    let old = thread::spawn(move || monitor_of_old(listener));
    let Adopted::Alive(monitor) = within(adopt(&bundle.paths())).await.unwrap() else {
        panic!()
    };
    assert_eq!(
        (monitor.about().protocol, &monitor.about().program),
        (1, &None)
    );
    let end = record(ended(&monitor).await);
    assert_eq!((end.status, end.finished_at), (ExitStatus::Code(7), 5));
    let heard = old.join().unwrap();
    let versions: Vec<u8> = heard.iter().map(|frame| frame[1]).collect();
    assert_eq!(versions, [3, 2, 1, 1, 1], "{heard:?}");
}
