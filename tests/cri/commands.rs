//! What runs: command and arguments, environment, working directory.

use corten::cri::api::KeyValue;
use serde_json::json;

use crate::support::{Entry, Packing, args, busybox, image_spec, node, pod, shell, userless};

const SHOW: &str = "#!/bin/sh\nfor a in \"$0\" \"$@\"; do echo \"[$a]\"; done\n";

#[tokio::test]
async fn command_and_arguments_take_precedence_as_kubernetes_says() {
    node(async |node| {
        let tools = [
            Entry::file("show", SHOW, 0o755),
            Entry::file("other", SHOW, 0o755),
        ];
        let base = busybox().layer(&tools, Packing::Gzip);
        let both = base
            .clone()
            .with("Entrypoint", json!(["/show", "e"]))
            .with("Cmd", json!(["c"]));
        node.load(&both, "localhost/both:1").await;
        node.load(&base.with("Cmd", json!(["/show", "c"])), "localhost/cmd:1")
            .await;
        for (image, command, arguments, expected) in [
            ("both", &[][..], &[][..], "[/show] [e] [c]"),
            ("both", &[], &["a", ""], "[/show] [e] [a] []"),
            ("both", &["/other"], &[], "[/other]"),
            ("both", &["/other", "x y"], &["a"], "[/other] [x y] [a]"),
            ("cmd", &[], &[], "[/show] [c]"),
            ("cmd", &[], &["/other", "a"], "[/other] [a]"),
            ("cmd", &["/other"], &["a"], "[/other] [a]"),
        ] {
            let mut main = userless("main", &format!("localhost/{image}:1"));
            main.command = args(command);
            main.args = args(arguments);
            let (status, output) = node.run_once(&pod("precedence"), &main).await;
            assert_eq!(status.exit_code, 0, "{output}");
            let words: Vec<&str> = output.lines().collect();
            assert_eq!(
                words.join(" "),
                expected,
                "{image} {command:?} {arguments:?}"
            );
        }
    })
    .await;
}

fn env(key: &str, value: &[u8]) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: value.to_vec(),
    }
}

#[tokio::test]
async fn the_environment_is_the_images_with_the_requests_on_top() {
    node(async |node| {
        let image = busybox().layer(&[], Packing::Gzip).with(
            "Env",
            json!(["PATH=/bin", "KEPT=image", "CHANGED=image", "WITH=a=b"]),
        );
        node.load(&image, "localhost/env:1").await;
        let output = node
            .prints(
                "environment",
                "cat /proc/$$/environ | tr '\\0' '\\n'",
                |main| {
                    main.image = Some(image_spec("localhost/env:1"));
                    main.envs = vec![
                        env("CHANGED", b"first"),
                        env("NEW", "ü $KEPT \"quoted\"".as_bytes()),
                        env("CHANGED", b"request"),
                        env("EMPTY", b""),
                    ];
                },
            )
            .await;
        let lines: Vec<&str> = output.lines().collect();
        for line in [
            "PATH=/bin",
            "KEPT=image",
            "CHANGED=request",
            "WITH=a=b",
            "NEW=ü $KEPT \"quoted\"",
            "EMPTY=",
        ] {
            let count = lines.iter().filter(|&&l| l == line).count();
            assert_eq!(count, 1, "{line} in {output}");
        }
        assert!(!output.contains("CHANGED=image") && !output.contains("CHANGED=first"));
        assert!(lines.contains(&"HOME=/root"), "{output}");
    })
    .await;
}

#[tokio::test]
async fn a_value_of_many_lines_arrives_whole() {
    node(async |node| {
        let output = node
            .prints("lines", "printf %s \"$LINES_OF_IT\"", |main| {
                main.envs = vec![env("LINES_OF_IT", b"one\ntwo\n\tthree")];
            })
            .await;
        assert_eq!(output, "one\ntwo\n\tthree");
    })
    .await;
}

#[tokio::test]
async fn without_a_path_the_usual_one_is_set() {
    node(async |node| {
        let image = busybox().layer(&[], Packing::Gzip).with("Env", json!(null));
        node.load(&image, "localhost/no-env:1").await;
        let output = node
            .prints("no-path", "echo $PATH", |main| {
                main.image = Some(image_spec("localhost/no-env:1"));
            })
            .await;
        assert!(output.split(':').any(|dir| dir == "/bin"), "{output}");
    })
    .await;
}

#[tokio::test]
async fn the_working_directory_is_the_requests_the_images_or_the_root() {
    node(async |node| {
        let image = busybox()
            .layer(&[], Packing::Gzip)
            .with("WorkingDir", json!("/usr"));
        node.load(&image, "localhost/dir:1").await;
        for (image, dir, expected) in [
            ("localhost/dir:1", "", "/usr"),
            ("localhost/dir:1", "/var", "/var"),
            // Made where it is not there.
            ("localhost/dir:1", "/made/for/it", "/made/for/it"),
            (crate::support::IMAGE, "", "/"),
        ] {
            let output = node
                .prints("directory", "pwd", |main| {
                    main.image = Some(image_spec(image));
                    main.working_dir = dir.into();
                })
                .await;
            assert_eq!(output, expected, "{image} {dir:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_script_without_a_shell_line_is_refused_with_the_reason() {
    node(async |node| {
        let config = pod("commands");
        let pod = node.pod(&config).await;
        for command in ["/no/such/program", "no-such-program", "/etc/passwd"] {
            let mut main = shell("main", "");
            main.command = args(&[command]);
            main.metadata.as_mut().unwrap().name = command.replace('/', "_");
            let error = match node.try_create(&pod, &config, &main).await {
                Err(error) => error,
                Ok(id) => node.start_container(&id).await.unwrap_err(),
            };
            // crun does not say what it was that it may not run.
            let named = ["open executable", command];
            let named = named.iter().any(|name| error.message().contains(name));
            assert!(named, "{error}");
            assert_eq!(error.code(), tonic::Code::InvalidArgument, "{error}");
            let lower = error.message().to_lowercase();
            assert!(
                ["no such file", "not found", "permission denied"]
                    .iter()
                    .any(|words| lower.contains(words)),
                "{error}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_terminal_is_given_where_asked_for() {
    node(async |node| {
        let output = node
            .prints(
                "terminal",
                "test -t 0 && test -t 1 && test -t 2 && echo $TERM",
                |main| {
                    main.tty = true;
                },
            )
            .await;
        assert_eq!(output.trim(), "xterm");
        let output = node
            .prints(
                "none",
                "test -t 0 || readlink /proc/self/fd/0; cat; echo end",
                |_| (),
            )
            .await;
        assert!(output.ends_with("end"), "{output}");
    })
    .await;
}
