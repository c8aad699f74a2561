//! Results of native work, written as a plugin of the list's version writes them. Pure.

use serde_json::{Map, Value, json};

use crate::network::cni::{
    result::{CniDns, CniResult, Interface, IpConfig, Route},
    version::Version,
};

/// A result as JSON of a version.
pub(super) fn to_json(result: &CniResult, version: Version) -> Value {
    let mut object = Map::new();
    object.insert("cniVersion".into(), version.as_str().into());
    let mut list = |name: &str, values: Vec<Value>| {
        if !values.is_empty() {
            object.insert(name.to_owned(), values.into());
        }
    };
    let interfaces = result.interfaces.iter();
    list(
        "interfaces",
        interfaces.map(|link| interface(link, version)).collect(),
    );
    list(
        "ips",
        result.ips.iter().map(|ip| address(ip, version)).collect(),
    );
    list("routes", result.routes.iter().map(route).collect());
    object.insert("dns".into(), dns(&result.dns));
    Value::Object(object)
}

fn interface(link: &Interface, version: Version) -> Value {
    let mut object = Map::new();
    object.insert("name".into(), link.name.as_str().into());
    if !link.mac.is_empty() {
        object.insert("mac".into(), link.mac.as_str().into());
    }
    if let Some(mtu) = link.mtu.filter(|_| version >= Version::V1_1) {
        object.insert("mtu".into(), mtu.into());
    }
    if !link.sandbox.is_empty() {
        object.insert("sandbox".into(), link.sandbox.as_str().into());
    }
    Value::Object(object)
}

fn address(ip: &IpConfig, version: Version) -> Value {
    let mut object = Map::new();
    if version < Version::V1_0 {
        let family = if ip.address.address.is_ipv4() {
            "4"
        } else {
            "6"
        };
        object.insert("version".into(), family.into());
    }
    object.insert("address".into(), json!(ip.address));
    if let Some(gateway) = ip.gateway {
        object.insert("gateway".into(), json!(gateway));
    }
    if let Some(interface) = ip.interface {
        object.insert("interface".into(), interface.into());
    }
    Value::Object(object)
}

fn route(route: &Route) -> Value {
    match route.gw {
        Some(gw) => json!({"dst": route.dst, "gw": gw}),
        None => json!({"dst": route.dst}),
    }
}

fn dns(dns: &CniDns) -> Value {
    let mut object = Map::new();
    for (name, words) in [
        ("nameservers", &dns.nameservers),
        ("search", &dns.search),
        ("options", &dns.options),
    ] {
        if !words.is_empty() {
            object.insert(name.into(), json!(words));
        }
    }
    if !dns.domain.is_empty() {
        object.insert("domain".into(), dns.domain.as_str().into());
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_written_its_own_way_and_read_back() {
        let result = CniResult {
            interfaces: vec![
                Interface {
                    name: "br0".into(),
                    mac: "0a:00:00:00:00:01".into(),
                    mtu: Some(1500),
                    sandbox: String::new(),
                },
                Interface {
                    name: "eth0".into(),
                    sandbox: "/ns".into(),
                    ..Interface::default()
                },
            ],
            ips: vec![IpConfig {
                address: "10.1.0.2/16".parse().unwrap(),
                gateway: Some("10.1.0.1".parse().unwrap()),
                interface: Some(1),
            }],
            routes: vec![Route {
                dst: "::/0".parse().unwrap(),
                gw: None,
            }],
            dns: CniDns {
                nameservers: vec!["1.1.1.1".into()],
                ..CniDns::default()
            },
        };
        let old = to_json(&result, Version::V0_4);
        assert_eq!(
            old["ips"][0],
            json!({"version": "4", "address": "10.1.0.2/16", "gateway": "10.1.0.1", "interface": 1})
        );
        assert_eq!(
            old["interfaces"][0],
            json!({"name": "br0", "mac": "0a:00:00:00:00:01"})
        );
        assert_eq!(old["routes"], json!([{"dst": "::/0"}]));
        assert_eq!(old["dns"], json!({"nameservers": ["1.1.1.1"]}));
        let new = to_json(&result, Version::V1_1);
        assert_eq!(new["cniVersion"], "1.1.0");
        assert_eq!(new["ips"][0].get("version"), None);
        let again = CniResult::parse(new.to_string().as_bytes()).unwrap();
        assert_eq!(again, result);
        let nothing = to_json(&CniResult::default(), Version::V1_0);
        assert_eq!(nothing, json!({"cniVersion": "1.0.0", "dns": {}}));
    }
}
