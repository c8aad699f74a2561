//! Programs decide as the profiles say that they are compiled of.

use std::os::fd::AsFd;

use libseccomp::{ScmpArch, ScmpSyscall};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg,
    LinuxSeccompOperator as Operator, LinuxSyscall,
};
use proptest::prelude::*;

use super::{
    MACHINE, Target, argument,
    program::{Newer, Program, ProgramError},
    runtime_default,
};
use crate::oci::capability::CapSet;

const ALLOW: u32 = 0x7fff_0000;
const KILL_THREAD: u32 = 0;
const X86_64: u32 = 0xC000_003E;
const X86: u32 = 0x4000_0003;
const X32: u32 = 0x4000_0000;

fn errno(number: i32) -> u32 {
    0x0005_0000 | number.unsigned_abs()
}

/// What the kernel makes of a program: the little of classic BPF that filters have.
fn run(program: &[u8], arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend_from_slice(&number.to_ne_bytes());
    data.extend_from_slice(&arch.to_ne_bytes());
    data.extend_from_slice(&[0; 8]);
    for arg in args {
        data.extend_from_slice(&arg.to_ne_bytes());
    }
    let word = |bytes: &[u8]| u32::from_ne_bytes(bytes.try_into().unwrap());
    let mut accumulator = 0;
    let mut at = 0;
    loop {
        let instruction = &program[at * 8..at * 8 + 8];
        let code = u16::from_ne_bytes(instruction[..2].try_into().unwrap());
        let (yes, no) = (instruction[2], instruction[3]);
        let value = word(&instruction[4..]);
        let holds = match code {
            0x20 => {
                accumulator = word(&data[value as usize..value as usize + 4]);
                None
            }
            0x54 => {
                accumulator &= value;
                None
            }
            0x05 => {
                at += value as usize;
                None
            }
            0x06 => return value,
            0x15 => Some(accumulator == value),
            0x25 => Some(accumulator > value),
            0x35 => Some(accumulator >= value),
            0x45 => Some(accumulator & value != 0),
            other => panic!("instruction {other:#x}"),
        };
        at += 1 + match holds {
            None => 0,
            Some(true) => usize::from(yes),
            Some(false) => usize::from(no),
        };
    }
}

fn compiled(seccomp: &LinuxSeccomp, newer: Newer) -> Vec<u8> {
    let program = Program::compile(seccomp, newer).unwrap();
    let file = program.file.as_fd().try_clone_to_owned().unwrap();
    let mut bytes = vec![0; 4097 * 8];
    let len = rustix::io::pread(file, &mut bytes[..], 0).unwrap();
    assert!(len > 0 && len.is_multiple_of(8));
    bytes.truncate(len);
    bytes
}

fn answer(action: Action, number: Option<u32>) -> u32 {
    match action {
        Action::ScmpActAllow => ALLOW,
        Action::ScmpActErrno => 0x0005_0000 | number.unwrap_or(libc::EPERM.unsigned_abs()),
        Action::ScmpActLog => 0x7ffc_0000,
        Action::ScmpActKillProcess => 0x8000_0000,
        other => panic!("{other:?}"),
    }
}

fn holds(condition: &LinuxSeccompArg, args: [u64; 6]) -> bool {
    let (arg, value) = (args[condition.index()], condition.value());
    match condition.op() {
        Operator::ScmpCmpNe => arg != value,
        Operator::ScmpCmpLt => arg < value,
        Operator::ScmpCmpLe => arg <= value,
        Operator::ScmpCmpEq => arg == value,
        Operator::ScmpCmpGe => arg >= value,
        Operator::ScmpCmpGt => arg > value,
        // What is left outside of the mask does not count.
        Operator::ScmpCmpMaskedEq => arg & value == condition.value_two().unwrap() & value,
    }
}

