//! `corten run`.

use crate::support::{
    IMAGE, Options, Registry, RegistryOptions, busybox, free_port, insecure, node, node_with, talk,
    until,
};

#[tokio::test]
async fn a_pod_runs_and_is_gone() {
    node(async |node| {
        let done = node
            .cli(&["run", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 7"])
            .await;
        assert_eq!(done.code, Some(7), "{done:?}");
        assert_eq!(done.stdout, "out\n");
        assert!(done.stderr.contains("err\n"), "{done:?}");
        assert!(node.pods(None).await.is_empty());
        let done = node
            .cli(&["run", IMAGE, "sh", "-c", "kill -TERM $$; sleep 1; exit 9"])
            .await;
        assert_eq!(done.code, Some(9), "{done:?}");
        let done = node.cli(&["run", IMAGE, "seq", "1", "20000"]).await.ok();
        assert_eq!(done.lines().count(), 20_000);
        assert!(node.containers(None).await.is_empty());
        let logs = node.scratch.join("run-logs");
        let left: Vec<_> = std::fs::read_dir(logs)
            .into_iter()
            .flatten()
            .flatten()
            .collect();
        assert!(left.is_empty(), "{left:?}");
    })
    .await;
}

#[tokio::test]
async fn options_reach_the_container() {
    node(async |node| {
        let dir = node.scratch.dir("shared");
        std::fs::write(dir.join("file"), "from the host").unwrap();
        let mount = format!("{}:/in:ro", dir.display());
        let script = "echo $A-$B; cat /in/file; echo; touch /in/x 2>/dev/null || echo ro; id -u; pwd; hostname";
        let output = node
            .cli(&[
                "run", "-e", "A=one two", "--env", "B=3", "-v", &mount, "--user", "1000", "--workdir", "/tmp",
                "--hostname", "named", IMAGE, "sh", "-c", script,
            ])
            .await
            .ok();
        assert_eq!(output, "one two-3\nfrom the host\nro\n1000\n/tmp\nnamed\n");
        let output = node.cli(&["run", "--entrypoint", "echo", IMAGE, "a", "b"]).await.ok();
        assert_eq!(output, "a b\n");
        let limit = node
            .cli(&["run", "--memory", "64MiB", "--host-network", IMAGE, "sh", "-c", "readlink /proc/self/ns/net"])
            .await
            .ok();
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        assert_eq!(limit.trim(), own.to_str().unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_port_is_published() {
    node(async |node| {
        let port = free_port();
        let publish = format!("127.0.0.1:{port}:8080");
        let id = node
            .cli(&[
                "run", "-d", "--name", "web", "-p", &publish, IMAGE, "httpd", "-f", "-p", "8080",
                "-h", "/etc",
            ])
            .await
            .ok();
        assert!(!id.trim().is_empty());
        let address = format!("127.0.0.1:{port}");
        until("the server answers", async || {
            let said = talk(&address, "GET /group HTTP/1.0\r\n\r\n").await;
            said.is_some_and(|said| said.contains("tester"))
        })
        .await;
        node.cli(&["rm", "-f", "web"]).await.ok();
        assert!(node.pods(None).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_image_that_is_missing_is_pulled_first() {
    let registry = Registry::start(RegistryOptions::default()).await;
    let name = registry.push("pulled", "1", &busybox()).await;
    let options = Options {
        registries: insecure(&registry.host()),
        no_image: true,
        ..Options::default()
    };
    node_with(options, async |node| {
        let output = node.cli(&["run", &name, "echo", "here"]).await.ok();
        assert_eq!(output, "here\n");
        let said = node
            .cli(&["run", "--pull", "never", "localhost/none:1", "true"])
            .await;
        assert_eq!(said.code, Some(125), "{said:?}");
        assert!(said.stderr.contains("localhost/none:1"), "{said:?}");
    })
    .await;
}

#[tokio::test]
async fn failures_say_what_to_do() {
    node(async |node| {
        let done = node.cli(&["run", IMAGE, "no-such-program"]).await;
        assert!(done.stderr.contains("no-such-program"), "{done:?}");
        assert!(done.code.is_some_and(|code| code != 0), "{done:?}");
        for (words, said) in [
            (
                &["run", "-v", "/not/there:/in", IMAGE, "true"][..],
                "/not/there",
            ),
            (
                &["run", "--user", "nobody-here", IMAGE, "true"],
                "nobody-here",
            ),
            (&["run", "-p", "99999:1", IMAGE, "true"], "99999"),
            (&["run", "Not A Reference", "true"], "Not A Reference"),
        ] {
            let done = node.cli(words).await;
            assert!(done.code.is_some_and(|code| code != 0), "{done:?}");
            assert!(done.stderr.contains(said), "{done:?}");
        }
        assert!(node.pods(None).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_interrupt_ends_the_pod() {
    node(async |node| {
        let mut command = node.cli_command();
        let mut child = command
            .args([
                "run",
                "--name",
                "stopped",
                IMAGE,
                "sh",
                "-c",
                "trap 'echo heard; exit 4' TERM INT; echo up; while :; do sleep 0.1; done",
            ])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        until("it runs", async || !node.containers(None).await.is_empty()).await;
        let id = node.containers(None).await[0].id.clone();
        until("it is up", async || node.status(&id).await.started_at > 0).await;
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let pid = nix::unistd::Pid::from_raw(child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        until("the command ends", async || {
            child.try_wait().unwrap().is_some()
        })
        .await;
        until("the pod is gone", async || node.pods(None).await.is_empty()).await;
    })
    .await;
}
