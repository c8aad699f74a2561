//! Who a process becomes, and what it may do.

use std::io;

use oci_spec::runtime::{Capabilities, LinuxCapabilities, Process};
use rustix::{
    fs::{Gid, Uid},
    thread::{CapabilitySet, CapabilitySets},
};

use crate::oci::capability::CapSet;

/// Needed until the very end: for filters of system calls, and for giving capabilities up.
const UNTIL_THE_END: CapabilitySet = CapabilitySet::SYS_ADMIN.union(CapabilitySet::SETPCAP);

/// Becomes the process's user. What may be done is what the process may, and what [`give_up`] needs.
pub(super) fn become_user(process: &Process) -> io::Result<()> {
    let user = process.user();
    let mut groups: Vec<Gid> = Vec::new();
    for gid in user.additional_gids().iter().flatten() {
        groups.push(Gid::from_raw(*gid));
    }
    match rustix::thread::set_thread_groups(&groups) {
        // A user namespace may forbid to give groups up.
        Err(rustix::io::Errno::PERM) if groups.is_empty() => {}
        other => other?,
    }
    let held = rustix::thread::capabilities(None)?.permitted;
    rustix::thread::set_keep_capabilities(true)?;
    let (uid, gid) = (Uid::from_raw(user.uid()), Gid::from_raw(user.gid()));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    rustix::thread::set_keep_capabilities(false)?;
    if let Some(umask) = user.umask() {
        rustix::process::umask(rustix::fs::Mode::from(umask));
    }
    let effective = match process.capabilities() {
        None => held,
        Some(wanted) => bits(wanted.effective().as_ref())? | UNTIL_THE_END,
    };
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: effective & held,
            permitted: held,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

/// Gives up all that the process may not do.
pub(super) fn give_up(wanted: &LinuxCapabilities) -> io::Result<()> {
    let bounding = bits(wanted.bounding().as_ref())?;
    let mut last = 0;
    for bit in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        // The kernel knows no more of them.
        let Ok(bounded) = rustix::thread::capability_is_in_bounding_set(one) else {
            break;
        };
        last = bit;
        if bounded && !bounding.contains(one) {
            rustix::thread::remove_capability_from_bounding_set(one)?;
        }
    }
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: bits(wanted.effective().as_ref())?,
            permitted: bits(wanted.permitted().as_ref())?,
            inheritable: bits(wanted.inheritable().as_ref())?,
        },
    )?;
    let ambient = bits(wanted.ambient().as_ref())?;
    rustix::thread::clear_ambient_capability_set()?;
    for bit in 0..=last {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if ambient.contains(one) {
            rustix::thread::configure_capability_in_ambient_set(one, true)?;
        }
    }
    Ok(())
}

fn bits(wanted: Option<&Capabilities>) -> io::Result<CapabilitySet> {
    let set = wanted.map_or(Ok(CapSet::EMPTY), CapSet::from_oci);
    let set = set.map_err(io::Error::other)?;
    Ok(CapabilitySet::from_bits_retain(set.bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_bit() {
        let all = CapSet::ALL.to_oci();
        assert_eq!(all.len(), CapSet::ALL.names().count());
        assert_eq!(bits(Some(&all)).unwrap().bits(), CapSet::ALL.bits());
        assert!(bits(None).unwrap().is_empty());
    }
}
