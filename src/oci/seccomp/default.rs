//! The filter a container gets when it asks for the runtime's default.
//!
//! What is needed by ordinary programs is allowed, more where a capability calls for it. A call
//! that is known and withheld fails with EPERM; one that is not known fails with ENOSYS, as it
//! would on a kernel that does not have it, so that libraries fall back to older calls.

use std::collections::BTreeSet;

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompOperator as Operator, LinuxSyscall,
};

use super::{MACHINE, Target, argument, groups};

const EPERM: u32 = libc::EPERM as u32;
const ENOSYS: u32 = libc::ENOSYS as u32;

/// Flags of `clone` that make namespaces.
const NEW_NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u64;

/// Execution domains that differ from the usual in harmless ways: Linux, 32-bit Linux, either with
/// the old kernel version, and the question which one it is.
const PERSONALITIES: [u64; 5] = [0, 0x0008, 0x0002_0000, 0x0002_0008, 0xffff_ffff];

/// Where `clone` has its flags.
const CLONE_FLAGS_AT: usize = if cfg!(target_arch = "s390x") { 1 } else { 0 };

/// The default filter for a container.
pub fn runtime_default(target: &Target) -> LinuxSeccomp {
    let mut allowed: BTreeSet<&str> = groups::always().collect();
    for (capability, names) in groups::WITH_CAPABILITY {
        if target.capabilities.has(capability) {
            allowed.extend(names.split_whitespace());
        }
    }
    if target.kernel >= (4, 8) {
        allowed.extend(groups::TRACING.split_whitespace());
    }

    // A call must not stand both with conditions and without.
    let mut conditional = vec![on_argument(
        "socket",
        0,
        Operator::ScmpCmpNe,
        libc::AF_VSOCK as u64,
    )];
    conditional.extend(
        PERSONALITIES
            .iter()
            .map(|value| on_argument("personality", 0, Operator::ScmpCmpEq, *value)),
    );
    if !allowed.contains("clone") {
        let mut rule = rule(["clone"], Action::ScmpActAllow, None);
        // The mask comes first, then what is left of the flags under it.
        let without = argument(
            CLONE_FLAGS_AT,
            Operator::ScmpCmpMaskedEq,
            NEW_NAMESPACES,
            Some(0),
        );
        rule.set_args(Some(vec![without]));
        conditional.push(rule);
    }

    let refused: BTreeSet<&str> = groups::refusable()
        .filter(|name| !allowed.contains(name))
        // These have conditions above, or an answer of their own below.
        .filter(|name| !matches!(*name, "clone" | "clone3" | "personality"))
        .collect();

    let mut rules = vec![rule(allowed.iter().copied(), Action::ScmpActAllow, None)];
    rules.append(&mut conditional);
    rules.push(rule(refused, Action::ScmpActErrno, Some(EPERM)));
    if !allowed.contains("clone3") {
        // Its flags are in memory, where no filter can look; without it libraries use clone.
        rules.push(rule(["clone3"], Action::ScmpActErrno, Some(ENOSYS)));
    }

    let mut seccomp = LinuxSeccomp::default();
    seccomp
        .set_default_action(Action::ScmpActErrno)
        .set_default_errno_ret(Some(ENOSYS))
        .set_architectures(Some(MACHINE.arches.to_vec()))
        .set_syscalls(Some(rules));
    seccomp
}

fn rule(
    names: impl IntoIterator<Item = &'static str>,
    action: Action,
    errno: Option<u32>,
) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.into_iter().map(str::to_owned).collect())
        .set_action(action)
        .set_errno_ret(errno);
    rule
}

fn on_argument(name: &'static str, index: usize, op: Operator, value: u64) -> LinuxSyscall {
    let mut rule = rule([name], Action::ScmpActAllow, None);
    rule.set_args(Some(vec![argument(index, op, value, None)]));
    rule
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::capability::CapSet;
    use proptest::prelude::*;

    fn filter(capabilities: CapSet) -> LinuxSeccomp {
        runtime_default(&Target {
            capabilities,
            kernel: (6, 1),
        })
    }

    /// What happens to a call, if nothing about its arguments matters.
    fn outcome(filter: &LinuxSeccomp, name: &str) -> Vec<(Action, Option<u32>, bool)> {
        filter
            .syscalls()
            .iter()
            .flatten()
            .filter(|rule| rule.names().iter().any(|n| n == name))
            .map(|rule| (rule.action(), rule.errno_ret(), rule.args().is_some()))
            .collect()
    }

    #[test]
    fn withheld_is_eperm_and_unknown_is_enosys() {
        let filter = filter(CapSet::defaults());
        assert_eq!(filter.default_action(), Action::ScmpActErrno);
        assert_eq!(filter.default_errno_ret(), Some(ENOSYS));
        for name in [
            "mount",
            "bpf",
            "reboot",
            "keyctl",
            "io_uring_setup",
            "unshare",
            "setns",
        ] {
            assert_eq!(
                outcome(&filter, name),
                [(Action::ScmpActErrno, Some(EPERM), false)],
                "{name}"
            );
        }
        assert_eq!(
            outcome(&filter, "clone3"),
            [(Action::ScmpActErrno, Some(ENOSYS), false)]
        );
        assert_eq!(
            outcome(&filter, "clone"),
            [(Action::ScmpActAllow, None, true)]
        );
        assert_eq!(
            outcome(&filter, "execve"),
            [(Action::ScmpActAllow, None, false)]
        );
        assert_eq!(outcome(&filter, "call_of_the_future"), []);
    }

    #[test]
    fn capabilities_open_what_they_are_for() {
        let allowed = [(Action::ScmpActAllow, None, false)];
        let admin = filter(CapSet::one("SYS_ADMIN").unwrap());
        for name in ["mount", "sethostname", "clone", "clone3", "unshare"] {
            assert_eq!(outcome(&admin, name), allowed, "{name}");
        }
        assert_eq!(
            outcome(&filter(CapSet::one("BPF").unwrap()), "bpf"),
            allowed
        );
        assert_eq!(
            outcome(&filter(CapSet::one("SYS_CHROOT").unwrap()), "chroot"),
            allowed
        );
    }

    proptest! {
        #[test]
        fn no_call_has_two_answers(bits: u64) {
            let filter = filter(CapSet::from_bits(bits));
            let mut seen = std::collections::HashMap::new();
            for rule in filter.syscalls().iter().flatten() {
                for name in rule.names() {
                    let answer = (rule.action(), rule.args().is_some());
                    let first = *seen.entry(name.clone()).or_insert(answer);
                    prop_assert_eq!(first, answer, "{}", name);
                }
            }
        }
    }
}
