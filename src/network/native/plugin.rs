//! Which plugins of a list are done natively: their configurations, understood, or why a program does it. Pure.
//!
//! Only what is known to the last field is done natively: an option that is not known here may be one of a newer
//! plugin's, and what is not as it should be is the plugin's own to complain of.

use std::{collections::BTreeSet, net::IpAddr, path::PathBuf};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::ipam::{DATA_DIR, Ipam, RangeConf, RangeSet};
use crate::network::{
    cni::{
        conf::{ConfList, PluginConf},
        result::{CniDns, IpPrefix, Route},
        version::Version,
    },
    hostport::is_plain_link,
};

/// Plugins that there is native work for.
const KNOWN: [&str; 4] = ["bridge", "loopback", "portmap", "ptp"];
/// What a runtime, a list or an older version puts into every plugin's object.
const COMMON: [&str; 4] = ["type", "name", "cniVersion", "capabilities"];
/// Options of the bridge that are not done natively, and may be off.
const OFF: [&str; 5] = [
    "vlan",
    "macspoofchk",
    "enabledad",
    "disableContainerInterface",
    "portIsolation",
];

/// Whether plugins are replaced by native work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Usage {
    /// Where it comes to the same.
    #[default]
    Auto,
    /// The same, on a kernel that cannot masquerade as it takes.
    WithoutMasquerade,
    /// Never: programs do everything.
    Never,
}

/// How a plugin of a list is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// By ourselves.
    Native(Box<Plugin>),
    /// By its program, for this reason.
    Program(String),
}

/// A plugin that is done natively.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plugin {
    /// Pods are ports of a bridge.
    Bridge(Bridge),
    /// Each pod has a link to the host alone.
    Ptp(Ptp),
    /// The pod's loopback is up.
    Loopback,
    /// Ports of the host lead into pods, as they do without it.
    Portmap,
}

/// The configuration of a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// It has the address of the pods' router.
    pub is_gateway: bool,
    /// That router is the pods' way to everywhere.
    pub is_default_gateway: bool,
    /// It loses what other addresses are in the way.
    pub force_address: bool,
    /// Pods call the world beyond their network by the host's address.
    pub masquerade: bool,
    /// Largest packet.
    pub mtu: Option<u32>,
    /// Pods can call themselves by way of the bridge.
    pub hairpin: bool,
    /// It takes all packets.
    pub promiscuous: bool,
    /// Where addresses come from.
    pub ipam: Ipam,
    /// Resolver settings that come before those of `ipam`.
    pub dns: Option<CniDns>,
}

/// The configuration of links to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ptp {
    /// Pods call the world by the host's address.
    pub masquerade: bool,
    /// Largest packet.
    pub mtu: Option<u32>,
    /// Where addresses come from.
    pub ipam: Ipam,
    /// Resolver settings that come before those of `ipam`.
    pub dns: Option<CniDns>,
}

impl Plugin {
    /// Whether its pods call the world by the host's address.
    pub fn masquerades(&self) -> bool {
        match self {
            Self::Bridge(bridge) => bridge.masquerade,
            Self::Ptp(ptp) => ptp.masquerade,
            Self::Loopback | Self::Portmap => false,
        }
    }

    /// How it manages addresses, if it does.
    pub fn ipam(&self) -> Option<&Ipam> {
        match self {
            Self::Bridge(bridge) => Some(&bridge.ipam),
            Self::Ptp(ptp) => Some(&ptp.ipam),
            Self::Loopback | Self::Portmap => None,
        }
    }
}

/// How each plugin of a list is done.
pub fn ways(list: &ConfList, usage: Usage) -> Vec<Way> {
    let all = list.plugins.iter().enumerate();
    all.map(|(index, plugin)| match decide(list, index, plugin, usage) {
        Ok(plugin) => Way::Native(Box::new(plugin)),
        Err(why) => Way::Program(why),
    })
    .collect()
}

