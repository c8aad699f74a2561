//! Links, addresses and routes of namespaces that nobody else has.

use std::{fs::File, os::fd::AsFd, process::Command};

use nix::sched::{CloneFlags, unshare};

use super::*;

fn in_a_namespace(test: impl FnOnce() + Send + 'static) {
    std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("needs root");
        test();
    })
    .join()
    .unwrap();
}

fn ip(args: &[&str]) -> String {
    let out = Command::new("ip").args(args).output().unwrap();
    assert!(out.status.success(), "{args:?}: {out:?}");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn a_bridge_has_ports_addresses_and_routes() {
    in_a_namespace(|| {
        let other = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        })
        .join()
        .unwrap();
        let mut here = Rtnetlink::open().unwrap();
        assert_eq!(here.link("tbr0").unwrap(), None);
        here.add_bridge("tbr0", Some(1400)).unwrap();
        assert!(
            here.add_bridge("tbr0", None)
                .unwrap_err()
                .is_there_already()
        );
        let br = here.link("tbr0").unwrap().unwrap();
        assert_eq!(
            (br.kind.as_str(), br.mtu, br.is_up),
            ("bridge", 1400, false)
        );
        here.set_up(&br).unwrap();
        let mac = [2, 0, 0, 0, 0, 9];
        here.add_veth(&Veth {
            name: "host1",
            master: Some(br.index),
            peer: "eth0",
            netns: other.as_fd(),
            mac: Some(&mac),
            mtu: Some(1300),
        })
        .unwrap();
        let port = here.link("host1").unwrap().unwrap();
        assert_eq!(port.master, Some(br.index));
        assert_eq!((port.kind.as_str(), port.mtu), ("veth", 1300));
        here.set_hairpin(&port).unwrap();
        assert!(ip(&["-d", "link", "show", "host1"]).contains("hairpin on"));
        here.set_promiscuous(&br).unwrap();
        assert!(here.link("tbr0").unwrap().unwrap().is_promiscuous);

        for text in ["10.9.0.1/24", "fd00:9::1/64"] {
            let (address, length) = text.split_once('/').unwrap();
            let address = Address::new(address.parse().unwrap(), length.parse().unwrap());
            here.add_address(&br, &address).unwrap();
            let again = here.add_address(&br, &address).unwrap_err();
            assert!(again.is_there_already(), "{again:?}");
            let has = here.addresses(&br).unwrap();
            assert!(
                has.iter()
                    .any(|a| (a.ip, a.length) == (address.ip, address.length))
            );
        }
        assert!(ip(&["-4", "addr", "show", "tbr0"]).contains("brd 10.9.0.255"));
        let to = ("10.10.0.0".parse().unwrap(), 16);
        let route = Route {
            to,
            gateway: Some("10.9.0.7".parse().unwrap()),
            from: None,
            scope: Scope::Universe,
        };
        here.add_route(&br, &route).unwrap();
        assert!(here.add_route(&br, &route).unwrap_err().is_there_already());
        assert!(here.routes(&br).unwrap().contains(&route));
        here.delete_route(&br, &route).unwrap();
        assert!(here.delete_route(&br, &route).unwrap_err().is_missing());
        let has = here.addresses(&br).unwrap()[0];
        here.delete_address(&br, &has).unwrap();
        assert!(here.delete_address(&br, &has).unwrap_err().is_missing());

        // The socket speaks of where it was opened.
        nix::sched::setns(&other, CloneFlags::CLONE_NEWNET).unwrap();
        let mut there = Rtnetlink::open().unwrap();
        let end = there.link("eth0").unwrap().unwrap();
        assert_eq!(end.mac_text(), "02:00:00:00:00:09");
        assert!(here.link("host1").unwrap().is_some() && there.link("host1").unwrap().is_none());
        there.delete_link(&end).unwrap();
        assert!(there.delete_link(&end).unwrap_err().is_missing());
        assert_eq!(here.link("host1").unwrap(), None);
    });
}

#[test]
fn links_that_go_are_heard_of() {
    in_a_namespace(|| {
        let here = File::open("/proc/thread-self/ns/net").unwrap();
        let mut netlink = Rtnetlink::open().unwrap();
        let mut made = |name, peer| {
            let veth = Veth {
                name,
                master: None,
                peer,
                netns: here.as_fd(),
                mac: None,
                mtu: None,
            };
            netlink.add_veth(&veth).unwrap();
            netlink.link(name).unwrap().unwrap()
        };
        let (first, second) = (made("a0", "a1"), made("b0", "b1"));
        let departures = Departures::open().unwrap();
        netlink.delete_link(&first).unwrap();
        let (open, closed) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(departures.wait(first.peer.unwrap(), open.as_fd()).unwrap());
        assert_eq!(netlink.link("a1").unwrap(), None);
        drop(closed);
        assert!(!departures.wait(second.index, open.as_fd()).unwrap());
        // What went while nobody waited is heard of all the same.
        netlink.delete_link(&second).unwrap();
        assert!(departures.wait(second.index, open.as_fd()).unwrap());
    });
}
