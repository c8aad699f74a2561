//! The network with real plugins, namespaces and packet filters.
//!
//! Each test has a host of its own: a thread in a new network namespace, where plugins, nft and pods' links live and
//! vanish with it. Mounts and files are below a temporary directory.

mod bridge;
mod failures;
mod hostports;
mod script;
mod state;
mod upsets;
mod watching;
mod without_plugins;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    pin::Pin,
    process::Command,
    rc::Rc,
};

use nix::sched::{CloneFlags, setns, unshare};

use super::*;
use crate::sys::{
    namespaces::{NamespaceSet, Setup},
    netlink,
};

/// A pod called space/pod.
pub(crate) fn pod(netns: &str) -> PodNetwork {
    PodNetwork {
        namespace: "space".into(),
        name: "pod".into(),
        uid: "uid".into(),
        ..PodNetwork::bare(Id::random(), netns.into())
    }
}

/// A machine as a test sees it.
struct Host {
    dir: tempfile::TempDir,
}

/// Runs a test on a host of its own.
fn on_a_host(test: impl FnOnce(Rc<Host>) -> Pin<Box<dyn Future<Output = ()>>> + Send + 'static) {
    std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("needs root");
        netlink::link_up("lo").unwrap();
        // Addresses are there at once.
        for conf in ["all", "default"] {
            fs::write(format!("/proc/sys/net/ipv6/conf/{conf}/accept_dad"), "0").unwrap();
        }
        let host = Rc::new(Host {
            dir: tempfile::tempdir().unwrap(),
        });
        for dir in ["conf", "bin"] {
            fs::create_dir(host.path(dir)).unwrap();
        }
        namespaces::prepare_root(&host.path("ns")).unwrap();
        // All on this thread: threads that it makes are on this host, too.
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(test(host));
    })
    .join()
    .unwrap();
}

impl Drop for Host {
    fn drop(&mut self) {
        let root = self.path("ns");
        for entry in fs::read_dir(&root).into_iter().flatten().flatten() {
            for kind in namespaces::Namespace::ALL {
                let pin = entry.path().join(kind.file_name());
                let _ = nix::mount::umount2(&pin, nix::mount::MntFlags::MNT_DETACH);
            }
        }
        let _ = nix::mount::umount2(&root, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// A port of a pod's, published on the host.
fn published() -> crate::pod::spec::PortMapping {
    crate::pod::spec::PortMapping {
        protocol: crate::pod::spec::Protocol::Tcp,
        container_port: 80,
        host_port: 18080,
        host_ip: None,
    }
}

impl Host {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What is tested of plugins is tested of their programs.
    fn config(&self) -> NetworkConfig {
        self.config_by(Usage::Never)
    }

    fn config_by(&self, native: Usage) -> NetworkConfig {
        NetworkConfig {
            native,
            conf_dir: self.path("conf"),
            plugin_dirs: vec![self.path("bin"), "/usr/lib/cni".into()],
            cache_dir: self.path("cache"),
            tag: "test".into(),
            ..NetworkConfig::default()
        }
    }

    async fn network(&self) -> Network {
        Network::open(self.config()).await.unwrap()
    }

    async fn network_by(&self, native: Usage) -> Network {
        Network::open(self.config_by(native)).await.unwrap()
    }

    fn conf(&self, name: &str, text: &str) {
        fs::write(self.path("conf").join(name), text).unwrap();
    }

    /// A dual-stack bridge, and `more` plugins after it.
    fn bridge(&self, more: &str) {
        let data = self.path("ipam");
        self.conf(
            "10-bridge.conflist",
            &format!(
                r#"{{"cniVersion":"1.0.0","name":"pods","plugins":[
                {{"type":"bridge","bridge":"tbr0","isGateway":true,"ipMasq":true,"hairpinMode":true,"ipam":{{"type":"host-local",
                "dataDir":"{}","ranges":[[{{"subnet":"10.88.7.0/24"}}],[{{"subnet":"fd00:88:7::/64"}}]],
                "routes":[{{"dst":"0.0.0.0/0"}},{{"dst":"::/0"}}]}}}}{more}]}}"#,
                data.display()
            ),
        );
    }