/// The same for a pod that was attached with only the plugins called `native` done so: each is asked to take back what it
/// did itself, as far as may be.
pub fn ways_back(list: &ConfList, usage: Usage, native: &BTreeSet<String>) -> Vec<Way> {
    let ways = ways(list, usage).into_iter().zip(&list.plugins);
    ways.map(|(way, plugin)| match native.contains(&plugin.kind) {
        true => way,
        false => Way::Program("its program attached the pod".into()),
    })
    .collect()
}

/// A list for the programs that are to take back what was done natively: nothing of its masquerading is theirs. `None`
/// where there is nothing of the kind.
pub fn handed_over(list: &ConfList, ways: &[Way], native: &BTreeSet<String>) -> Option<ConfList> {
    let is_handed = |(plugin, way): &(&PluginConf, &Way)| {
        matches!(way, Way::Program(_)) && native.contains(&plugin.kind)
    };
    let all = list.plugins.iter().zip(ways);
    let handed: Vec<bool> = all.map(|one| is_handed(&one)).collect();
    if !handed.contains(&true) {
        return None;
    }
    let mut list = list.clone();
    for (plugin, _) in list.plugins.iter_mut().zip(handed).filter(|(_, is)| *is) {
        plugin.object.remove("ipMasq");
    }
    Some(list)
}

/// Whether host ports of a list are published by this runtime: no plugin takes them, or one whose work it does.
pub fn publishes_ports(list: &ConfList, ways: &[Way]) -> bool {
    let programs = list.plugins.iter().zip(ways).filter(|(plugin, way)| {
        plugin.capabilities.contains("portMappings") && matches!(way, Way::Program(_))
    });
    programs.count() == 0
}

fn decide(
    list: &ConfList,
    index: usize,
    plugin: &PluginConf,
    usage: Usage,
) -> Result<Plugin, String> {
    if usage == Usage::Never {
        return Err("native networking is switched off".into());
    }
    if !KNOWN.contains(&plugin.kind.as_str()) {
        return Err("there is no native work for it".into());
    }
    if list.version < Version::V0_3_0 {
        return Err(format!("CNI version {} is too old", list.version));
    }
    match plugin.kind.as_str() {
        "bridge" | "ptp" if index > 0 => Err("it is not the first of the list".into()),
        "bridge" | "ptp" => {
            let attaches = match plugin.kind.as_str() {
                "bridge" => bridge(plugin)?,
                _ => ptp(plugin)?,
            };
            match attaches.masquerades() && usage == Usage::WithoutMasquerade {
                true => Err("the kernel cannot masquerade by nftables".into()),
                false => Ok(attaches),
            }
        }
        "loopback" => only(&plugin.object, &[]).map(|()| Plugin::Loopback),
        // What is published without it is the same as with it.
        _ => match (index, plugin.capabilities.contains("portMappings")) {
            (0, _) => Err("it is the first of the list".into()),
            (_, false) => Err("it does not take portMappings".into()),
            (_, true) => only(&plugin.object, &["snat"]).and_then(|()| portmap(&plugin.object)),
        },
    }
}