/// What a profile says of a call by its name.
fn said(seccomp: &LinuxSeccomp, name: &str, args: [u64; 6]) -> u32 {
    let named = |rule: &&LinuxSyscall| rule.names().iter().any(|own| own == name);
    let rules = || seccomp.syscalls().iter().flatten().filter(named);
    let applies = |rule: &&LinuxSyscall| match rule.args() {
        None => true,
        Some(all) => all.iter().all(|condition| holds(condition, args)),
    };
    let plain = rules().find(|rule| rule.args().is_none());
    match plain.or_else(|| rules().find(applies)) {
        Some(rule) => answer(rule.action(), rule.errno_ret()),
        None => answer(seccomp.default_action(), seccomp.default_errno_ret()),
    }
}

/// Calls that 32-bit programs make through one call for many; the library adds to them on its own.
fn is_multiplexed(name: &str) -> bool {
    let parts = [
        "socket", "bind", "connect", "listen", "accept", "getsock", "getpeer", "send", "recv",
        "shutdown", "setsock", "sem", "msg", "shm", "ipc",
    ];
    parts.iter().any(|part| name.starts_with(part))
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_default_filter_answers_every_call_of_every_architecture_as_it_says() {
    for capabilities in [
        CapSet::EMPTY,
        CapSet::defaults(),
        CapSet::ALL,
        CapSet::one("SYS_ADMIN").unwrap(),
    ] {
        let seccomp = runtime_default(&Target {
            capabilities,
            kernel: (6, 1),
        });
        let program = compiled(&seccomp, Newer::NotThere);
        assert_eq!(program, compiled(&seccomp, Newer::Default));
        let mut asked = 0;
        for (arch, audit, base) in [
            (ScmpArch::X8664, X86_64, 0),
            (ScmpArch::X32, X86_64, X32),
            (ScmpArch::X86, X86, 0),
        ] {
            for number in (base..base + 700).chain([base + 0x1000]) {
                let call = ScmpSyscall::from(number.cast_signed());
                let name = call.get_name_by_arch(arch).unwrap_or_default();
                if audit == X86 && is_multiplexed(&name) {
                    continue;
                }
                let namespaces = 0x7e02_0000;
                for first in [0, 8, namespaces, 0x0002_0000, 0xffff_ffff] {
                    let args = [first, 0, 0, 0, 0, 0];
                    let told = run(&program, audit, number, args);
                    assert_eq!(
                        told,
                        said(&seccomp, &name, args),
                        "{arch:?} {number} {name} {first:#x}"
                    );
                    asked += 1;
                }
            }
        }
        assert!(asked > 5000);
        // A program of another machine is none for this one.
        assert_eq!(run(&program, 0xC000_00B7, 0, [0; 6]), KILL_THREAD);
    }
}

#[test]
fn calls_newer_than_a_profile_are_not_there_as_some_runtimes_have_it() {
    let mut rule = LinuxSyscall::default();
    rule.set_names(vec!["read".into(), "openat2".into()])
        .set_action(Action::ScmpActAllow);
    let mut seccomp = LinuxSeccomp::default();
    seccomp
        .set_default_action(Action::ScmpActErrno)
        .set_architectures(Some(MACHINE.arches.to_vec()))
        .set_syscalls(Some(vec![rule]));
    let (strict, helpful) = (
        compiled(&seccomp, Newer::Default),
        compiled(&seccomp, Newer::NotThere),
    );
    #[cfg(target_arch = "x86_64")]
    for (audit, base) in [(X86_64, 0), (X86_64, X32), (X86, 0)] {
        for (number, by_default, newer) in [
            (437, ALLOW, ALLOW),
            (436, errno(libc::EPERM), errno(libc::EPERM)),
            (438, errno(libc::EPERM), errno(libc::ENOSYS)),
            (0x1000, errno(libc::EPERM), errno(libc::ENOSYS)),
        ] {
            let at = (audit, base + number);
            assert_eq!(run(&strict, at.0, at.1, [0; 6]), by_default, "{at:x?}");
            assert_eq!(run(&helpful, at.0, at.1, [0; 6]), newer, "{at:x?}");
        }
    }
    // Nobody is told that it is not there what is allowed, or what has an answer of its own.
    for (action, number) in [
        (Action::ScmpActAllow, None),
        (Action::ScmpActErrno, Some(libc::ENOSYS.unsigned_abs())),
    ] {
        seccomp
            .set_default_action(action)
            .set_default_errno_ret(number);
        let same = compiled(&seccomp, Newer::Default) == compiled(&seccomp, Newer::NotThere);
        assert!(same, "{action:?}");
    }
}

#[test]
fn what_cannot_be_compiled_says_why() {
    let mut seccomp = LinuxSeccomp::default();
    seccomp.set_default_action(Action::ScmpActNotify);
    let error = |seccomp: &LinuxSeccomp| Program::compile(seccomp, Newer::Default).unwrap_err();
    assert!(matches!(error(&seccomp), ProgramError::Listener));
    seccomp
        .set_default_action(Action::ScmpActErrno)
        .set_default_errno_ret(Some(70_000));
    assert!(matches!(error(&seccomp), ProgramError::Number(70_000)));
    let mut rule = LinuxSyscall::default();
    rule.set_names(vec!["read".into()])
        .set_action(Action::ScmpActAllow)
        .set_args(Some(vec![argument(6, Operator::ScmpCmpEq, 0, None)]));
    seccomp
        .set_default_errno_ret(None)
        .set_syscalls(Some(vec![rule]));
    assert!(matches!(error(&seccomp), ProgramError::Argument(6)));
}

fn operator() -> impl Strategy<Value = Operator> {
    prop::sample::select(vec![
        Operator::ScmpCmpNe,
        Operator::ScmpCmpLt,
        Operator::ScmpCmpLe,
        Operator::ScmpCmpEq,
        Operator::ScmpCmpGe,
        Operator::ScmpCmpGt,
        Operator::ScmpCmpMaskedEq,
    ])
}

/// Values that are near each other, in both halves of a word.
fn value() -> impl Strategy<Value = u64> {
    (0..4u64, 0..3u64).prop_map(|(low, high)| high << 32 | low)
}

/// Conditions on arguments, each on another one.
fn conditions() -> impl Strategy<Value = Vec<LinuxSeccompArg>> {
    let one = (operator(), value(), value());
    prop::collection::btree_map(0..3usize, one, 1..3).prop_map(|all| {
        all.into_iter()
            .map(|(index, (op, first, second))| argument(index, op, first, Some(second)))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    // One rule for each call: of several that overlap the library makes what none of them says, for runtimes too.
    #[test]
    fn any_conditions_are_decided_as_they_say(
        rules in prop::collection::btree_map(
            prop::sample::select(vec!["read", "write", "clone", "ioctl"]),
            conditions(),
            0..5,
        ),
        asked in prop::collection::vec((0..4usize, [value(), value(), value()]), 32),
    ) {
        let rules = rules.into_iter().map(|(name, conditions)| {
            let mut rule = LinuxSyscall::default();
            rule.set_names(vec![name.to_owned()])
                .set_action(Action::ScmpActAllow)
                .set_args(Some(conditions));
            rule
        });
        let mut seccomp = LinuxSeccomp::default();
        seccomp
            .set_default_action(Action::ScmpActErrno)
            .set_architectures(Some(vec![Arch::ScmpArchNative]))
            .set_syscalls(Some(rules.collect()));
        let program = compiled(&seccomp, Newer::Default);
        for (at, [a, b, c]) in asked {
            let name = ["read", "write", "clone", "ioctl"][at];
            let number = i32::from(ScmpSyscall::from_name(name).unwrap()).cast_unsigned();
            let args = [a, b, c, 0, 0, 0];
            #[cfg(target_arch = "x86_64")]
            prop_assert_eq!(
                run(&program, X86_64, number, args),
                said(&seccomp, name, args),
                "{} {:x?}", name, args
            );
        }
    }
}
