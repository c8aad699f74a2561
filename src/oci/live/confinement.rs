//! Identity, capabilities, filters, limits and devices.

use super::{Bench, field};
use crate::{
    container::spec::Seccomp,
    oci::{
        capability::CapSet,
        clamp::Limit,
        device,
        node::CgroupVersion,
        seccomp::{self, Filter},
        user::ResolvedUser,
    },
};

#[tokio::test]
async fn a_container_is_confined_as_asked() {
    let (bench, mut case) = Bench::new().await;
    case.user = ResolvedUser {
        uid: 1000,
        gid: 1001,
        groups: vec![1001, 7, 50_000],
        name: None,
        home: Some("/srv".into()),
    };
    case.container.security.no_new_privs = true;
    case.container.security.masked_paths = vec!["/etc/secret".into(), "/tmp".into()];
    case.container.security.readonly_paths = vec!["/proc/sys".into()];
    case.container.working_dir = "/srv/here".into();
    case.container.envs = vec![("GREETING".into(), "hello there".into())];
    case.container.resources.oom_score_adj = Some(777);
    case.defaults.rlimits = vec![(
        "NOFILE".into(),
        Limit {
            soft: 100,
            hard: 200,
        },
    )];
    let out = bench
        .run_script(
            &mut case,
            "id -u; id -g; id -G; pwd; echo $GREETING $HOME $HOSTNAME; cat /proc/self/oom_score_adj; \
             ulimit -n; ulimit -Hn; cat /etc/secret; ls -A /tmp | grep -c .; \
             echo 1 2>&1 > /proc/sys/kernel/printk; cat /proc/self/status",
        )
        .await;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "1000");
    assert_eq!(lines[1], "1001");
    let mut groups: Vec<&str> = lines[2].split(' ').collect();
    groups.sort_unstable();
    assert_eq!(groups, ["1001", "50000", "7"]);
    assert_eq!(lines[3], "/srv/here");
    assert_eq!(lines[4], "hello there /srv host-a");
    assert_eq!(lines[5], "777");
    assert_eq!(&lines[6..8], ["100", "200"]);
    assert_eq!(lines[8], "0", "what is masked shows through: {out}");
    assert!(out.contains("Read-only file system"), "{out}");
    assert_eq!(field(&out, "NoNewPrivs"), "1");
    assert_eq!(field(&out, "Seccomp"), "2");
    assert_eq!(field(&out, "CapEff"), "0000000000000000");
    assert_eq!(field(&out, "CapInh"), "0000000000000000");
    assert_eq!(
        field(&out, "CapBnd"),
        format!("{:016x}", CapSet::defaults().bits())
    );
}

#[tokio::test]
async fn capabilities_are_added_dropped_and_ambient() {
    let (bench, mut case) = Bench::new().await;
    case.container.security.capabilities.drop = vec!["ALL".into()];
    case.container.security.capabilities.add = vec!["NET_ADMIN".into()];
    let out = bench.run_script(&mut case, "cat /proc/self/status").await;
    assert_eq!(field(&out, "CapEff"), "0000000000001000");
    assert_eq!(field(&out, "CapBnd"), "0000000000001000");

    case.container.security.capabilities.add = vec!["ALL".into()];
    case.container.security.capabilities.drop = vec![];
    let out = bench.run_script(&mut case, "cat /proc/self/status").await;
    assert_eq!(
        field(&out, "CapBnd"),
        format!("{:016x}", case.node.capabilities.bits())
    );

    case.user.uid = 1000;
    case.container.security.capabilities.add = vec![];
    case.container.security.capabilities.drop = vec!["ALL".into()];
    case.container.security.capabilities.add_ambient = vec!["NET_BIND_SERVICE".into()];
    let out = bench.run_script(&mut case, "cat /proc/self/status").await;
    for set in ["CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"] {
        assert_eq!(field(&out, set), "0000000000000400", "{set}");
    }
}

#[tokio::test]
async fn a_privileged_container_is_the_host_but_for_its_namespaces() {
    let (bench, mut case) = Bench::new().await;
    case.container.security.privileged = true;
    case.container.security.masked_paths = vec!["/etc/secret".into()];
    case.devices = device::host(std::path::Path::new("/dev")).unwrap();
    let out = bench
        .run_script(
            &mut case,
            "cat /etc/secret; ls /dev; cat /proc/mounts; cat /proc/self/status",
        )
        .await;
    assert!(out.starts_with("secret\n"), "{out}");
    assert_eq!(field(&out, "Seccomp"), "0");
    assert_eq!(
        field(&out, "CapEff"),
        format!("{:016x}", case.node.capabilities.bits())
    );
    let sysfs = out
        .lines()
        .find(|line| line.starts_with("sysfs /sys "))
        .unwrap();
    assert!(sysfs.contains(" rw,"), "{sysfs}");
    for device in &case.devices {
        let name = device.path.components().nth(2).unwrap();
        let name = name.as_os_str().to_str().unwrap();
        assert!(out.lines().any(|line| line == name), "{name} in {out}");
    }
}

