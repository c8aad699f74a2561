//! Processes of the daemon that a container could reach, and what reaches them.

use corten::cri::api::NamespaceMode;

use super::parent;
use crate::support::{linux, monitor_program, namespaces, node, pod, security, shell};

#[tokio::test]
async fn the_monitor_is_outside_the_pods_memory_limit() {
    node(async |node| {
        let (_, _, id) = node.idle("monitor").await;
        let init = node.init_pid(&id).await;
        let monitor = parent(init);
        let program = std::fs::read_link(format!("/proc/{monitor}/exe")).unwrap();
        assert!(
            program.to_str().unwrap().contains("conmon"),
            "{}",
            program.display()
        );
        assert_ne!(monitor, node.pid());
        let group = |pid: u32| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
            let line = text
                .lines()
                .find(|line| line.contains(":memory:") || line.starts_with("0::/c"));
            line.unwrap_or_default().to_owned()
        };
        let pods = format!("{}/", node.cgroup());
        assert!(!group(monitor).contains(&pods), "{}", group(monitor));
        assert!(group(init).contains(&pods), "{}", group(init));
    })
    .await;
}

#[tokio::test]
async fn a_container_that_runs_out_of_memory_takes_no_monitor_with_it() {
    node(async |node| {
        let config = pod("eats");
        let pod = node.pod(&config).await;
        let mut main = shell("main", "x=x; while :; do x=$x$x; done");
        let resources = linux(&mut main).resources.get_or_insert_default();
        resources.memory_limit_in_bytes = 24 << 20;
        let id = node.launch(&pod, &config, &main).await;
        let status = node.exit(&id).await;
        // A monitor that went with it could not have said so.
        assert_eq!(status.reason, "OOMKilled", "{status:?}");
    })
    .await;
}

#[tokio::test]
async fn the_program_of_the_infra_process_cannot_be_overwritten() {
    node(async |node| {
        let before = std::fs::read(monitor_program()).unwrap();
        let mut config = pod("exe");
        namespaces(&mut config).pid = NamespaceMode::Pod as i32;
        let pod = node.pod(&config).await;
        // What is open for reading now could be opened for writing once nobody runs it any longer: that the
        // file is busy is no protection, that its mount is read-only is.
        let script = "tr '\\0' ' ' </proc/1/cmdline; echo; \
                      for file in /proc/1/exe /proc/1/root/pause; do \
                        (exec 7<$file && echo bad >/proc/self/fd/7) 2>&1; (echo bad >$file) 2>&1; \
                      done; true";
        let mut main = shell("main", script);
        security(&mut main).namespace_options = Some(namespaces(&mut config).clone());
        let id = node.launch(&pod, &config, &main).await;
        node.exit(&id).await;
        let output = node.output(&config, &main);
        let mut lines = output.lines();
        assert!(lines.next().unwrap().contains("/pause"), "{output}");
        for line in lines {
            let refused = ["Read-only file system", "ermission denied"];
            assert!(refused.iter().any(|text| line.contains(text)), "{output}");
        }
        assert_eq!(output.lines().count(), 5, "{output}");
        assert_eq!(std::fs::read(monitor_program()).unwrap(), before);
    })
    .await;
}
