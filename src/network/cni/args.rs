//! What a pod brings to its network: `CNI_ARGS` and `runtimeConfig`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::conf::PluginConf;
use crate::{network::PodNetwork, pod::spec::PortMapping};

/// Longest value in `CNI_ARGS`.
const MAX_VALUE: usize = 1024;
/// Least and most bandwidth that makes sense, in bits per second.
const BANDWIDTH: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000_000;
/// Bits that may pass at once: as many as the plugins take.
const BURST: u64 = u32::MAX as u64;

/// Something of a pod that its network cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// A name that could be taken for more than itself.
    #[error("{field} {value:?} {reason}")]
    Value {
        /// Of what.
        field: &'static str,
        /// As given, shortened.
        value: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// Not a bandwidth.
    #[error("annotation {annotation}: {value:?} {reason}")]
    Bandwidth {
        /// Which.
        annotation: &'static str,
        /// As given, shortened.
        value: String,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Limits of a pod's traffic in bits per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// Into the pod.
    pub ingress: Option<u64>,
    /// Out of it.
    pub egress: Option<u64>,
}

impl Bandwidth {
    /// From the annotations `kubernetes.io/ingress-bandwidth` and `kubernetes.io/egress-bandwidth`.
    pub fn from_annotations(annotations: &BTreeMap<String, String>) -> Result<Self, ArgsError> {
        let read = |annotation: &'static str| {
            let Some(value) = annotations.get(annotation) else {
                return Ok(None);
            };
            let error = |reason| ArgsError::Bandwidth {
                annotation,
                value: value.chars().take(80).collect(),
                reason,
            };
            let bits = quantity(value).ok_or_else(|| error("is not a quantity"))?;
            match BANDWIDTH.contains(&bits) {
                true => Ok(Some(bits)),
                false => Err(error("is not between 1k and 1P bits per second")),
            }
        };
        Ok(Self {
            ingress: read("kubernetes.io/ingress-bandwidth")?,
            egress: read("kubernetes.io/egress-bandwidth")?,
        })
    }

    fn is_none(self) -> bool {
        self.ingress.is_none() && self.egress.is_none()
    }
}

/// A whole number written the way Kubernetes writes quantities, rounded up; `None` for anything else.
fn quantity(text: &str) -> Option<u64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0
        || whole.len() > 18
        || fraction.len() > 9
        || fraction.contains('.')
    {
        return None;
    }
    // In 10^-9, so that every fraction and every suffix is a whole factor.
    let digits: u128 = format!("{whole}{fraction:0<9}").parse().ok()?;
    let (up, down): (u128, u128) = match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            match power {
                0..=18 => (10u128.pow(power.unsigned_abs()), 1),
                -18..0 => (1, 10u128.pow(power.unsigned_abs())),
                _ => return None,
            }
        }
    };
    let nano = digits.checked_mul(up)?;
    u64::try_from(nano.div_ceil(down.checked_mul(1_000_000_000)?)).ok()
}

/// The text of `CNI_ARGS` for a pod.
///
/// Plugins split it at ';' and '=' without any quoting, so values with these are refused.
pub fn cni_args(pod: &PodNetwork) -> Result<String, ArgsError> {
    let mut text = String::from("IgnoreUnknown=1");
    for (key, field, value) in [
        ("K8S_POD_NAMESPACE", "pod namespace", pod.namespace.as_str()),
        ("K8S_POD_NAME", "pod name", &pod.name),
        ("K8S_POD_INFRA_CONTAINER_ID", "pod id", pod.id.as_str()),
        ("K8S_POD_UID", "pod uid", &pod.uid),
    ] {
        let error = |reason| ArgsError::Value {
            field,
            value: value.chars().take(80).collect(),
            reason,
        };
        if value.len() > MAX_VALUE {
            return Err(error("is too long"));
        }
        if value.contains([';', '=']) || value.chars().any(char::is_control) {
            return Err(error("has ';', '=' or a control character"));
        }
        text.push(';');
        text.push_str(key);
        text.push('=');
        text.push_str(value);
    }
    Ok(text)
}

/// `runtimeConfig` for one plugin: what the pod brings among what the plugin takes.
pub fn runtime_config(pod: &PodNetwork, plugin: &PluginConf) -> Map<String, Value> {
    let mut config = Map::new();
    let mut give = |capability: &str, value: Option<Value>| {
        if let (true, Some(value)) = (plugin.capabilities.contains(capability), value) {
            config.insert(capability.to_owned(), value);
        }
    };
    let some = |there: bool, value: &dyn Fn() -> Value| there.then(value);
    give(
        "portMappings",
        some(!pod.ports.is_empty(), &|| {
            pod.ports.iter().map(port_mapping).collect()
        }),
    );
    give(
        "dns",
        pod.dns
            .as_ref()
            .map(|d| json!({"servers": d.servers, "searches": d.searches, "options": d.options})),
    );
    give("ips", some(!pod.ips.is_empty(), &|| json!(pod.ips)));
    give("mac", pod.mac.as_ref().map(|m| json!(m)));
    give(
        "aliases",
        some(!pod.aliases.is_empty(), &|| json!(pod.aliases)),
    );
    give("cgroupPath", pod.cgroup_path.as_ref().map(|p| json!(p)));
    give(
        "ipRanges",
        some(!pod.ip_ranges.is_empty(), &|| {
            pod.ip_ranges
                .iter()
                .map(|range| json!([{ "subnet": range.network() }]))
                .collect()
        }),
    );
    give(
        "bandwidth",
        some(!pod.bandwidth.is_none(), &|| bandwidth(pod.bandwidth)),
    );
    config
}

