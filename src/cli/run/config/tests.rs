use super::*;
use clap::Parser;
use proptest::prelude::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    run: RunArgs,
}

fn args(text: &[&str]) -> RunArgs {
    Line::try_parse_from([&["run"], text].concat())
        .unwrap_or_else(|e| panic!("{e}"))
        .run
}

fn plan<'a>(args: &'a RunArgs) -> Plan<'a> {
    Plan::new(args, |_| None).unwrap()
}

#[test]
fn a_pod_and_its_container_agree() {
    let args = args(&[
        "--name=Web_1",
        "-p",
        "8080:80/udp",
        "-e",
        "A=1",
        "-v",
        "/tmp:/data:ro",
        "--memory=64MiB",
        "--cpus=.5",
        "-u",
        "7:8",
        "img",
        "sh",
        "-c",
        "echo hi",
    ]);
    let plan = plan(&args);
    let sandbox = plan.sandbox(Path::new("/logs/x"));
    assert_eq!(sandbox.hostname, "web-1");
    assert_eq!(sandbox.port_mappings[0].host_port, 8080);
    assert_eq!(sandbox.log_directory, "/logs/x");
    let container = plan.container("sha256:00", &sandbox);
    assert_eq!(container.args, ["sh", "-c", "echo hi"]);
    assert!(container.command.is_empty());
    assert_eq!(container.log_path, "Web_1.log");
    assert_eq!(container.mounts[0].host_path, "/tmp");
    assert!(container.mounts[0].readonly);
    let linux = container.linux.unwrap();
    let resources = linux.resources.unwrap();
    assert_eq!(resources.memory_limit_in_bytes, 64 << 20);
    assert_eq!(
        (resources.cpu_quota, resources.cpu_period),
        (50_000, 100_000)
    );
    let security = linux.security_context.unwrap();
    assert_eq!(security.run_as_user.unwrap().value, 7);
    assert_eq!(security.run_as_group.unwrap().value, 8);
    assert!(!security.masked_paths.is_empty());
    let pods = sandbox.linux.unwrap().security_context.unwrap();
    assert_eq!(security.namespace_options, pods.namespace_options);
}

#[test]
fn the_host_network_has_the_hosts_name() {
    let args = args(&["--host-network", "--privileged", "img"]);
    let plan = plan(&args);
    let sandbox = plan.sandbox(Path::new("/logs/x"));
    assert_eq!(sandbox.hostname, "");
    let container = plan.container("id", &sandbox);
    let security = container.linux.unwrap().security_context.unwrap();
    assert!(security.masked_paths.is_empty());
    let network = security.namespace_options.unwrap().network();
    assert_eq!(network, api::NamespaceMode::Node);
}

#[test]
fn a_pod_is_made_or_joined() {
    let new = args(&["--pod=new:shop", "--name=db", "-p", "1:2", "img"]);
    let new = plan(&new);
    assert_eq!((new.pod_name(), new.joins()), ("shop", None));
    let sandbox = new.sandbox(Path::new("/logs"));
    assert_eq!(sandbox.hostname, "shop");
    assert_eq!(new.container("id", &sandbox).metadata.unwrap().name, "db");
    let joined = args(&["--pod=shop", "img"]);
    assert_eq!(plan(&joined).joins(), Some("shop"));
}

#[test]
fn bad_arguments_are_named() {
    for (given, part) in [
        (&["--name=a/b", "img"][..], "--name \"a/b\""),
        (&["--name=-a", "img"], "--name"),
        (&["-e", "=1", "img"], "--env"),
        (&["--env-file=/nowhere", "img"], "/nowhere"),
        (&["-v", "/nowhere:/x", "img"], "/nowhere"),
        (&["--pod=web", "-p", "1:2", "img"], "--publish"),
        (&["--pod=web", "--runtime=crun", "img"], "--runtime"),
        (&["--pod=new:", "img"], "--pod new:"),
    ] {
        let text = match Plan::new(&args(given), |_| None) {
            Ok(_) => panic!("{given:?}"),
            Err(e) => e.to_string(),
        };
        assert!(text.contains(part), "{text}");
    }
    let refused = |text: &[&str]| Line::try_parse_from([&["run"], text].concat()).is_err();
    assert!(refused(&["-u", "4294967296", "img"]));
    assert!(refused(&[]));
}

#[test]
fn names_come_from_images() {
    assert_eq!(image_word("docker.io/library/Nginx:1.2"), "nginx");
    assert_eq!(image_word("localhost:5000/a-b@sha256:00"), "ab");
    assert_eq!(image_word("@"), "run");
}

proptest! {
    #[test]
    fn names_and_hostnames_are_what_the_api_takes(image in ".{0,40}", name in "[A-Za-z0-9][A-Za-z0-9_.-]{0,127}") {
        let made = format!("{}-12345", image_word(&image));
        prop_assert!(check_name("--name", &made).is_ok());
        prop_assert!(check_name("--name", &name).is_ok());
        let host = hostname(&name);
        prop_assert!(!host.is_empty() && host.len() <= 63);
        prop_assert!(host.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
        prop_assert!(!host.starts_with('-') && !host.ends_with('-'));
    }
}