fn bridge(plugin: &PluginConf) -> Result<Plugin, String> {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Conf {
        bridge: Option<String>,
        is_gateway: bool,
        is_default_gateway: bool,
        force_address: bool,
        ip_masq: bool,
        ip_masq_backend: Option<String>,
        mtu: u32,
        hairpin_mode: bool,
        promisc_mode: bool,
        ipam: Value,
        dns: Option<CniDns>,
    }
    let is_off = |value: &Value| matches!(value, Value::Null | Value::Bool(false)) || *value == 0;
    let mut object = plugin.object.clone();
    object.retain(|key, value| !(OFF.contains(&key.as_str()) && is_off(value)));
    if !object.contains_key("vlan") {
        // It is about nothing else.
        object.remove("preserveDefaultVlan");
    }
    only(
        &object,
        &[
            "bridge",
            "isGateway",
            "isDefaultGateway",
            "forceAddress",
            "ipMasq",
            "ipMasqBackend",
            "mtu",
            "hairpinMode",
            "promiscMode",
            "ipam",
            "dns",
        ],
    )?;
    let conf: Conf = read(object)?;
    let name = conf.bridge.filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| "cni0".into());
    if !is_plain_link(&name) {
        return Err(format!("{name:?} cannot be the name of a bridge"));
    }
    if conf.hairpin_mode && conf.promisc_mode {
        return Err("hairpinMode and promiscMode exclude each other".into());
    }
    Ok(Plugin::Bridge(Bridge {
        name,
        is_gateway: conf.is_gateway || conf.is_default_gateway,
        is_default_gateway: conf.is_default_gateway,
        force_address: conf.force_address,
        masquerade: masquerade(conf.ip_masq, conf.ip_masq_backend)?,
        mtu: Some(conf.mtu).filter(|mtu| *mtu != 0),
        hairpin: conf.hairpin_mode,
        promiscuous: conf.promisc_mode,
        ipam: ipam(conf.ipam)?,
        dns: conf.dns.filter(|dns| *dns != CniDns::default()),
    }))
}

fn ptp(plugin: &PluginConf) -> Result<Plugin, String> {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Conf {
        ip_masq: bool,
        ip_masq_backend: Option<String>,
        mtu: u32,
        ipam: Value,
        dns: Option<CniDns>,
    }
    only(
        &plugin.object,
        &["ipMasq", "ipMasqBackend", "mtu", "ipam", "dns"],
    )?;
    let conf: Conf = read(plugin.object.clone())?;
    Ok(Plugin::Ptp(Ptp {
        masquerade: masquerade(conf.ip_masq, conf.ip_masq_backend)?,
        mtu: Some(conf.mtu).filter(|mtu| *mtu != 0),
        ipam: ipam(conf.ipam)?,
        dns: conf.dns.filter(|dns| *dns != CniDns::default()),
    }))
}

fn portmap(object: &Map<String, Value>) -> Result<Plugin, String> {
    match object.get("snat") {
        None | Some(Value::Null | Value::Bool(true)) => Ok(Plugin::Portmap),
        Some(_) => Err("snat is off".into()),
    }
}

fn masquerade(wanted: bool, by: Option<String>) -> Result<bool, String> {
    match by.as_deref() {
        None | Some("" | "nftables") => Ok(wanted),
        Some(by) => Err(format!("ipMasqBackend is {by:?}")),
    }
}

fn ipam(value: Value) -> Result<Ipam, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct RouteConf {
        dst: IpPrefix,
        #[serde(default)]
        gw: Option<IpAddr>,
    }
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Conf {
        #[serde(rename = "type")]
        kind: String,
        subnet: Option<IpPrefix>,
        ranges: Vec<Vec<RangeConf>>,
        routes: Vec<RouteConf>,
        data_dir: Option<PathBuf>,
        resolv_conf: Option<PathBuf>,
    }
    let Value::Object(object) = value else {
        return Err("it has no ipam".into());
    };
    let inline = ["subnet", "rangeStart", "rangeEnd", "gateway"];
    let others = ["ranges", "routes", "dataDir", "resolvConf"];
    only(&object, &[&inline[..], &others].concat()).map_err(|e| format!("ipam: {e}"))?;
    let conf: Conf = read(object.clone()).map_err(|e| format!("ipam: {e}"))?;
    if conf.kind != "host-local" {
        return Err(format!("ipam: there is no native work for {:?}", conf.kind));
    }
    let mut ranges = conf.ranges;
    let range: Map<String, Value> = object
        .into_iter()
        .filter(|(key, _)| inline.contains(&key.as_str()))
        .collect();
    match (conf.subnet, range.is_empty()) {
        (Some(_), _) => ranges.insert(0, vec![read(range).map_err(|e| format!("ipam: {e}"))?]),
        (None, true) => {}
        (None, false) => return Err("ipam: a range without its subnet".into()),
    }
    let made: Result<Vec<_>, _> = ranges.iter().map(|set| RangeSet::new(set)).collect();
    let sets = made.map_err(|e| format!("ipam: {e}"))?;
    RangeSet::check_apart(&sets).map_err(|e| format!("ipam: {e}"))?;
    if sets.is_empty() {
        return Err("ipam: there is no range".into());
    }
    let data_dir = conf.data_dir.filter(|dir| !dir.as_os_str().is_empty());
    let data_dir = data_dir.unwrap_or_else(|| DATA_DIR.into());
    if !data_dir.is_absolute() {
        return Err("ipam: dataDir is not absolute".into());
    }
    if let Some(route) = conf.routes.iter().find(|r| r.dst.network() != r.dst) {
        return Err(format!("ipam: {} has host bits set", route.dst));
    }
    Ok(Ipam {
        data_dir,
        sets,
        routes: conf
            .routes
            .into_iter()
            .map(|route| Route {
                dst: route.dst,
                gw: route.gw,
            })
            .collect(),
        resolv_conf: conf.resolv_conf.filter(|p| !p.as_os_str().is_empty()),
    })
}

