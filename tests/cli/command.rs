//! The built command: arguments, messages and exit codes, and its own service against a small server.

use std::{
    io::Write,
    path::Path,
    pin::Pin,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use corten::cri::control_api::{
    Image, Layer, LayerState, Layers, LoadRequest, LoadResponse, PullEvent, PullRequest,
    control_server::{Control, ControlServer},
    pull_event::Event,
};
use tokio_stream::{Stream, StreamExt, wrappers::UnixListenerStream};
use tonic::{Request, Response, Status, Streaming};

fn corten(listen: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corten"));
    command
        .env_clear()
        .env("CORTEN_CONFIG", "/dev/null")
        .env("CORTEN_LISTEN", listen)
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let dir = tempfile::tempdir().unwrap();
    taken_apart(
        corten(&dir.path().join("none.sock"), arguments)
            .output()
            .unwrap(),
    )
}

fn taken_apart(output: Output) -> (i32, String, String) {
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn without_a_daemon_every_command_says_how_to_start_one() {
    for (arguments, code) in [
        (&["ps"][..], 1),
        (&["images"], 1),
        (&["pull", "x"], 1),
        (&["load", "/dev/null"], 1),
        (&["logs", "x"], 1),
        (&["stop", "x"], 1),
        (&["rm", "x"], 1),
        (&["version"], 1),
        (&["run", "x"], 125),
        (&["exec", "x", "true"], 125),
    ] {
        let (actual, _, err) = run(arguments);
        assert_eq!(actual, code, "{arguments:?}: {err}");
        assert!(
            err.contains("none.sock") && err.contains("corten serve"),
            "{arguments:?}: {err}"
        );
    }
}

#[test]
fn arguments_that_make_no_sense_are_usage_errors() {
    for (arguments, part) in [
        (&["psx"][..], "'ps'"),
        (&["run"], "<IMAGE>"),
        (&["run", "-it", "x"], "streaming"),
        (&["exec", "-i", "x", "sh"], "not available yet"),
        (&["run", "-p", "80", "x"], "8080:80"),
        (&["run", "-v", "data:/data", "x"], "./data"),
        (&["run", "--memory", "1k", "x"], "4MiB"),
        (&["run", "--pull", "often", "x"], "missing"),
        (&["exec", "x"], "<COMMAND>"),
        (&["exec", "--timeout", "5", "x", "y"], "5m"),
        (&["logs", "--since", "monday", "x"], "10m"),
        (&["--root=/x", "ps"], "--root"),
        (&["serve", "--lisen=/x"], "--listen"),
        (&["pull", "--username", "me", "x"], "--password-stdin"),
    ] {
        let (code, _, err) = run(arguments);
        assert_eq!(code, 2, "{arguments:?}: {err}");
        assert!(err.contains(part), "{arguments:?}: {err}");
    }
}

#[test]
fn a_wrong_configuration_is_named_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    std::fs::write(&file, "cgroup_manager = 'systemdd'").unwrap();
    let (code, _, err) = run(&["--config", file.to_str().unwrap(), "serve"]);
    assert_eq!(code, 1);
    assert!(
        err.contains("c.toml sets cgroup_manager") && err.contains("cgroupfs, systemd"),
        "{err}"
    );
}

#[test]
fn the_configuration_is_printed_with_where_it_comes_from() {
    let (code, out, _) = run(&["config", "--current"]);
    assert_eq!(code, 0);
    assert!(out.contains("# the variable CORTEN_LISTEN"), "{out}");
    let (code, out, _) = run(&["config"]);
    assert_eq!(code, 0);
    assert!(out.contains("#stop_timeout = \"30s\""));
}

#[test]
fn version_and_completion_need_no_daemon() {
    let (code, out, _) = run(&["version", "--client"]);
    assert_eq!((code, out.starts_with("command  corten ")), (0, true));
    let (code, out, _) = run(&["completion", "bash"]);
    assert_eq!((code, out.contains("--cni-plugin-dir")), (0, true));
}

#[test]
fn output_that_nobody_reads_is_no_failure_worth_words() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = corten(dir.path(), &["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// A daemon that pulls one image and counts what is loaded.
#[derive(Clone, Default)]
struct Fake {
    loaded: Arc<Mutex<Vec<u8>>>,
    asked: Arc<Mutex<Option<PullRequest>>>,
}

#[tonic::async_trait]
impl Control for Fake {
    type PullStream = Pin<Box<dyn Stream<Item = Result<PullEvent, Status>> + Send>>;

    async fn pull(
        &self,
        request: Request<PullRequest>,
    ) -> Result<Response<Self::PullStream>, Status> {
        let request = request.into_inner();
        let image = request.image.clone();
        *self.asked.lock().unwrap() = Some(request);
        let layer = |state: LayerState, transferred| Layer {
            digest: format!("sha256:{}", "ab".repeat(32)),
            state: state.into(),
            transferred,
            size: 2048,
        };
        let layers = Layers {
            layers: vec![layer(LayerState::Waiting, 0)],
        };
        let end = match image.as_str() {
            "none" => Err(Status::not_found("no such image\u{1b}[2J: none")),
            "cut" => return Ok(Response::new(Box::pin(tokio_stream::empty()))),
            _ => Ok(Event::Done(Image {
                id: "sha256:77".into(),
                ..Default::default()
            })),
        };
        let events = [
            Ok(Event::Layers(layers)),
            Ok(Event::Layer(layer(LayerState::Pulling, 7))),
            Ok(Event::Layer(layer(LayerState::Done, 2048))),
            end,
        ];
        let events = events.map(|event| event.map(|event| PullEvent { event: Some(event) }));
        Ok(Response::new(Box::pin(tokio_stream::iter(events))))
    }

    async fn load(
        &self,
        request: Request<Streaming<LoadRequest>>,
    ) -> Result<Response<LoadResponse>, Status> {
        let mut parts = request.into_inner();
        while let Some(part) = parts.next().await {
            self.loaded.lock().unwrap().extend(part?.chunk);
        }
        if self.loaded.lock().unwrap().is_empty() {
            return Err(Status::invalid_argument("the archive is empty"));
        }
        Ok(Response::new(LoadResponse {
            images: vec![Image {
                id: "sha256:77".into(),
                tags: vec!["localhost/a:1".into()],
                ..Default::default()
            }],
        }))
    }
}

fn with_fake(check: impl FnOnce(&Path, &Fake)) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("corten.sock");
    let fake = Fake::default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let guard = runtime.enter();
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    runtime.spawn(
        tonic::transport::Server::builder()
            .add_service(ControlServer::new(fake.clone()))
            .serve_with_incoming(UnixListenerStream::new(listener)),
    );
    drop(guard);
    check(&path, &fake);
    runtime.shutdown_background();
}

#[test]
fn pull_tells_what_happens_and_prints_the_id() {
    with_fake(|socket, fake| {
        let output = corten(socket, &["pull", "a"]).output().unwrap();
        let (code, out, err) = taken_apart(output);
        assert_eq!((code, out.as_str()), (0, "sha256:77\n"), "{err}");
        assert!(
            err.contains("Pulling a\n") && err.contains("ababababababa  2.0 KiB  done"),
            "{err}"
        );

        let output = corten(socket, &["pull", "none"]).output().unwrap();
        let (code, _, err) = taken_apart(output);
        assert_eq!(code, 1);
        assert!(
            err.contains("cannot pull the image none: no such image"),
            "{err}"
        );
        assert!(!err.contains('\u{1b}'), "{err:?}");

        let output = corten(socket, &["pull", "cut"]).output().unwrap();
        assert_eq!(taken_apart(output).0, 1);

        let mut child = corten(
            socket,
            &["pull", "-q", "--username=me", "--password-stdin", "a"],
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
        child.stdin.take().unwrap().write_all(b"secret\n").unwrap();
        let (code, _, err) = taken_apart(child.wait_with_output().unwrap());
        assert_eq!((code, err.as_str()), (0, ""));
        let asked = fake.asked.lock().unwrap().take().unwrap();
        let credentials = asked.credentials.unwrap();
        assert_eq!(
            (credentials.username, credentials.password),
            ("me".into(), "secret".into())
        );
    });
}

#[test]
fn load_sends_a_file_or_standard_input_whole() {
    with_fake(|socket, fake| {
        let data: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&data).unwrap();
        let name = file.path().to_str().unwrap();
        let (code, out, err) = taken_apart(corten(socket, &["load", name]).output().unwrap());
        assert_eq!(code, 0, "{err}");
        assert_eq!(out, "Loaded localhost/a:1 (sha256:77)\n");
        assert!(*fake.loaded.lock().unwrap() == data);

        fake.loaded.lock().unwrap().clear();
        let input = std::fs::File::open(name).unwrap();
        let output = corten(socket, &["load", "-q"])
            .stdin(input)
            .output()
            .unwrap();
        assert_eq!(taken_apart(output).1, "sha256:77\n");
        assert!(*fake.loaded.lock().unwrap() == data);

        fake.loaded.lock().unwrap().clear();
        let (code, _, err) = taken_apart(corten(socket, &["load"]).output().unwrap());
        assert_eq!(code, 1);
        assert!(err.contains("the archive is empty"), "{err}");
        let (code, _, err) = taken_apart(corten(socket, &["load", "/nowhere"]).output().unwrap());
        assert_eq!(code, 1);
        assert!(err.contains("/nowhere"), "{err}");
    });
}

#[test]
fn a_service_the_daemon_lacks_is_named() {
    with_fake(|socket, _| {
        let (code, _, err) = taken_apart(corten(socket, &["ps"]).output().unwrap());
        assert_eq!(code, 1);
        assert!(err.contains("another version"), "{err}");
    });
}
