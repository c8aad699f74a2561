//! What is run in containers goes on without the daemon that was asked for it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tonic::Code;

use crate::support::{Node, Process, Socket, Streams, node, until};

const V5: &str = "v5.channel.k8s.io";
const STDOUT: usize = 1;

/// Waits for the daemon's end, then writes more than pipes and terminals hold, to both outputs; what became of that is
/// in a file.
fn script(name: &str) -> String {
    format!(
        "trap 'echo hung up >/{name}; exit' HUP; echo begun; echo >/{name}-begun; \
         until [ -e /gone ]; do sleep 0.05; done; \
         head -c 300000 /dev/zero && head -c 300000 /dev/zero >&2 && echo wrote >/{name}; \
         cat >/dev/null; echo read >>/{name}; exec sleep 0.1"
    )
}

/// A file of a container's root.
fn inside(init: Process, name: &str) -> PathBuf {
    format!("/proc/{}/root/{name}", init.0).into()
}

/// Files of execs that are in a container's bundle.
fn exec_files(bundle: &Path) -> Vec<String> {
    let entries = fs::read_dir(bundle).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("exec-")).collect()
}

fn descriptors(process: Process) -> usize {
    fs::read_dir(format!("/proc/{}/fd", process.0))
        .unwrap()
        .count()
}

fn children(process: Process) -> String {
    fs::read_to_string(format!("/proc/{0}/task/{0}/children", process.0)).unwrap()
}

/// A stream of an exec that has begun.
async fn stream(node: &Node, id: &str, script: &str, streams: Streams) -> Socket {
    let url = node.exec_url(id, &["sh", "-c", script], streams).await;
    let mut socket = Socket::open(&url, V5).await;
    socket.until(STDOUT, "begun").await;
    socket
}

#[tokio::test]
async fn what_a_killed_daemon_ran_goes_on_to_its_end() {
    node(async |node| {
        let (_, _, id) = node.idle("running").await;
        let init = Process(node.init_pid(&id).await);
        let monitor = init.parent();
        let bundle = node.runroot().join("containers").join(&id);
        let before = (descriptors(monitor), children(monitor));
        let plain = Streams {
            stdin: true,
            stderr: true,
            tty: false,
        };
        let terminal = Streams {
            stderr: false,
            tty: true,
            ..plain
        };
        let mut one = stream(node, &id, &script("plain"), plain).await;
        let mut two = stream(node, &id, &script("terminal"), terminal).await;
        let call = script("call");
        let words = ["sh", "-c", &call];
        let calling = async {
            let error = node.try_exec(&id, &words, 0).await.unwrap_err();
            assert_ne!(error.code(), Code::DeadlineExceeded, "{error}");
        };
        let killing = async {
            until("all run", async || inside(init, "call-begun").exists()).await;
            node.kill();
        };
        tokio::join!(calling, killing);
        one.finish().await;
        two.finish().await;
        node.start().await;
        assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
        fs::write(inside(init, "gone"), "").unwrap();
        for name in ["plain", "terminal", "call"] {
            until(&format!("{name} is over"), async || {
                let said = fs::read_to_string(inside(init, name)).unwrap_or_default();
                assert!(!said.contains("hung up"), "{name}: {said}");
                said == "wrote\nread\n"
            })
            .await;
        }
        until("nothing is left of them", async || {
            exec_files(&bundle).is_empty() && children(monitor) == before.1
        })
        .await;
        assert_eq!(node.exec(&id, &["echo", "well"]).await, "well");
        // The daemon's connection, and nothing else, is another than before.
        until("nothing is kept of them", async || {
            descriptors(monitor) == before.0
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_daemon_that_is_asked_to_end_leaves_streams_of_execs_to_their_monitor() {
    node(async |node| {
        let (_, _, id) = node.idle("asked").await;
        let init = Process(node.init_pid(&id).await);
        let terminal = Streams {
            stdin: true,
            tty: true,
            ..Streams::default()
        };
        let mut one = stream(node, &id, &script("plain"), Streams::default()).await;
        let mut two = stream(node, &id, &script("terminal"), terminal).await;
        assert!(node.terminate().await.success());
        one.finish().await;
        two.finish().await;
        assert!(two.text(3).contains("stopping"), "{:?}", two.text(3));
        node.start().await;
        fs::write(inside(init, "gone"), "").unwrap();
        for name in ["plain", "terminal"] {
            until(&format!("{name} is over"), async || {
                let said = fs::read_to_string(inside(init, name)).unwrap_or_default();
                assert!(!said.contains("hung up"), "{name}: {said}");
                said == "wrote\nread\n"
            })
            .await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_time_limit_holds_without_the_daemon() {
    node(async |node| {
        let (_, _, id) = node.idle("limited").await;
        let init = Process(node.init_pid(&id).await);
        let words = ["sh", "-c", "echo $$ >/limited; yes 7654321 & yes 7654321"];
        let calling = node.try_exec(&id, &words, 3);
        let killing = async {
            until("it runs", async || inside(init, "limited").exists()).await;
            node.kill();
        };
        let (called, ()) = tokio::join!(calling, killing);
        called.unwrap_err();
        until("all of it is killed", async || {
            children(init.parent()).trim() == init.0.to_string()
        })
        .await;
        node.start().await;
        assert!(!node.exec(&id, &["ps"]).await.contains("7654321"));
    })
    .await;
}

#[tokio::test]
async fn what_goes_on_without_its_daemon_ends_with_its_container() {
    node(async |node| {
        let (_, _, id) = node.idle("ending").await;
        let init = Process(node.init_pid(&id).await);
        let mut one = stream(
            node,
            &id,
            "echo begun; exec yes >/dev/null",
            Streams::default(),
        )
        .await;
        let monitor = init.parent();
        node.kill();
        one.finish().await;
        node.start().await;
        node.stop_container(&id, 0).await.unwrap();
        until("its monitor is gone", async || !monitor.is_alive()).await;
        node.remove_container(&id).await.unwrap();
    })
    .await;
}
