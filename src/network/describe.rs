//! How pods are attached, told to people: which plugins of the list in use are done natively, and why others are not. Pure.

use serde_json::{Value, json};

use super::{
    NetworkStatus,
    cni::conf::ConfList,
    native::plugin::{Usage, Way, ways},
};

/// What the verbose status says of the network.
pub(super) fn describe(list: Option<&ConfList>, status: &NetworkStatus, usage: Usage) -> Value {
    let Some(list) = list else {
        return json!({ "ready": status.ready, "list": null });
    };
    let ways = ways(list, usage);
    let plugins: Vec<Value> = (list.plugins.iter().zip(&ways))
        .map(|(plugin, way)| match way {
            Way::Native(_) => json!({ "type": plugin.kind, "native": true }),
            Way::Program(reason) => {
                json!({ "type": plugin.kind, "native": false, "reason": reason })
            }
        })
        .collect();
    json!({
        "ready": status.ready,
        "list": {
            "name": list.name,
            "cniVersion": list.version.to_string(),
            "native": ways.iter().all(|way| matches!(way, Way::Native(_))),
            "plugins": plugins,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(plugins: Value, usage: Usage) -> Value {
        let list = json!({"cniVersion": "1.0.0", "name": "n", "plugins": plugins});
        let list = ConfList::parse_list(list.to_string().as_bytes()).unwrap();
        describe(Some(&list.list), &NetworkStatus::ready(), usage)
    }

    fn bridge(more: Value) -> Value {
        let mut plugin =
            json!({"type": "bridge", "ipam": {"type": "host-local", "subnet": "10.0.0.0/24"}});
        let object = plugin.as_object_mut().unwrap();
        object.extend(more.as_object().unwrap().clone());
        plugin
    }

    #[test]
    fn each_plugin_has_its_way_and_its_reason() {
        let ports = json!({"type": "portmap", "capabilities": {"portMappings": true}});
        let all = told(json!([bridge(json!({})), ports]), Usage::Auto);
        assert_eq!(
            all,
            json!({"ready": true, "list": {
                "name": "n", "cniVersion": "1.0.0", "native": true,
                "plugins": [{"type": "bridge", "native": true}, {"type": "portmap", "native": true}]}})
        );
        let part = told(
            json!([bridge(json!({"vlan": 5})), {"type": "tuning"}, ports]),
            Usage::Auto,
        );
        assert_eq!(
            part["list"]["plugins"],
            json!([
                {"type": "bridge", "native": false, "reason": "vlan is not done natively"},
                {"type": "tuning", "native": false, "reason": "there is no native work for it"},
                {"type": "portmap", "native": true},
            ])
        );
        assert_eq!(part["list"]["native"], false);
        let never = told(json!([bridge(json!({})), ports]), Usage::Never);
        for plugin in never["list"]["plugins"].as_array().unwrap() {
            assert_eq!(plugin["reason"], "native networking is switched off");
        }
        let old = told(
            json!([bridge(json!({"ipMasq": true}))]),
            Usage::WithoutMasquerade,
        );
        let reason = &old["list"]["plugins"][0]["reason"];
        assert_eq!(reason, "the kernel cannot masquerade by nftables");
    }

    #[test]
    fn without_a_list_there_is_nothing_to_tell() {
        let status = NetworkStatus::not_ready("no list".into());
        assert_eq!(
            describe(None, &status, Usage::Auto),
            json!({"ready": false, "list": null})
        );
    }
}