/// Refuses what is neither common to all plugins nor `known`.
fn only(object: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    let is_known = |key: &str| COMMON.contains(&key) || known.contains(&key);
    match object.keys().find(|key| !is_known(key)) {
        Some(key) => Err(format!("{key} is not done natively")),
        None => Ok(()),
    }
}

fn read<T: DeserializeOwned>(object: Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(object)).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn list(plugins: Value) -> ConfList {
        let list = json!({"cniVersion": "1.0.0", "name": "n", "plugins": plugins});
        ConfList::parse_list(list.to_string().as_bytes())
            .unwrap()
            .list
    }

    fn why(plugins: Value, usage: Usage) -> Vec<String> {
        let list = list(plugins);
        let ways = ways(&list, usage);
        assert_eq!(ways.len(), list.plugins.len());
        ways.into_iter()
            .map(|way| match way {
                Way::Native(_) => "native".to_owned(),
                Way::Program(why) => why,
            })
            .collect()
    }

    fn with(kind: &str, more: Value) -> Value {
        let mut plugin =
            json!({"type": kind, "ipam": {"type": "host-local", "subnet": "10.0.0.0/24"}});
        for (key, value) in more.as_object().unwrap() {
            plugin[key] = value.clone();
        }
        plugin
    }

    #[test]
    fn what_is_known_to_the_last_field_is_done_natively() {
        let bridge = json!({"type": "bridge", "bridge": "br0", "isGateway": true, "isDefaultGateway": false,
            "forceAddress": true, "ipMasq": true, "ipMasqBackend": "nftables", "mtu": 1400, "hairpinMode": true,
            "promiscMode": false, "vlan": 0, "macspoofchk": false, "enabledad": null, "preserveDefaultVlan": true,
            "dns": {"nameservers": ["1.1.1.1"]}, "capabilities": {"ips": true, "mac": true},
            "ipam": {"type": "host-local", "subnet": "10.0.0.0/24", "rangeStart": "10.0.0.9",
                "ranges": [[{"subnet": "fd00::/64", "gateway": "fd00::9"}]], "dataDir": "/d", "resolvConf": "/r",
                "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.3"}]}});
        let list = list(json!([bridge, {"type": "loopback"},
            {"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}]));
        let ways = ways(&list, Usage::Auto);
        let Way::Native(first) = &ways[0] else {
            panic!("{ways:?}")
        };
        let Plugin::Bridge(bridge) = &**first else {
            panic!("{first:?}")
        };
        assert!(bridge.is_gateway && bridge.masquerade && bridge.hairpin && bridge.force_address);
        assert!(!bridge.is_default_gateway && !bridge.promiscuous);
        assert_eq!((bridge.name.as_str(), bridge.mtu), ("br0", Some(1400)));
        let sets: Vec<_> = bridge.ipam.sets.iter().map(RangeSet::to_string).collect();
        assert_eq!(sets[0], "10.0.0.9-10.0.0.254");
        assert_eq!(sets[1], "fd00::1-fd00::ffff:ffff:ffff:ffff");
        assert_eq!(bridge.ipam.data_dir, PathBuf::from("/d"));
        assert_eq!(ways[1], Way::Native(Box::new(Plugin::Loopback)));
        assert_eq!(ways[2], Way::Native(Box::new(Plugin::Portmap)));
        assert!(publishes_ports(&list, &ways));
        let by_program = [
            ways[0].clone(),
            ways[1].clone(),
            Way::Program(String::new()),
        ];
        assert!(!publishes_ports(&list, &by_program));
    }

    #[test]
    fn what_is_left_out_is_as_with_the_plugin() {
        let list = list(json!([with("bridge", json!({"isDefaultGateway": true}))]));
        let ways = ways(&list, Usage::Auto);
        let Way::Native(first) = &ways[0] else {
            panic!("{ways:?}")
        };
        let Plugin::Bridge(bridge) = &**first else {
            panic!("{first:?}")
        };
        assert_eq!((bridge.name.as_str(), bridge.mtu), ("cni0", None));
        assert!(bridge.is_gateway && !bridge.masquerade);
        assert_eq!(bridge.ipam.data_dir, PathBuf::from(DATA_DIR));
        assert_eq!(first.ipam(), Some(&bridge.ipam));
    }

    #[test]
    fn the_reason_is_told_why_a_program_does_it() {
        let ipam = |more: Value| {
            let mut ipam = json!({"type": "host-local", "subnet": "10.0.0.0/24"});
            for (key, value) in more.as_object().unwrap() {
                ipam[key] = value.clone();
            }
            with("bridge", json!({"ipam": ipam}))
        };
        for (plugin, reason) in [
            (json!({"type": "macvlan"}), "there is no native work for it"),
            (
                with("bridge", json!({"vlan": 5})),
                "vlan is not done natively",
            ),
            (
                with("bridge", json!({"macspoofchk": true})),
                "macspoofchk is not done natively",
            ),
            (
                with("bridge", json!({"enabledad": true})),
                "enabledad is not done natively",
            ),
            (
                with("bridge", json!({"newOption": false})),
                "newOption is not done natively",
            ),
            (
                with("bridge", json!({"args": {"cni": {}}})),
                "args is not done natively",
            ),
            (
                with("bridge", json!({"ipMasqBackend": "iptables"})),
                "ipMasqBackend is \"iptables\"",
            ),
            (
                with("bridge", json!({"bridge": "a/b"})),
                "\"a/b\" cannot be the name of a bridge",
            ),
            (
                with("bridge", json!({"hairpinMode": true, "promiscMode": true})),
                "hairpinMode and promiscMode exclude each other",
            ),
            (with("bridge", json!({"ipam": null})), "it has no ipam"),
            (
                with("ptp", json!({"isGateway": true})),
                "isGateway is not done natively",
            ),
            (
                ipam(json!({"type": "dhcp"})),
                "ipam: there is no native work for \"dhcp\"",
            ),
            (
                ipam(json!({"subnet": "10.0.0.1/24"})),
                "ipam: 10.0.0.1/24 has host bits set",
            ),
            (
                ipam(json!({"dataDir": "here"})),
                "ipam: dataDir is not absolute",
            ),
            (
                ipam(json!({"strange": 1})),
                "ipam: strange is not done natively",
            ),
            (
                ipam(json!({"ranges": [[{"subnet": "10.0.0.0/16"}]]})),
                "ipam: 10.0.0.1-10.0.0.254 and 10.0.0.1-10.0.255.254 overlap",
            ),
            (
                ipam(json!({"routes": [{"dst": "10.1.1.1/8"}]})),
                "ipam: 10.1.1.1/8 has host bits set",
            ),
            (
                json!({"type": "portmap", "capabilities": {"portMappings": true}}),
                "it is the first of the list",
            ),
            (
                json!({"type": "loopback", "x": 1}),
                "x is not done natively",
            ),
        ] {
            assert_eq!(why(json!([plugin]), Usage::Auto), [reason], "{plugin}");
        }
        let portmap = |more: Value| {
            let mut portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
            for (key, value) in more.as_object().unwrap() {
                portmap[key] = value.clone();
            }
            json!([with("bridge", json!({})), portmap])
        };
        for (more, reason) in [
            (json!({}), "native"),
            (json!({"snat": false}), "snat is off"),
            (
                json!({"conditionsV4": []}),
                "conditionsV4 is not done natively",
            ),
            (json!({"capabilities": {}}), "it does not take portMappings"),
        ] {
            assert_eq!(why(portmap(more), Usage::Auto), ["native", reason]);
        }
        let masquerading = json!([with("bridge", json!({"ipMasq": true}))]);
        assert_eq!(
            why(masquerading.clone(), Usage::WithoutMasquerade),
            ["the kernel cannot masquerade by nftables"]
        );
        assert_eq!(
            why(masquerading, Usage::Never),
            ["native networking is switched off"]
        );
        let second = json!([{"type": "tuning"}, with("bridge", json!({}))]);
        assert_eq!(
            why(second, Usage::Auto)[1],
            "it is not the first of the list"
        );
        let old = json!({"name": "n", "type": "ptp", "cniVersion": "0.2.0"});
        let old = ConfList::parse_single(old.to_string().as_bytes()).unwrap();
        assert_eq!(
            ways(&old, Usage::Auto),
            [Way::Program("CNI version 0.2.0 is too old".into())]
        );
    }

    #[test]
    fn whoever_attached_a_pod_detaches_it() {
        let list = list(json!([with("bridge", json!({})), {"type": "tuning"}]));
        let back = |usage, native: &[&str]| {
            let native = native.iter().map(|kind| (*kind).to_owned()).collect();
            let ways = ways_back(&list, usage, &native);
            matches!(ways[0], Way::Native(_))
        };
        assert!(back(Usage::Auto, &["bridge"]));
        let by_programs = [Way::Program("a".into()), Way::Program("b".into())];
        let bridge = BTreeSet::from(["bridge".to_owned()]);
        let masquerading = ConfList {
            plugins: vec![PluginConf {
                kind: "bridge".into(),
                capabilities: BTreeSet::new(),
                object: json!({"ipMasq": true, "mtu": 9})
                    .as_object()
                    .unwrap()
                    .clone(),
            }],
            ..list.clone()
        };
        let handed = handed_over(&masquerading, &by_programs, &bridge).unwrap();
        assert_eq!(
            Value::from(handed.plugins[0].object.clone()),
            json!({"mtu": 9})
        );
        assert_eq!(
            handed_over(&masquerading, &by_programs, &BTreeSet::new()),
            None
        );
        assert!(!back(Usage::Auto, &[]));
        assert!(!back(Usage::Never, &["bridge"]));
    }

    proptest! {
        #[test]
        fn no_configuration_makes_it_panic(
            kind in prop_oneof!["bridge", "ptp", "portmap", "loopback"],
            key in prop_oneof!["ipam", "mtu", "bridge", "dns", "vlan", "ipMasq", "snat", "capabilities2"],
            value in prop_oneof![
                Just(json!(null)), Just(json!(-1)), Just(json!("x")), Just(json!([])), Just(json!({"type": "host-local"})),
                Just(json!({"type": "host-local", "ranges": [[]]})), Just(json!({"type": "host-local", "ranges": [[{"subnet": "::/0"}]]})),
                Just(json!({"type": "host-local", "subnet": "0.0.0.0/0"})),
            ],
        ) {
            let list = list(json!([{"type": kind, key: value}]));
            prop_assert_eq!(ways(&list, Usage::Auto).len(), 1);
        }
    }
}
