//! Every option of the daemon. This table is the only place that names one.

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use super::{
    runtime::Runtimes,
    table::options,
    types::{
        Capability, CgroupManager, CniNative, DeviceSpec, IpAddress, LogFilter, LogFormat, Program,
        Rlimit, Size, UnixAddress,
    },
};

/// CRI-O's default capabilities, and so what workloads of a node that changes over rely on.
const CAPABILITIES: [&str; 9] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "KILL",
];

fn address(text: &str) -> UnixAddress {
    // The text is a constant of this file, which the tests parse.
    text.parse()
        .unwrap_or_else(|problem| panic!("{text} {problem}"))
}

fn filter(text: &str) -> LogFilter {
    text.parse()
        .unwrap_or_else(|problem| panic!("{text} {problem}"))
}

fn paths(texts: &[&str]) -> Vec<PathBuf> {
    texts.iter().map(PathBuf::from).collect()
}

options! {
    /// The configuration of the daemon.
    pub struct Config;

    "Daemon" {
        /// Unix socket the CRI is served on, as unix:///PATH or a path.
        /// The commands of corten look for the daemon there too.
        listen: UnixAddress = address("unix:///run/corten/corten.sock"), "listen" "ADDRESS";

        /// Directory for what must survive a reboot: images, container file systems, records.
        root: PathBuf = "/var/lib/corten".into(), "root" "DIR";

        /// Directory for what lives as long as the machine runs: namespaces, mounts, sockets.
        runroot: PathBuf = "/run/corten".into(), "runroot" "DIR";

        /// What the daemon logs: off, error, warn, info, debug or trace, or directives by module
        /// like "info,corten::network=debug".
        log_level: LogFilter = filter("info"), "log-level" "LEVEL";

        /// How the daemon's own log lines look: "text" or "json".
        log_format: LogFormat = LogFormat::Text, "log-format" "FORMAT";

        /// Directory where "corten run" puts the logs of its containers.
        /// Pods of a kubelet log where the kubelet says.
        log_dir: PathBuf = "/var/log/corten".into(), "log-dir" "DIR";

        /// How long a stopping daemon waits for requests under way.
        /// Containers run on in any case.
        drain_timeout: Duration = Duration::from_secs(30), "drain-timeout" "DURATION";
    }

    "OCI runtimes and the monitor" {
        /// The runtime handler of pods that name none. "corten" is the runtime that corten has built in;
        /// it cannot be used with cgroup_manager = "systemd".
        default_runtime: String = "corten".into(), "default-runtime" "NAME";

        /// OCI runtimes by handler name: a table [runtimes.NAME] for each.
        /// As a flag NAME=PATH, and repeated; as a variable with commas between.
        runtimes: Runtimes = Runtimes::default(), "runtime" "NAME=PATH";

        /// The monitor program. Empty: corten-conmon beside the corten binary, then in
        /// ../libexec/corten, /usr/local/libexec/corten and /usr/libexec/corten, then in PATH.
        conmon: Option<Program> = None, "conmon" "PROGRAM";

        /// How long the creation of a container may take in the OCI runtime.
        create_timeout: Duration = Duration::from_secs(240), "create-timeout" "DURATION";

        /// How long anything else may take that is asked of the OCI runtime: starting a container,
        /// deleting it, changing its limits.
        runtime_timeout: Duration = Duration::from_secs(120), "runtime-timeout" "DURATION";

        /// Grace period between the stop signal and SIGKILL in "corten stop" and on Ctrl-C.
        /// A kubelet names its own with each request.
        stop_timeout: Duration = Duration::from_secs(30), "stop-timeout" "DURATION";

        /// The most that one ExecSync may print on each of stdout and stderr; what is beyond is cut.
        exec_output_max: Size = Size::mib(16), "exec-output-max" "SIZE";
    }

    "cgroups" {
        /// Who manages cgroups: "cgroupfs", or "systemd" on nodes whose kubelet says so.
        cgroup_manager: CgroupManager = CgroupManager::Cgroupfs, "cgroup-manager" "MANAGER";

        /// Parent cgroup of pods that name none. Empty: "/corten" with cgroupfs, "corten.slice"
        /// with systemd.
        cgroup_parent: Option<String> = None, "cgroup-parent" "CGROUP";

        /// Cgroup of the monitors, apart from the pods' so that no pod's memory limit hits them.
        /// Empty: "/corten-monitors" with cgroupfs, "corten-monitors.slice" with systemd.
        monitor_cgroup: Option<String> = None, "monitor-cgroup" "CGROUP";
    }

    "Container defaults" {
        /// Capabilities of a container, before those its pod adds or drops.
        default_capabilities: Vec<Capability> = CAPABILITIES.iter().map(|name| Capability::known(name)).collect(),
            "default-capability" "NAME";

        /// Resource limits of a container's processes, as "NAME=SOFT:HARD" like "nofile=1024:4096".
        /// Limits not named are the daemon's own.
        default_rlimits: Vec<Rlimit> = Vec::new(), "default-rlimit" "NAME=SOFT:HARD";

        /// The most processes and threads a container may have; 0 for no limit.
        pids_limit: Option<u64> = None, "pids-limit" "NUMBER";

        /// The largest a container's log file may grow before it starts afresh; 0 for no limit.
        /// Rotation is the kubelet's work, so leave this off on a node that has one.
        log_size_max: Option<Size> = None, "log-size-max" "SIZE";

        /// Size of a pod's /dev/shm.
        shm_size: Size = Size::mib(64), "shm-size" "SIZE";

        /// Seccomp profile (a JSON file) that stands for RuntimeDefault. Empty: the built-in one.
        seccomp_profile: Option<PathBuf> = None, "seccomp-profile" "FILE";

        /// Name of the AppArmor profile that stands for RuntimeDefault, where the kernel has AppArmor.
        /// corten loads its own, "corten-default", with apparmor_parser; another has to be loaded
        /// already. Empty: none is applied.
        apparmor_profile: Option<String> = Some("corten-default".to_owned()), "apparmor-profile" "NAME";

        /// Confine containers by SELinux labels where the kernel has SELinux and a policy.
        selinux: bool = true, "selinux" "BOOL";

        /// Devices every container gets, as "HOST_PATH[:CONTAINER_PATH][:PERMISSIONS]".
        additional_devices: Vec<DeviceSpec> = Vec::new(), "additional-device" "DEVICE";

        /// Paths where, and below which, the missing source of a mount is refused. Elsewhere it is
        /// made, as an empty directory of root's with mode 0755. "/" has all of them refused.
        absent_mount_sources_to_reject: Vec<PathBuf> = Vec::new(),
            "absent-mount-source-to-reject" "PATH";
    }

    "Images" {
        /// Registries, mirrors and short names: containers-registries.conf(5), version 2.
        /// The file need not exist.
        registries_conf: PathBuf = "/etc/containers/registries.conf".into(), "registries-conf" "FILE";

        /// Credentials used where a request brings none: containers-auth.json(5). Empty: none.
        auth_file: Option<PathBuf> = None, "auth-file" "FILE";

        /// Directories with a subdirectory HOST[:PORT] for each registry that needs certificates of its
        /// own: containers-certs.d(5).
        certs_dirs: Vec<PathBuf> = paths(&["/etc/containers/certs.d", "/etc/docker/certs.d"]), "certs-dir" "DIR";

        /// Registries (HOST[:PORT]) that may be spoken to over plain HTTP or with a certificate nobody
        /// signed, beside those registries_conf marks as insecure.
        insecure_registries: Vec<String> = Vec::new(), "insecure-registry" "HOST";

        /// How many layers of one image are downloaded at a time.
        max_parallel_downloads: u32 = 6, "max-parallel-downloads" "NUMBER";

        /// A download that receives nothing for this long is tried again; 0 waits for ever.
        pull_progress_timeout: Option<Duration> = Some(Duration::from_secs(30)), "pull-progress-timeout" "DURATION";

        /// Images that are never garbage collected: names, where a * at the end stands for anything.
        pinned_images: Vec<String> = Vec::new(), "pinned-image" "PATTERN";
    }

    "Network" {
        /// Directory of CNI configuration lists. It is watched; the first in order of names is used.
        cni_conf_dir: PathBuf = "/etc/cni/net.d".into(), "cni-conf-dir" "DIR";

        /// Template of a CNI configuration list, a small part of Go's (see above). When the kubelet tells the
        /// node's pod addresses, it is filled in and written to cni_conf_dir as 10-corten-net.conflist, unless
        /// another configuration there can be used. Empty: the addresses are only checked.
        cni_conf_template: Option<PathBuf> = None, "cni-conf-template" "FILE";

        /// Directories where CNI plugins are looked for, in this order.
        cni_plugin_dirs: Vec<PathBuf> = paths(&["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"]),
            "cni-plugin-dir" "DIR";

        /// Name of the CNI network to use rather than the first. Empty: the first.
        cni_default_network: Option<String> = None, "cni-default-network" "NAME";

        /// Do the work of bridge, ptp, host-local, loopback and portmap without these plugins, wherever that comes to the
        /// same: auto or never. Which plugins of the network that is, and why not the others, is logged and shown by
        /// `crictl info`.
        cni_native: CniNative = CniNative::Auto, "cni-native" "WHEN";

        /// How long the plugins may take to add or remove a pod.
        cni_timeout: Duration = Duration::from_secs(300), "cni-timeout" "DURATION";

        /// Publish the host ports that pods ask for. Turn off where a CNI plugin does it.
        host_ports: bool = true, "host-ports" "BOOL";
    }

    "Streams" {
        /// Address the streams of exec, attach and port forwarding are served on. They are for the kubelet
        /// of this machine: where another address is needed, set stream_tls_cert too.
        stream_address: IpAddress = IpAddress(Ipv4Addr::LOCALHOST.into()), "stream-address" "ADDRESS";

        /// Port the streams are served on; 0 takes any that is free.
        stream_port: u16 = 0, "stream-port" "PORT";

        /// Certificate of the streaming server in PEM, read again whenever it changes. Empty: no TLS.
        stream_tls_cert: Option<PathBuf> = None, "stream-tls-cert" "FILE";

        /// Key of that certificate in PEM.
        stream_tls_key: Option<PathBuf> = None, "stream-tls-key" "FILE";

        /// Authorities, in PEM, of which a client of streams must have a certificate.
        /// Empty: clients need none.
        stream_tls_client_ca: Option<PathBuf> = None, "stream-tls-client-ca" "FILE";

        /// How long a stream may carry nothing before it is ended; 0 waits for ever.
        stream_idle_timeout: Option<Duration> = Some(Duration::from_secs(4 * 3600)),
            "stream-idle-timeout" "DURATION";

        /// How long a client may take to open all the streams it asked for.
        stream_creation_timeout: Duration = Duration::from_secs(30), "stream-creation-timeout" "DURATION";
    }
}