    /// Addresses that host-local has given away.
    fn reserved(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path("ipam").join("pods"))
            .into_iter()
            .flatten()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|n| !n.starts_with("last_reserved") && n != "lock")
            .collect();
        names.sort();
        names
    }

    /// A pod with namespaces.
    async fn pod(&self) -> PodNetwork {
        let id = Id::random();
        let dir = self.path("ns").join(id.as_str());
        let set = NamespaceSet {
            net: true,
            ..NamespaceSet::default()
        };
        namespaces::create_pinned(&dir, set, &Setup::default())
            .await
            .unwrap();
        PodNetwork {
            id,
            ..pod(dir.join("net").to_str().unwrap())
        }
    }

    async fn unpin(&self, pod: &PodNetwork) {
        namespaces::unpin(pod.netns.parent().unwrap())
            .await
            .unwrap();
    }

    /// A plugin of our own: notes each call in `calls` with what it read, then does what `body` says.
    fn plugin(&self, name: &str, body: &str) {
        let calls = self.path("calls");
        fs::create_dir_all(&calls).unwrap();
        let text = format!(
            "#!/bin/sh\nif [ $CNI_COMMAND = VERSION ]; then\n\
             echo '{{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.4.0\",\"1.0.0\",\"1.1.0\"]}}'; exit 0\nfi\n\
             cat > {calls}/{name}.$CNI_COMMAND\n\
             echo {name} $CNI_COMMAND netns=$CNI_NETNS >> {calls}/log\n{body}\n",
            calls = calls.display()
        );
        let path = self.path("bin").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn calls(&self) -> Vec<String> {
        fs::read_to_string(self.path("calls/log"))
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    fn input(&self, call: &str) -> Value {
        let text = fs::read(self.path("calls").join(call)).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}

fn links() -> Vec<String> {
    let mut names: Vec<_> = nix::net::if_::if_nameindex()
        .unwrap()
        .iter()
        .map(|i| i.name().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

fn ruleset() -> String {
    let out = Command::new("nft")
        .args(["list", "ruleset"])
        .output()
        .unwrap();
    assert!(out.status.success());
    String::from_utf8(out.stdout).unwrap()
}

/// Runs `f` on a thread inside a pod.
fn inside<T: Send + 'static>(
    pod: &PodNetwork,
    f: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    let file = File::open(&pod.netns).unwrap();
    std::thread::spawn(move || {
        setns(file, CloneFlags::CLONE_NEWNET).unwrap();
        f()
    })
}

/// Answers connections to a port of a pod with the pod's identifier, as long as it is asked.
fn serve(pod: &PodNetwork, address: &str) {
    let (name, address) = (pod.id.to_string(), address.to_owned());
    let listener = inside(pod, move || TcpListener::bind(address).unwrap())
        .join()
        .unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let peer = stream.peer_addr().unwrap();
            let _ = write!(stream, "{name} {peer}");
        }
    });
}

/// Who answers at an address.
fn ask(address: SocketAddr) -> Result<String, String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
        .map_err(|e| format!("{address}: {e}"))?;
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .map_err(|e| format!("{address}: {e}"))?;
    Ok(text.split(' ').next().unwrap().to_owned())
}

fn ask_from(pod: &PodNetwork, address: SocketAddr) -> Result<String, String> {
    inside(pod, move || ask(address)).join().unwrap()
}

fn counts(lines: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(line.as_str()).or_default() += 1;
    }
    counts
}

/// Work on the network can be handed to any thread.
#[test]
fn futures_may_move_between_threads() {
    fn check<F: Future + Send>(_: impl FnOnce() -> F) {}
    fn network() -> Network {
        unreachable!("only types are looked at")
    }
    check(|| Network::open(NetworkConfig::default()));
    check(|| async { network().add(&pod("/ns")).await });
    check(|| async { network().del(&Id::random()).await });
    check(|| async { network().check(&Id::random()).await });
    check(|| async { network().gc(&BTreeSet::new()).await });
    check(|| async { network().wait_ready(Duration::ZERO).await });
    check(|| async { namespaces::unpin(Path::new("/")).await });
    check(|| async {
        namespaces::create_pinned(Path::new("/"), NamespaceSet::default(), &Setup::default()).await
    });
}