fn port_mapping(port: &PortMapping) -> Value {
    json!({
        "hostPort": port.host_port,
        "containerPort": port.container_port,
        "protocol": port.protocol,
        "hostIP": port.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
    })
}

fn bandwidth(limits: Bandwidth) -> Value {
    let mut value = Map::new();
    let mut put = |rate: Option<u64>, rate_key: &str, burst_key: &str| {
        if let Some(rate) = rate {
            value.insert(rate_key.to_owned(), json!(rate));
            value.insert(burst_key.to_owned(), json!(BURST));
        }
    };
    put(limits.ingress, "ingressRate", "ingressBurst");
    put(limits.egress, "egressRate", "egressBurst");
    Value::Object(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{network::tests::pod, pod::spec::Protocol};
    use proptest::prelude::*;

    #[test]
    fn quantities() {
        for (text, value) in [
            ("10M", Some(10_000_000)),
            ("1.5k", Some(1500)),
            ("1Ki", Some(1024)),
            ("1e6", Some(1_000_000)),
            ("2E3", Some(2000)),
            ("1E", Some(1_000_000_000_000_000_000)),
            ("1500m", Some(2)),
            ("1e-3", Some(1)),
            (".5k", Some(500)),
            ("+7", Some(7)),
            ("", None),
            (".", None),
            ("M", None),
            ("1.2.3", None),
            ("-1", None),
            ("1x", None),
            ("1 M", None),
            ("1e", None),
            ("1e99", None),
            ("99E", None),
        ] {
            assert_eq!(quantity(text), value, "{text}");
        }
    }

    #[test]
    fn bandwidth_from_annotations() {
        let read = |value: &str| {
            let all = BTreeMap::from([(
                "kubernetes.io/egress-bandwidth".to_owned(),
                value.to_owned(),
            )]);
            Bandwidth::from_annotations(&all)
        };
        assert_eq!(read("10M").unwrap().egress, Some(10_000_000));
        assert_eq!(read("10M").unwrap().ingress, None);
        for bad in ["1", "2P", "fast", ""] {
            let error = read(bad).unwrap_err().to_string();
            assert!(
                error.starts_with("annotation kubernetes.io/egress-bandwidth: "),
                "{error}"
            );
        }
    }

    #[test]
    fn args_name_the_pod_and_nothing_else() {
        let mut pod = pod("/ns");
        let id = pod.id.clone();
        assert_eq!(
            cni_args(&pod).unwrap(),
            format!(
                "IgnoreUnknown=1;K8S_POD_NAMESPACE=space;K8S_POD_NAME=pod;K8S_POD_INFRA_CONTAINER_ID={id};K8S_POD_UID=uid"
            )
        );
        for bad in ["a;IgnoreUnknown=0", "a=b", "a\nb", "a\0"] {
            pod.name = bad.into();
            assert!(
                cni_args(&pod)
                    .unwrap_err()
                    .to_string()
                    .starts_with("pod name ")
            );
        }
    }

    #[test]
    fn a_plugin_gets_what_it_takes() {
        let mut pod = pod("/ns");
        pod.ports = vec![PortMapping {
            protocol: Protocol::Udp,
            container_port: 53,
            host_port: 5353,
            host_ip: None,
        }];
        pod.bandwidth.ingress = Some(5000);
        pod.ip_ranges = vec!["10.1.2.3/24".parse().unwrap()];
        pod.aliases = vec!["a".into()];
        pod.cgroup_path = Some("/pods/x".into());
        let plugin = |text: &str| PluginConf::parse_file(text.as_bytes()).unwrap();
        let all = plugin(
            r#"{"type":"x","capabilities":{"portMappings":true,"bandwidth":true,"ipRanges":true,"aliases":true,
                "cgroupPath":true,"mac":true,"dns":true}}"#,
        );
        assert_eq!(
            Value::Object(runtime_config(&pod, &all)),
            json!({
                "portMappings": [{"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": ""}],
                "bandwidth": {"ingressRate": 5000, "ingressBurst": 4294967295u32},
                "ipRanges": [[{"subnet": "10.1.2.0/24"}]],
                "aliases": ["a"],
                "cgroupPath": "/pods/x",
            })
        );
        assert!(runtime_config(&pod, &plugin(r#"{"type":"x"}"#)).is_empty());
    }

    proptest! {
        #[test]
        fn no_text_makes_quantities_panic(text in "[0-9.eEkKMi+-]{0,24}") {
            let _ = quantity(&text);
        }

        #[test]
        fn values_never_add_a_key(name in ".{0,30}") {
            let mut pod = pod("/ns");
            pod.name = name;
            if let Ok(args) = cni_args(&pod) {
                prop_assert_eq!(args.split(';').count(), 5);
                prop_assert!(args.split(';').all(|pair| pair.split('=').count() == 2));
            }
        }
    }
}