#[tokio::test]
async fn filters_of_files_and_the_default_one() {
    let (bench, mut case) = Bench::new().await;
    let file = bench.path("profile.json");
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW",
        "syscalls":[{"names":["chmod","fchmodat"],"action":"SCMP_ACT_ERRNO"}]}"#;
    std::fs::write(&file, profile).unwrap();
    case.seccomp = seccomp::load(&Seccomp::Localhost(file)).unwrap();
    let out = bench.run_script(&mut case, "chmod 400 /tmp").await;
    assert_eq!(out, "chmod: /tmp: Operation not permitted\n");

    // The default: what ordinary programs do works, what needs a capability is refused.
    case.seccomp = Filter::RuntimeDefault;
    let script = "chmod 700 /tmp && (echo forked) && cat /etc/hosts && mount -t tmpfs x /tmp";
    let out = bench.run_script(&mut case, script).await;
    assert!(out.starts_with("forked\nsandbox hosts\nmount: "), "{out}");

    case.container.security.capabilities.add = vec!["SYS_ADMIN".into()];
    let script = "mount -t tmpfs x /tmp && echo mounted; hostname other && hostname";
    assert_eq!(
        bench.run_script(&mut case, script).await,
        "mounted\nother\n"
    );

    case.seccomp = Filter::Unconfined;
    let out = bench.run_script(&mut case, "cat /proc/self/status").await;
    assert_eq!(field(&out, "Seccomp"), "0");
}

#[tokio::test]
async fn limits_reach_the_cgroup() {
    let (bench, mut case) = Bench::new().await;
    if case.node.cgroup == CgroupVersion::V2 {
        return;
    }
    let asked = &mut case.container.resources;
    asked.cpu_shares = Some(512);
    asked.cpu_quota = Some(20_000);
    asked.cpu_period = Some(50_000);
    asked.memory_limit = Some(64 << 20);
    asked.cpuset_cpus = "0".into();
    case.defaults.pids_limit = Some(55);
    let spec = bench.sleeping(&mut case).await;
    assert_eq!(bench.cgroup_file("cpu", "cpu.shares"), "512");
    assert_eq!(bench.cgroup_file("cpu", "cpu.cfs_quota_us"), "20000");
    assert_eq!(bench.cgroup_file("cpu", "cpu.cfs_period_us"), "50000");
    assert_eq!(bench.cgroup_file("cpuset", "cpuset.cpus"), "0");
    assert_eq!(bench.cgroup_file("pids", "pids.max"), "55");
    let memory = |name| bench.cgroup_file("memory", name);
    assert_eq!(memory("memory.limit_in_bytes"), "67108864");
    if case.node.swap {
        assert_eq!(memory("memory.memsw.limit_in_bytes"), "67108864");
    }
    let out = bench.exec(&spec, "cat /sys/fs/cgroup/memory/memory.limit_in_bytes");
    assert_eq!(out, "67108864\n");
    let out = bench.exec(
        &spec,
        "echo 1 > /sys/fs/cgroup/memory/memory.limit_in_bytes",
    );
    assert!(out.contains("Read-only file system"), "{out}");

    let mut clamped = vec![];
    let asked = crate::container::spec::Resources {
        memory_limit: Some(96 << 20),
        cpu_shares: Some(100),
        ..Default::default()
    };
    let limits = crate::oci::spec::update(&asked, &case.node, &mut clamped).unwrap();
    bench.handler.update(&bench.id, &limits).await.unwrap();
    assert_eq!(memory("memory.limit_in_bytes"), "100663296");
    assert_eq!(bench.cgroup_file("cpu", "cpu.shares"), "100");
    assert_eq!(bench.cgroup_file("pids", "pids.max"), "55");

    let asked = crate::container::spec::Resources {
        memory_limit: Some(4096),
        ..Default::default()
    };
    let limits = crate::oci::spec::update(&asked, &case.node, &mut clamped).unwrap();
    let error = bench.handler.update(&bench.id, &limits).await.unwrap_err();
    assert!(error.to_string().contains("memory"), "{error}");
    assert_eq!(memory("memory.limit_in_bytes"), "100663296");
}

#[tokio::test]
async fn only_listed_devices_can_be_used() {
    let (bench, mut case) = Bench::new().await;
    let asked = crate::container::spec::Device {
        container_path: "/dev/mine".into(),
        host_path: "/dev/zero".into(),
        permissions: "r".into(),
    };
    case.devices = device::resolve(&asked).unwrap();
    // Made by hand, as an image could bring it.
    rustix::fs::mknodat(
        rustix::fs::CWD,
        case.rootfs.join("kmsg"),
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::from(0o666),
        rustix::fs::makedev(1, 11),
    )
    .unwrap();
    let script = "stat -c '%t:%T %a' /dev/mine; echo > /dev/null && echo null; \
                  grep -m1 . /kmsg 2>&1";
    let out = bench.run_script(&mut case, script).await;
    assert!(out.starts_with("1:5 666\nnull\n"), "{out}");
    assert!(out.contains("/kmsg: Operation not permitted"), "{out}");
}
