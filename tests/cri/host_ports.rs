//! Ports of the host: whose they are, over what, and after what.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

use corten::cri::api::{PodSandboxConfig, PortMapping, Protocol};
use nix::sched::{CloneFlags, setns};
use tonic::Code;

use crate::support::{Node, free_port, node, pod_net, talk, until};

fn mapping(protocol: Protocol, host: u16, host_ip: &str) -> PortMapping {
    PortMapping {
        protocol: protocol as i32,
        container_port: 8080,
        host_port: host.into(),
        host_ip: host_ip.to_owned(),
    }
}

fn with_ports(name: &str, ports: &[PortMapping]) -> PodSandboxConfig {
    let mut config = pod_net(name);
    config.port_mappings = ports.to_vec();
    config
}

/// Does something in the network of a pod.
fn inside<T: Send + 'static>(
    node: &Node,
    pod: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let path = node.runroot().join("ns").join(pod).join("net");
    let namespace = std::fs::File::open(path).unwrap();
    let thread = std::thread::spawn(move || {
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
        work()
    });
    thread.join().unwrap()
}

/// Answers with a word on port 8080 of a pod, TCP and UDP, of both families.
fn serve(node: &Node, pod: &str, word: &'static str) {
    let (tcp, udp) = inside(node, pod, || {
        let tcp = TcpListener::bind("[::]:8080").unwrap();
        (tcp, UdpSocket::bind("[::]:8080").unwrap())
    });
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            // What is not read before the end would reset the connection.
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(word.as_bytes());
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(word.as_bytes(), from);
        }
    });
}

/// What is answered to a datagram.
async fn ask(address: SocketAddr) -> Option<String> {
    let any: IpAddr = match address.is_ipv4() {
        true => [0; 4].into(),
        false => [0u16; 8].into(),
    };
    let socket = tokio::net::UdpSocket::bind((any, 0)).await.unwrap();
    socket.connect(address).await.unwrap();
    socket.send(b"hello").await.ok()?;
    let mut buffer = [0; 64];
    let answer = tokio::time::timeout(Duration::from_secs(1), socket.recv(&mut buffer));
    let length = answer.await.ok()?.ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// The bridge's own addresses, by which the host is reached from outside.
async fn outside(node: &Node, pod: &str) -> [IpAddr; 2] {
    let network = node.pod_status(pod).await.network.unwrap();
    let (net, _) = network.ip.rsplit_once('.').unwrap();
    let (net6, _) = network.additional_ips[0].ip.rsplit_once(':').unwrap();
    [format!("{net}.1"), format!("{net6}:1")].map(|text| text.parse().unwrap())
}

/// Whether the packet filter has anything of this port.
fn filtered(port: u16) -> bool {
    let output = std::process::Command::new("nft")
        .args(["list", "ruleset"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.contains(&format!(" {port} ")) || text.contains(&format!("dport {port}"))
}

#[tokio::test]
async fn every_protocol_and_family_leads_into_the_pod_until_it_is_gone() {
    node(async |node| {
        let port = free_port();
        let ports = [
            mapping(Protocol::Tcp, port, ""),
            mapping(Protocol::Udp, port, ""),
        ];
        let pod = node.pod(&with_ports("everywhere", &ports)).await;
        serve(node, &pod, "well");
        let hosts = outside(node, &pod).await;
        let heard = async |host: IpAddr| {
            let address = SocketAddr::new(host, port);
            let tcp = talk(&address.to_string(), "hello").await;
            (tcp.as_deref() == Some("well"), ask(address).await)
        };
        for host in hosts {
            until("both protocols answer", async || {
                heard(host).await == (true, Some("well".into()))
            })
            .await;
        }
        // A daemon that was killed takes its ports up again.
        node.restart().await;
        let other = with_ports("later", &ports[..1]);
        let error = node.try_pod(&other).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        for host in hosts {
            assert_eq!(heard(host).await, (true, Some("well".into())));
        }
        node.stop_pod(&pod).await.unwrap();
        for host in hosts {
            assert_eq!(heard(host).await, (false, None));
        }
        assert!(!filtered(port));
        // Free again.
        let later = node.pod(&other).await;
        serve(node, &later, "well");
        until("the next pod answers", async || heard(hosts[0]).await.0).await;
        // And a daemon that finds its pods stopped at its start gives their ports away, too.
        node.stop_pod(&later).await.unwrap();
        node.restart().await;
        let last = node.pod(&with_ports("last", &ports)).await;
        node.remove_pod(&last).await.unwrap();
        assert!(!filtered(port));
    })
    .await;
}

#[tokio::test]
async fn a_port_that_another_pod_has_is_refused_with_its_name() {
    node(async |node| {
        let port = free_port();
        let tcp = |ip: &str| mapping(Protocol::Tcp, port, ip);
        let holder = node.pod(&with_ports("holder", &[tcp("127.0.0.1")])).await;
        for (name, ip) in [("all", ""), ("all-v4", "0.0.0.0"), ("same", "127.0.0.1")] {
            let error = node
                .try_pod(&with_ports(name, &[tcp(ip)]))
                .await
                .unwrap_err();
            assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
            for word in ["tests/holder", &holder, &format!("{port}/tcp")] {
                assert!(error.message().contains(word), "{word}: {error}");
            }
        }
        // Nothing came of them.
        assert_eq!(node.pods(None).await.len(), 1);
        for dir in ["ns", "sandboxes"] {
            let entries = std::fs::read_dir(node.runroot().join(dir)).unwrap();
            let names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
            assert_eq!(names, [holder.as_str()], "{dir}");
        }
        // Another protocol or address is another port.
        let apart = [mapping(Protocol::Udp, port, "127.0.0.1"), tcp("127.0.0.2")];
        let apart = node.pod(&with_ports("apart", &apart)).await;
        // Asked for again, a pod has its own ports.
        let again = node.pod(&with_ports("holder", &[tcp("127.0.0.1")])).await;
        assert_eq!(again, holder);
        node.remove_pod(&holder).await.unwrap();
        node.remove_pod(&apart).await.unwrap();
        let next = node.pod(&with_ports("all", &[tcp("")])).await;
        assert_ne!(next, holder);
    })
    .await;
}

#[tokio::test]
async fn of_many_who_want_a_port_one_has_it() {
    node(async |node| {
        let port = free_port();
        let tries = (0..6).map(async |n| {
            let config = with_ports(&format!("rival-{n}"), &[mapping(Protocol::Tcp, port, "")]);
            node.try_pod(&config).await
        });
        let all = futures_util::future::join_all(tries).await;
        assert_eq!(all.iter().filter(|reply| reply.is_ok()).count(), 1);
        for error in all.into_iter().filter_map(Result::err) {
            assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        }
    })
    .await;
}
