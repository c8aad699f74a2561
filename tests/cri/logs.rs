//! What containers print, in the format of the CRI.

use corten::cri::api::ReopenContainerLogRequest;
use tonic::Code;

use crate::support::{Options, container, node, node_with, pod, read_log, shell, until};

#[tokio::test]
async fn lines_carry_their_stream_and_are_whole() {
    node(async |node| {
        let config = pod("streams");
        let main = shell(
            "main",
            "echo one; echo two >&2; printf 'üñ\\tx\\n'; printf unfinished",
        );
        let (_, output) = node.run_once(&config, &main).await;
        assert!(output.starts_with("one\nüñ\tx\nunfinished"), "{output:?}");
        let log = node.log(&config, &main);
        assert!(
            log.iter()
                .any(|line| line.stream == "stderr" && line.text == "two")
        );
        let times: Vec<&String> = log
            .iter()
            .filter(|line| line.stream == "stdout")
            .map(|line| &line.time)
            .collect();
        assert!(times.is_sorted(), "{times:?}");
    })
    .await;
}

#[tokio::test]
async fn long_lines_come_in_parts() {
    node(async |node| {
        let config = pod("long");
        let main = shell(
            "main",
            "head -c 100000 /dev/zero | tr '\\0' x; echo; echo end",
        );
        let (_, output) = node.run_once(&config, &main).await;
        assert_eq!(output.len(), 100_000 + 1 + 4);
        assert!(output.ends_with("x\nend\n"));
        let log = node.log(&config, &main);
        assert!(log.len() > 2);
        assert!(log.iter().all(|line| line.text.len() <= 16 << 10));
        assert_eq!(log.iter().filter(|line| line.tag == "F").count(), 2);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_lost_of_much() {
    node(async |node| {
        let config = pod("much");
        let main = shell("main", "seq 1 200000 & seq 1 200000 >&2; wait");
        let (_, output) = node.run_once(&config, &main).await;
        let expected: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
        assert!(output == expected);
        let errors = node.log(&config, &main);
        let errors = errors.iter().filter(|line| line.stream == "stderr");
        assert_eq!(errors.count(), 200_000);
    })
    .await;
}

#[tokio::test]
async fn a_reopened_log_starts_afresh() {
    node(async |node| {
        let config = pod("reopened");
        let pod = node.pod(&config).await;
        let main = shell(
            "main",
            "echo before; while [ ! -e /go ]; do sleep 0.1; done; echo after; sleep 1000000",
        );
        let id = node.launch(&pod, &config, &main).await;
        let path = node.log_path(&config, &main);
        until("it has printed", async || !read_log(&path).is_empty()).await;
        let moved = path.with_extension("old");
        std::fs::rename(&path, &moved).unwrap();
        let request = ReopenContainerLogRequest {
            container_id: id.clone(),
        };
        node.runtime().reopen_container_log(request).await.unwrap();
        // The answer says that the new file is there.
        assert!(path.exists());
        node.exec(&id, &["touch", "/go"]).await;
        until("it prints there", async || !read_log(&path).is_empty()).await;
        assert_eq!(read_log(&path)[0].text, "after");
        assert_eq!(read_log(&moved).len(), 1);
    })
    .await;
}

#[tokio::test]
async fn only_a_running_containers_log_is_reopened() {
    node(async |node| {
        let config = pod("still");
        let pod = node.pod(&config).await;
        let id = node.launch(&pod, &config, &shell("main", "true")).await;
        node.exit(&id).await;
        let request = ReopenContainerLogRequest { container_id: id };
        let error = node
            .runtime()
            .reopen_container_log(request)
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        let request = ReopenContainerLogRequest {
            container_id: "feedface".into(),
        };
        let error = node
            .runtime()
            .reopen_container_log(request)
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_container_without_a_log_path_runs() {
    node(async |node| {
        let config = pod("silent");
        let pod = node.pod(&config).await;
        let mut main = shell("main", "seq 1 100000");
        main.log_path = String::new();
        let id = node.launch(&pod, &config, &main).await;
        assert_eq!(node.exit(&id).await.exit_code, 0);
    })
    .await;
}

#[tokio::test]
async fn a_log_directory_is_made() {
    node(async |node| {
        let mut config = pod("made");
        config.log_directory = node
            .scratch
            .join("logs/deep/below")
            .to_str()
            .unwrap()
            .into();
        let mut main = shell("main", "echo here");
        main.log_path = "container/0.log".into();
        let (_, output) = node.run_once(&config, &main).await;
        assert_eq!(output, "here\n");
    })
    .await;
}

#[tokio::test]
async fn a_log_has_a_limit_where_one_is_set() {
    let options = Options {
        args: vec!["--log-size-max=64KiB".into()],
        ..Options::default()
    };
    node_with(options, async |node| {
        let config = pod("limited");
        let main = shell("main", "seq 1 100000");
        let pod = node.pod(&config).await;
        let id = node.launch(&pod, &config, &main).await;
        node.exit(&id).await;
        let path = node.log_path(&config, &main);
        let size = std::fs::metadata(&path).unwrap().len();
        assert!(size <= 64 << 10, "{size}");
        assert_eq!(read_log(&path).last().unwrap().text, "100000");
    })
    .await;
}

#[tokio::test]
async fn a_terminals_output_is_logged_as_standard_output() {
    node(async |node| {
        let config = pod("terminal");
        let mut main = container("main", &["sh", "-c", "echo one; echo two >&2"]);
        main.tty = true;
        node.run_once(&config, &main).await;
        let log = node.log(&config, &main);
        assert!(log.iter().all(|line| line.stream == "stdout"), "{log:?}");
        let text: Vec<&str> = log.iter().map(|line| line.text.trim_end()).collect();
        assert_eq!(text, ["one", "two"]);
    })
    .await;
}
