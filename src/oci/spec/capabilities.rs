//! Which capabilities a container has.

use oci_spec::runtime::LinuxCapabilities;

use super::SpecError;
use crate::{
    container::spec::Capabilities,
    oci::{
        capability::CapSet,
        clamp::{self, Clamped},
    },
};

/// Stands for all.
const ALL: &str = "ALL";

/// The sets of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decided {
    /// The most it can ever have.
    pub bounding: CapSet,
    /// Kept by whatever it runs, whoever runs it.
    pub ambient: CapSet,
    /// Asked for by name, and not to be had here.
    pub clamped: Vec<Clamped>,
}

/// Applies a request to the default set.
///
/// `ALL` is applied first, then single names, so that "drop ALL, add X" leaves X alone and "add
/// ALL, drop X" everything but X. A capability both added and dropped is dropped.
pub(super) fn decide(
    asked: &Capabilities,
    privileged: bool,
    defaults: CapSet,
    own: CapSet,
) -> Result<Decided, SpecError> {
    let (add_all, add) = read("capabilities.add_capabilities", &asked.add)?;
    let (drop_all, drop) = read("capabilities.drop_capabilities", &asked.drop)?;
    let (ambient_all, ambient) = read("capabilities.add_ambient_capabilities", &asked.add_ambient)?;
    if privileged {
        return Ok(Decided {
            bounding: own,
            ambient: CapSet::EMPTY,
            clamped: Vec::new(),
        });
    }
    let base = match (add_all, drop_all) {
        (_, true) => CapSet::EMPTY,
        (true, false) => own,
        (false, false) => defaults,
    };
    let ambient = if ambient_all { own } else { ambient };
    let wanted = base.union(add).union(ambient).difference(drop);
    let (bounding, mut clamped) = clamp::capabilities(wanted, own);
    // A default that this node lacks was not asked for by anyone.
    clamped.retain(|note| match note {
        Clamped::Capability(name) => add.has(name) || ambient.has(name),
        _ => true,
    });
    Ok(Decided {
        bounding,
        ambient: ambient.intersection(bounding),
        clamped,
    })
}

impl Decided {
    /// As the runtime specification has it. Only what is ambient is inheritable: otherwise a
    /// program with inheritable file capabilities could gain what its user was never given.
    pub(super) fn to_oci(&self) -> LinuxCapabilities {
        let mut sets = LinuxCapabilities::default();
        sets.set_bounding(Some(self.bounding.to_oci()))
            .set_effective(Some(self.bounding.to_oci()))
            .set_permitted(Some(self.bounding.to_oci()))
            .set_inheritable(Some(self.ambient.to_oci()))
            .set_ambient(Some(self.ambient.to_oci()));
        sets
    }
}

fn read(field: &'static str, names: &[String]) -> Result<(bool, CapSet), SpecError> {
    let is_all = |name: &&String| {
        let upper = name.to_ascii_uppercase();
        upper == ALL || upper == "CAP_ALL"
    };
    let all = names.iter().any(|name| is_all(&name));
    let single = names
        .iter()
        .filter(|name| !is_all(name))
        .map(String::as_str);
    let set = CapSet::of(single).map_err(|source| SpecError::Capability { field, source })?;
    Ok((all, set))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn ask(add: &[&str], drop: &[&str], ambient: &[&str]) -> Result<Decided, SpecError> {
        let asked = Capabilities {
            add: names(add),
            drop: names(drop),
            add_ambient: names(ambient),
        };
        let own = CapSet::ALL.difference(CapSet::one("SYS_RESOURCE").unwrap());
        decide(&asked, false, CapSet::defaults(), own)
    }

    #[test]
    fn all_comes_before_single_names() {
        assert_eq!(ask(&[], &[], &[]).unwrap().bounding, CapSet::defaults());
        let one = CapSet::one("NET_ADMIN").unwrap();
        assert_eq!(ask(&["NET_ADMIN"], &["ALL"], &[]).unwrap().bounding, one);
        let most = ask(&["ALL"], &["CAP_NET_ADMIN"], &[]).unwrap();
        assert_eq!(most.bounding.names().count(), 39);
        assert!(most.clamped.is_empty());
        assert!(ask(&["ALL"], &["ALL"], &[]).unwrap().bounding.is_empty());
        assert!(!ask(&["KILL"], &["KILL"], &[]).unwrap().bounding.has("KILL"));
    }

    #[test]
    fn what_the_node_lacks_is_left_out_and_told() {
        let decided = ask(&["SYS_RESOURCE"], &[], &[]).unwrap();
        assert_eq!(decided.bounding, CapSet::defaults());
        assert_eq!(decided.clamped, [Clamped::Capability("SYS_RESOURCE")]);
    }

    #[test]
    fn only_the_ambient_is_inheritable() {
        let plain = ask(&["NET_ADMIN"], &[], &[]).unwrap().to_oci();
        assert!(plain.inheritable().as_ref().unwrap().is_empty());
        let decided = ask(&[], &["ALL"], &["NET_RAW"]).unwrap();
        assert_eq!(decided.ambient, CapSet::one("NET_RAW").unwrap());
        assert_eq!(decided.bounding, decided.ambient);
        assert_eq!(decided.to_oci().inheritable().as_ref().unwrap().len(), 1);
    }

    #[test]
    fn privileged_is_all_there_is() {
        let own = CapSet::of(["KILL", "SYS_ADMIN"]).unwrap();
        let decided = decide(&Capabilities::default(), true, CapSet::defaults(), own).unwrap();
        assert_eq!(decided.bounding, own);
    }

    #[test]
    fn unknown_names_are_refused() {
        let error = ask(&["NET_ADMIN", "FLY"], &[], &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "capabilities.add_capabilities: unknown capability \"FLY\""
        );
        assert!(ask(&[], &["FLY"], &[]).is_err() && ask(&[], &[], &["FLY"]).is_err());
    }

    proptest! {
        #[test]
        fn never_more_than_the_node_has(add: u64, drop: u64, own: u64) {
            let list = |bits| CapSet::from_bits(bits).names().map(str::to_owned).collect();
            let asked = Capabilities { add: list(add), drop: list(drop), add_ambient: vec![] };
            let own = CapSet::from_bits(own);
            let decided = decide(&asked, false, CapSet::defaults(), own).unwrap();
            prop_assert!(own.contains(decided.bounding));
            prop_assert!(decided.bounding.intersection(CapSet::from_bits(drop)).is_empty());
            prop_assert!(decided.bounding.contains(decided.ambient));
        }
    }
}
