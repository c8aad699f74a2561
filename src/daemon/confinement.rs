//! What confines containers on this machine, prepared once.

use tracing::{info, warn};

use crate::{
    causes,
    config::Config,
    lsm::{
        apparmor::{self, ApparmorError},
        mcs::Pairs,
        selinux::{Contexts, Selinux},
    },
    oci::node::Node,
    pod::spec::SecurityProfile,
};

/// The AppArmor profile of containers that ask for the default one; corten's own is loaded.
pub(super) async fn apparmor_profile(config: &Config, node: &Node) -> Option<String> {
    let name = config.apparmor_profile.clone().filter(|_| node.apparmor)?;
    if name != apparmor::DEFAULT {
        return Some(name);
    }
    match apparmor::load_default().await {
        Ok(()) => info!(name, "AppArmor profile loaded"),
        Err(error) if matches!(error, ApparmorError::NoParser) && is_loaded(&name) => {}
        Err(error) => {
            let why = causes::whole(&error);
            warn!(name, "containers get no default AppArmor profile: {why}");
            return None;
        }
    }
    Some(name)
}

fn is_loaded(name: &str) -> bool {
    apparmor::check(&SecurityProfile::Localhost(name.to_owned()), None).is_ok()
}

/// SELinux, where the machine has it and the configuration wants it used.
pub(super) fn selinux(config: &Config, node: &Node) -> Option<Selinux> {
    if !node.selinux || !config.selinux {
        return None;
    }
    let contexts = Contexts::read().unwrap_or_else(|error| {
        let why = causes::whole(&error);
        warn!("the usual SELinux labels are used for containers: {why}");
        Contexts::default()
    });
    info!(process = %contexts.process, file = %contexts.file, "containers get SELinux labels");
    Some(Selinux {
        contexts,
        pairs: Pairs::default(),
    })
}
