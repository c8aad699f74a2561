//! Exec, attach and port forwarding.

use corten::cri::api::{self, ContainerState};
use tonic::Code;

use crate::support::{
    Node, Socket, Streams, ask, container, node, pod, pod_net, shell, status, until, upgrade,
};

const V5: &str = "v5.channel.k8s.io";
const V4: &str = "v4.channel.k8s.io";
/// Which output, and what a status is told on.
const STDOUT: usize = 1;
const STDERR: usize = 2;
const STDIN: u8 = 0;
const RESIZE: u8 = 4;

const PLAIN: Streams = Streams {
    stdin: false,
    stderr: true,
    tty: false,
};
const FED: Streams = Streams {
    stdin: true,
    ..PLAIN
};
const TERMINAL: Streams = Streams {
    stdin: true,
    stderr: false,
    tty: true,
};

#[tokio::test]
async fn output_and_exit_code_come_in_every_protocol() {
    node(async |node| {
        let (_, _, id) = node.idle("protocols").await;
        let script = ["sh", "-c", "echo out; echo err >&2; exit 42"];
        for protocol in [V5, V4, "v4.base64.channel.k8s.io"] {
            let url = node.exec_url(&id, &script, PLAIN).await;
            let mut socket = Socket::open(&url, protocol).await;
            socket.finish().await;
            assert_eq!(socket.text(STDOUT), "out\n", "{protocol}");
            assert_eq!(socket.text(STDERR), "err\n", "{protocol}");
            assert_eq!(socket.exit_code(), 42, "{protocol}");
            assert!(socket.closed, "{protocol}");
        }
        for protocol in ["", "channel.k8s.io", "base64.channel.k8s.io"] {
            let url = node.exec_url(&id, &script, PLAIN).await;
            let mut socket = Socket::open(&url, protocol).await;
            socket.finish().await;
            assert_eq!(socket.text(STDOUT), "out\n", "{protocol}");
            assert!(socket.text(3).contains("42"), "{:?}", socket.text(3));
        }
        let url = node.exec_url(&id, &["true"], PLAIN).await;
        let mut socket = Socket::open(&url, V5).await;
        socket.finish().await;
        assert_eq!(socket.exit_code(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_named_in_the_runtimes_words() {
    node(async |node| {
        let (_, _, id) = node.idle("unknown").await;
        for streams in [PLAIN, TERMINAL] {
            let url = node.exec_url(&id, &["no-such-command"], streams).await;
            let mut socket = Socket::open(&url, V5).await;
            socket.finish().await;
            let status = socket.outcome();
            assert_eq!(status["status"], "Failure");
            let message = status["message"].as_str().unwrap();
            assert!(message.contains("no-such-command"), "{message}");
            assert!(socket.seen[STDERR].is_empty(), "{:?}", socket.text(STDERR));
        }
        // The shell's own codes come through.
        let url = node
            .exec_url(&id, &["sh", "-c", "no-such-command"], PLAIN)
            .await;
        let mut socket = Socket::open(&url, V5).await;
        socket.finish().await;
        assert_eq!(socket.exit_code(), 127);
        no_exec_files(node, &id);
    })
    .await;
}

/// Execs leave nothing in the bundle.
fn no_exec_files(node: &Node, id: &str) {
    let bundle = node.runroot().join("containers").join(id);
    for entry in std::fs::read_dir(bundle).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.starts_with("exec-"), "{name}");
    }
}

#[tokio::test]
async fn sixty_four_mebibytes_go_both_ways_unharmed() {
    node(async |node| {
        let (_, _, id) = node.idle("bulk").await;
        let url = node.exec_url(&id, &["cat"], FED).await;
        let mut socket = Socket::open(&url, V5).await;
        let piece = |n: usize| -> Vec<u8> {
            (0..64 * 1024usize)
                .map(|i| (i.wrapping_mul(31) ^ n.wrapping_mul(7)) as u8)
                .collect()
        };
        let (mut sent, mut checked, mut at) = (0, 0, 0);
        while checked < 1024 {
            // Not more than pipes and windows hold is sent ahead of what comes back.
            if sent < 1024 && sent < checked + 4 {
                socket.send(STDIN, &piece(sent)).await;
                sent += 1;
                if sent == 1024 {
                    socket.half_close().await;
                }
                continue;
            }
            assert!(socket.receive().await, "it ended early");
            while socket.seen[STDOUT].len() - at >= 64 * 1024 {
                assert!(socket.seen[STDOUT][at..at + 64 * 1024] == piece(checked));
                at += 64 * 1024;
                checked += 1;
            }
        }
        socket.finish().await;
        assert_eq!(socket.seen[STDOUT].len(), 64 << 20);
        assert_eq!(socket.exit_code(), 0);
    })
    .await;
}

#[tokio::test]
async fn half_close_ends_the_input_of_a_command() {
    node(async |node| {
        let (_, _, id) = node.idle("half").await;
        let url = node
            .exec_url(&id, &["sh", "-c", "wc -c; echo more"], FED)
            .await;
        let mut socket = Socket::open(&url, V5).await;
        socket.send(STDIN, b"four").await;
        socket.half_close().await;
        socket.finish().await;
        assert_eq!(socket.text(STDOUT), "4\nmore\n");
        // A terminal ends its input by a character.
        let url = node.exec_url(&id, &["cat"], TERMINAL).await;
        let mut socket = Socket::open(&url, V5).await;
        socket.send(STDIN, b"word").await;
        socket.half_close().await;
        socket.finish().await;
        assert_eq!(socket.text(STDOUT), "wordword");
        assert_eq!(socket.exit_code(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_terminal_is_one_and_follows_the_clients_size() {
    node(async |node| {
        let (_, _, id) = node.idle("terminal").await;
        let script = "busybox tty; echo $TERM; \
                      until [ \"$(busybox stty size)\" = '37 101' ]; do usleep 20000; done; echo sized; \
                      until [ \"$(busybox stty size)\" = '24 80' ]; do usleep 20000; done; \
                      read line; echo \"<$line>\"; exit 3";
        let url = node.exec_url(&id, &["sh", "-c", script], TERMINAL).await;
        let mut socket = Socket::open(&url, V4).await;
        socket.send(RESIZE, b"{\"Width\":101,\"Height\":37}\n").await;
        socket.until(STDOUT, "sized\r\n").await;
        socket.send(RESIZE, b"{\"Width\":80,\"Height\":24}\n").await;
        socket.send(STDIN, b"typed\n").await;
        socket.finish().await;
        let seen = socket.text(STDOUT);
        assert!(seen.starts_with("/dev/pts/"), "{seen}");
        assert!(seen.contains("xterm\r\n"), "{seen}");
        assert!(seen.contains("<typed>\r\n"), "{seen}");
        assert_eq!(socket.exit_code(), 3);
        no_exec_files(node, &id);
    })
    .await;
}

#[tokio::test]
async fn a_command_whose_client_leaves_is_killed() {
    node(async |node| {
        let (_, _, id) = node.idle("left").await;
        for streams in [PLAIN, TERMINAL] {
            let script = "sleep 7654321 & echo ready; sleep 7654321";
            let url = node.exec_url(&id, &["sh", "-c", script], streams).await;
            let mut socket = Socket::open(&url, V5).await;
            socket.until(STDOUT, "ready").await;
            drop(socket);
            until("all of it is gone", async || {
                !node.exec(&id, &["ps"]).await.contains("7654321")
            })
            .await;
        }
        no_exec_files(node, &id);
    })
    .await;
}

#[tokio::test]
async fn input_of_a_client_that_can_only_leave_is_worked_on() {
    node(async |node| {
        let (_, _, id) = node.idle("upload").await;
        let script = "cat > /tmp/file; sleep 0.3; echo whole >> /tmp/file";
        let url = node.exec_url(&id, &["sh", "-c", script], FED).await;
        let mut socket = Socket::open(&url, V4).await;
        socket.send(STDIN, &b"line\n".repeat(10_000)).await;
        socket.close().await;
        until("the end of the file is there", async || {
            node.sh(&id, "tail -n 1 /tmp/file 2>/dev/null || true")
                .await
                == "whole"
        })
        .await;
        assert_eq!(node.sh(&id, "wc -l < /tmp/file").await.trim(), "10001");
    })
    .await;
}

#[tokio::test]
async fn what_a_command_leaves_behind_does_not_hold_its_stream() {
    node(async |node| {
        let (_, _, id) = node.idle("daemon").await;
        let script = "(echo child; exec sleep 7654321) & wait_for() { :; }; echo parent";
        let url = node.exec_url(&id, &["sh", "-c", script], PLAIN).await;
        let mut socket = Socket::open(&url, V5).await;
        socket.finish().await;
        assert!(socket.text(STDOUT).contains("parent\n"));
        assert_eq!(socket.exit_code(), 0);
    })
    .await;
}

#[tokio::test]
async fn clients_attach_detach_and_attach_again() {
    node(async |node| {
        let config = pod("attach");
        let pod = node.pod(&config).await;
        let mut main = container("main", &["sh"]);
        main.stdin = true;
        let id = node.launch(&pod, &config, &main).await;
        let mut socket = Socket::open(&node.attach_url(&id, FED).await, V5).await;
        socket.send(STDIN, b"echo one; echo two >&2\n").await;
        socket.until(STDOUT, "one\n").await;
        socket.until(STDERR, "two\n").await;
        drop(socket);
        let mut listener = Socket::open(&node.attach_url(&id, PLAIN).await, V4).await;
        let mut socket = Socket::open(&node.attach_url(&id, FED).await, V5).await;
        socket.send(STDIN, b"echo three\n").await;
        socket.until(STDOUT, "three\n").await;
        assert!(!socket.text(STDOUT).contains("one"));
        // Both hear of the end, after all output.
        socket.send(STDIN, b"echo last words; exit 5\n").await;
        for socket in [&mut socket, &mut listener] {
            socket.finish().await;
            assert!(socket.text(STDOUT).ends_with("last words\n"));
            assert_eq!(socket.outcome()["status"], "Success");
        }
        assert_eq!(node.exit(&id).await.exit_code, 5);
    })
    .await;
}

#[tokio::test]
async fn input_for_once_ends_with_its_client() {
    node(async |node| {
        let config = pod("once");
        let pod = node.pod(&config).await;
        for half_close in [true, false] {
            let name = format!("main-{half_close}");
            let mut main = shell(&name, "cat; exit 6");
            (main.stdin, main.stdin_once) = (true, true);
            let id = node.launch(&pod, &config, &main).await;
            let mut socket = Socket::open(&node.attach_url(&id, FED).await, V5).await;
            socket.send(STDIN, b"words\n").await;
            socket.until(STDOUT, "words\n").await;
            if half_close {
                socket.half_close().await;
                socket.finish().await;
                assert_eq!(socket.outcome()["status"], "Success");
            } else {
                drop(socket);
            }
            assert_eq!(node.exit(&id).await.exit_code, 6);
        }
    })
    .await;
}

#[tokio::test]
async fn a_containers_terminal_follows_the_attached_client() {
    node(async |node| {
        let config = pod("tty");
        let pod = node.pod(&config).await;
        let script =
            "until [ \"$(busybox stty size)\" = '33 99' ]; do usleep 20000; done; echo sized";
        let mut main = shell("main", script);
        (main.stdin, main.tty) = (true, true);
        let id = node.launch(&pod, &config, &main).await;
        let mut socket = Socket::open(&node.attach_url(&id, TERMINAL).await, V5).await;
        socket.send(RESIZE, b"{\"Width\":99,\"Height\":33}").await;
        socket.finish().await;
        assert!(socket.text(STDOUT).ends_with("sized\r\n"));
        assert_eq!(socket.outcome()["status"], "Success");
    })
    .await;
}

#[tokio::test]
async fn a_client_detaches_from_a_terminal_by_the_end_of_its_input() {
    node(async |node| {
        let config = pod("detach");
        let pod = node.pod(&config).await;
        let mut main = shell("main", "while read word; do echo \"got $word\"; done");
        (main.stdin, main.tty) = (true, true);
        let id = node.launch(&pod, &config, &main).await;
        for word in ["one", "two"] {
            let mut socket = Socket::open(&node.attach_url(&id, TERMINAL).await, V5).await;
            socket.send(STDIN, format!("{word}\n").as_bytes()).await;
            socket.until(STDOUT, &format!("got {word}\r\n")).await;
            socket.half_close().await;
            socket.finish().await;
            assert_eq!(socket.outcome()["status"], "Success");
        }
        let running = ContainerState::ContainerRunning;
        assert_eq!(node.status(&id).await.state(), running);
    })
    .await;
}

#[tokio::test]
async fn an_attached_client_that_does_not_read_is_let_go_and_told() {
    node(async |node| {
        let config = pod("slow");
        let pod = node.pod(&config).await;
        let script =
            "read line; yes 0123456789abcdef | head -c 100000000; echo over; exec sleep 1000000";
        let mut main = shell("main", script);
        main.stdin = true;
        main.log_path = String::new();
        let id = node.launch(&pod, &config, &main).await;
        let mut slow = Socket::open(&node.attach_url(&id, PLAIN).await, V5).await;
        let mut other = Socket::open(&node.attach_url(&id, FED).await, V5).await;
        other.send(STDIN, b"go\n").await;
        // The other may be too slow as well, where processors are few; the container goes on in any case.
        while !other.text(STDOUT).ends_with("over\n") && other.receive().await {
            let keep = other.seen[STDOUT].len().saturating_sub(64);
            other.seen[STDOUT].drain(..keep);
        }
        asleep(node, &id).await;
        slow.finish().await;
        let status = slow.outcome();
        let message = status["message"].as_str().unwrap();
        assert!(message.contains("too slowly"), "{message}");
    })
    .await;
}

/// Waits until the shell that a container began with has come to its end and is `sleep`. Its command line has that word from
/// the first.
async fn asleep(node: &Node, id: &str) {
    until("the container's shell is done", async || {
        node.exec(id, &["cat", "/proc/1/comm"]).await == "sleep"
    })
    .await;
}

/// Asks a web server at a forwarded port for its page.
async fn page(node: &Node, pod: &str, port: u16) -> (String, String) {
    let url = node.forward_url(pod).await.unwrap();
    let mut socket = Socket::open(&format!("{url}?port={port}"), V4).await;
    socket.send(0, b"GET /page HTTP/1.0\r\n\r\n").await;
    socket.finish().await;
    let number = port.to_le_bytes();
    for channel in [0, 1] {
        assert!(socket.seen[channel].starts_with(&number), "port {port}");
    }
    let said = |channel: usize| String::from_utf8_lossy(&socket.seen[channel][2..]).into_owned();
    (said(0), said(1))
}

#[tokio::test]
async fn ports_are_reached_over_both_families() {
    node(async |node| {
        let config = pod_net("ports");
        let pod = node.pod(&config).await;
        let script = "echo four > /tmp/page; mkdir /tmp/six; echo six > /tmp/six/page; \
                      httpd -p 127.0.0.1:8080 -h /tmp; httpd -p '[::1]:8081' -h /tmp/six; \
                      exec sleep 1000000";
        let id = node.launch(&pod, &config, &shell("main", script)).await;
        asleep(node, &id).await;
        let (said, error) = page(node, &pod, 8080).await;
        assert!(said.ends_with("\nfour\n"), "{said:?} {error:?}");
        assert_eq!(error, "");
        let (said, error) = page(node, &pod, 8081).await;
        assert!(said.ends_with("\nsix\n"), "{said:?} {error:?}");
        let (said, error) = page(node, &pod, 8082).await;
        assert_eq!(said, "");
        assert!(error.contains("8082"), "{error}");
        assert!(error.contains("refused"), "{error}");
        let pages = (0..20).map(|_| page(node, &pod, 8080));
        for (said, _) in futures_util::future::join_all(pages).await {
            assert!(said.ends_with("\nfour\n"), "{said:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn ports_of_pods_on_the_hosts_network_are_the_hosts() {
    node(async |node| {
        let config = pod("host");
        let pod = node.pod(&config).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut connection, b"the host")
                .await
                .unwrap();
        });
        let (said, error) = page(node, &pod, port).await;
        assert_eq!((said.as_str(), error.as_str()), ("the host", ""));
    })
    .await;
}

#[tokio::test]
async fn a_url_is_good_once_and_for_its_purpose() {
    node(async |node| {
        let (_, _, id) = node.idle("tokens").await;
        let url = node.exec_url(&id, &["true"], PLAIN).await;
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        let answer = async |url: &str, method, headers: &str| {
            let (head, _) = ask(url, method, headers).await;
            status(&head)
        };
        let socket = upgrade(V5);
        // None of these uses the token up.
        assert_eq!(answer(&url, "GET", "").await, 400);
        assert_eq!(answer(&url, "DELETE", &socket).await, 405);
        assert_eq!(answer(&url, "GET", &upgrade("soap")).await, 403);
        let spdy = "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n";
        assert_eq!(answer(&url, "POST", spdy).await, 400);
        let unknown = format!("{spdy}X-Stream-Protocol-Version: v77.channel.k8s.io\r\n");
        assert_eq!(answer(&url, "POST", &unknown).await, 403);
        let elsewhere = url.replace("/exec/", "/attach/");
        assert_eq!(answer(&elsewhere, "GET", &socket).await, 404);
        // A browser's origin is no hindrance: kubelets pass it on.
        let with_origin = format!("{socket}Origin: https://example.com\r\n");
        assert_eq!(answer(&url, "GET", &with_origin).await, 101);
        assert_eq!(answer(&url, "GET", &socket).await, 404);
        let guessed = url.rsplit_once('/').unwrap().0.to_owned() + "/guessed";
        assert_eq!(answer(&guessed, "GET", &socket).await, 404);
        let url = node.exec_url(&id, &["true"], PLAIN).await;
        let known = format!("{spdy}X-Stream-Protocol-Version: v4.channel.k8s.io\r\n");
        assert_eq!(answer(&url, "POST", &known).await, 101);
    })
    .await;
}

#[tokio::test]
async fn requests_that_make_no_sense_get_no_url() {
    node(async |node| {
        let config = pod("bad");
        let pod = node.pod(&config).await;
        let id = node
            .create(&pod, &config, &container("main", &["true"]))
            .await;
        let good = api::ExecRequest {
            container_id: id.clone(),
            cmd: vec!["true".into()],
            stdout: true,
            ..Default::default()
        };
        let exec = async |change: &dyn Fn(&mut api::ExecRequest)| {
            let mut request = good.clone();
            change(&mut request);
            let error = node.runtime().exec(request).await.unwrap_err();
            (error.code(), error.message().to_owned())
        };
        assert_eq!(exec(&|_| {}).await.0, Code::FailedPrecondition);
        assert_eq!(exec(&|r| r.cmd.clear()).await.0, Code::InvalidArgument);
        assert_eq!(exec(&|r| r.stdout = false).await.0, Code::InvalidArgument);
        let both = exec(&|r| (r.tty, r.stderr) = (true, true)).await;
        assert_eq!(both.0, Code::InvalidArgument);
        assert!(both.1.contains("tty"), "{}", both.1);
        let nowhere = exec(&|r| r.container_id = "0".repeat(64)).await;
        assert_eq!(nowhere.0, Code::NotFound);
        let attach = node
            .runtime()
            .attach(api::AttachRequest {
                container_id: id.clone(),
                stdout: true,
                ..Default::default()
            })
            .await;
        assert_eq!(attach.unwrap_err().code(), Code::FailedPrecondition);
        let forward = node
            .runtime()
            .port_forward(api::PortForwardRequest {
                pod_sandbox_id: pod.clone(),
                port: vec![80, 70000],
            })
            .await
            .unwrap_err();
        assert_eq!(forward.code(), Code::InvalidArgument);
        assert!(forward.message().contains("70000"), "{forward}");
        node.stop_pod(&pod).await.unwrap();
        let stopped = node.forward_url(&pod).await.unwrap_err();
        assert_eq!(stopped.code(), Code::FailedPrecondition);
    })
    .await;
}

#[tokio::test]
async fn streams_end_with_the_daemon_and_what_runs_does_not() {
    node(async |node| {
        let (_, _, id) = node.idle("drain").await;
        let url = node
            .exec_url(&id, &["sh", "-c", "echo ready; sleep 7654321"], PLAIN)
            .await;
        let mut exec = Socket::open(&url, V5).await;
        exec.until(STDOUT, "ready").await;
        let mut attached = Socket::open(&node.attach_url(&id, PLAIN).await, V5).await;
        let ending = async {
            exec.finish().await;
            attached.finish().await;
        };
        let (exit, ()) = tokio::join!(node.terminate(), ending);
        assert!(exit.success(), "{exit}");
        for socket in [&exec, &attached] {
            let status = socket.outcome();
            let message = status["message"].as_str().unwrap();
            assert!(message.contains("stopping"), "{message}");
        }
        node.start().await;
        until("the container is taken up", async || {
            node.try_exec(&id, &["true"], 0).await.is_ok()
        })
        .await;
        // Nor does what was run in them.
        assert!(node.exec(&id, &["ps"]).await.contains("7654321"));
    })
    .await;
}
