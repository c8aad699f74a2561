//! Which devices the processes of a cgroup may use, on cgroup v2: a program that the kernel asks at every use.

#![allow(unsafe_code, reason = "no crate in use has bpf(2)")]

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    path::Path,
};

/// Kinds of devices, as the kernel numbers them here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Block devices.
    Block = 1,
    /// Character devices.
    Character = 2,
}

/// What is done with a device.
pub mod access {
    /// It is made.
    pub const MAKE: u8 = 1;
    /// It is read.
    pub const READ: u8 = 2;
    /// It is written.
    pub const WRITE: u8 = 4;
    /// All of these.
    pub const ALL: u8 = MAKE | READ | WRITE;
}

/// Whether a use is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is not.
    Deny = 0,
    /// It is.
    Allow = 1,
}

/// A rule; of several that match, the last one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// What it says.
    pub verdict: Verdict,
    /// Which kind; both when `None`.
    pub kind: Option<Kind>,
    /// Which driver; every one when `None`.
    pub major: Option<u32>,
    /// Which of its devices; every one when `None`.
    pub minor: Option<u32>,
    /// What is done, of [`access`].
    pub access: u8,
}

/// An instruction of the kernel's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    value: i32,
}

// Where the program has what it is asked about.
const RESULT: u8 = 0;
const SCRATCH: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

const LOAD_WORD: u8 = 0x61;
const MOVE_REGISTER: u8 = 0xbc;
const MOVE_VALUE: u8 = 0xb7;
const AND_VALUE: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP_UNLESS_VALUE: u8 = 0x55;
const JUMP_UNLESS_REGISTER: u8 = 0x5d;
const JUMP_IF_VALUE: u8 = 0x15;
const EXIT: u8 = 0x95;

fn instruction(code: u8, to: u8, from: u8, offset: i16, value: u32) -> Instruction {
    Instruction {
        code,
        registers: to | from << 4,
        offset,
        value: value.cast_signed(),
    }
}

/// The program for rules.
fn program(rules: &[Rule]) -> Vec<Instruction> {
    // At first, register 1 points to three words: kind with access, major, minor.
    let mut all = vec![
        instruction(LOAD_WORD, KIND, SCRATCH, 0, 0),
        instruction(MOVE_REGISTER, ACCESS, KIND, 0, 0),
        instruction(AND_VALUE, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, SCRATCH, 4, 0),
        instruction(LOAD_WORD, MINOR, SCRATCH, 8, 0),
    ];
    for rule in rules.iter().rev() {
        let part = block(rule);
        let is_last = part.len() == 2;
        all.extend(part);
        if is_last {
            // The kernel refuses programs with a part that is never reached.
            return all;
        }
    }
    all.extend(answer(Verdict::Deny));
    all
}

fn answer(verdict: Verdict) -> [Instruction; 2] {
    [
        instruction(MOVE_VALUE, RESULT, 0, 0, verdict as u32),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}

/// The part for one rule, which goes on behind itself where the rule does not match.
fn block(rule: &Rule) -> Vec<Instruction> {
    let mut part = Vec::new();
    if let Some(kind) = rule.kind {
        part.push(instruction(JUMP_UNLESS_VALUE, KIND, 0, 0, kind as u32));
    }
    if rule.access & access::ALL != access::ALL {
        let bits = u32::from(rule.access);
        part.push(instruction(MOVE_REGISTER, SCRATCH, ACCESS, 0, 0));
        part.push(instruction(AND_VALUE, SCRATCH, 0, 0, bits));
        part.push(match rule.verdict {
            // Allowed is what is wholly covered, and refused what is in part.
            Verdict::Allow => instruction(JUMP_UNLESS_REGISTER, SCRATCH, ACCESS, 0, 0),
            Verdict::Deny => instruction(JUMP_IF_VALUE, SCRATCH, 0, 0, 0),
        });
    }
    for (register, number) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
        if let Some(number) = number {
            part.push(instruction(JUMP_UNLESS_VALUE, register, 0, 0, number));
        }
    }
    part.extend(answer(rule.verdict));
    let length = part.len();
    for (at, one) in part.iter_mut().enumerate() {
        if matches!(
            one.code,
            JUMP_UNLESS_VALUE | JUMP_UNLESS_REGISTER | JUMP_IF_VALUE
        ) {
            // A part is a dozen instructions at most.
            one.offset = i16::try_from(length - at - 1).unwrap_or(i16::MAX);
        }
    }
    part
}

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
}

#[repr(C)]
struct Attach {
    target: RawFd,
    program: RawFd,
    kind: u32,
    flags: u32,
}

/// Has the kernel ask `rules` at every use of a device by a process of the cgroup.
pub fn attach(cgroup: &Path, rules: &[Rule]) -> io::Result<()> {
    let directory = File::open(cgroup)?;
    let program = load(&program(rules))?;
    let ask = Attach {
        target: directory.as_raw_fd(),
        program: program.as_raw_fd(),
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: both descriptors are open for the call, and the kernel reads the structure, of the size given, alone.
    unsafe { bpf(PROG_ATTACH, &ask) }.map(drop)
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let ask = Load {
        kind: TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(io::Error::other)?,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..Load::default()
    };
    // SAFETY: instructions and license outlive the call, which reads as many of them as told, and up to the NUL.
    let fd = unsafe { bpf(PROG_LOAD, &ask) }?;
    // SAFETY: the kernel has just opened it for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
///
/// `ask` is the structure that the kernel expects with `command`, and what it points to is as long as it says.
unsafe fn bpf<T>(command: libc::c_int, ask: &T) -> io::Result<RawFd> {
    // SAFETY: as the caller promises.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(ask),
            std::mem::size_of::<T>(),
        )
    };
    match result {
        ..0 => Err(io::Error::last_os_error()),
        fd => RawFd::try_from(fd).map_err(io::Error::other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the kernel's machine would do.
    fn run(program: &[Instruction], kind: Kind, access: u8, major: u32, minor: u32) -> u32 {
        let memory = [kind as u32 | u32::from(access) << 16, major, minor];
        let mut registers = [0u32; 6];
        let mut at = 0;
        loop {
            let one = program[at];
            let (to, from) = (
                usize::from(one.registers & 15),
                usize::from(one.registers >> 4),
            );
            let value = one.value.cast_unsigned();
            at += 1;
            let jump = match one.code {
                LOAD_WORD => {
                    registers[to] = memory[usize::try_from(one.offset).unwrap() / 4];
                    false
                }
                MOVE_REGISTER => {
                    registers[to] = registers[from];
                    false
                }
                MOVE_VALUE => {
                    registers[to] = value;
                    false
                }
                AND_VALUE => {
                    registers[to] &= value;
                    false
                }
                SHIFT_RIGHT => {
                    registers[to] >>= value;
                    false
                }
                JUMP_UNLESS_VALUE => registers[to] != value,
                JUMP_UNLESS_REGISTER => registers[to] != registers[from],
                JUMP_IF_VALUE => registers[to] == value,
                EXIT => return registers[0],
                other => panic!("instruction {other:#x}"),
            };
            if jump {
                at += usize::try_from(one.offset).unwrap();
            }
        }
    }

    fn says(rules: &[Rule], kind: Kind, access: u8, major: u32, minor: u32) -> Verdict {
        let matching = |rule: &&Rule| {
            let covered = match rule.verdict {
                Verdict::Allow => access & rule.access == access,
                Verdict::Deny => access & rule.access != 0,
            };
            covered
                && rule.kind.is_none_or(|k| k == kind)
                && rule.major.is_none_or(|m| m == major)
                && rule.minor.is_none_or(|m| m == minor)
        };
        let last = rules.iter().rev().find(matching);
        last.map_or(Verdict::Deny, |rule| rule.verdict)
    }

    fn rule() -> impl Strategy<Value = Rule> {
        let kind = prop_oneof![
            Just(None),
            Just(Some(Kind::Block)),
            Just(Some(Kind::Character))
        ];
        let number = || proptest::option::of(0u32..3);
        (any::<bool>(), kind, number(), number(), 1u8..8).prop_map(
            |(allow, kind, major, minor, access)| Rule {
                verdict: if allow { Verdict::Allow } else { Verdict::Deny },
                kind,
                major,
                minor,
                access,
            },
        )
    }

    proptest! {
        #[test]
        fn the_last_rule_that_matches_counts(
            rules in proptest::collection::vec(rule(), 0..12),
            block: bool, access in 1u8..8, major in 0u32..3, minor in 0u32..3,
        ) {
            let kind = if block { Kind::Block } else { Kind::Character };
            let found = run(&program(&rules), kind, access, major, minor);
            prop_assert_eq!(found, says(&rules, kind, access, major, minor) as u32);
        }
    }

    #[test]
    fn nothing_comes_behind_a_rule_for_everything() {
        let all = Rule {
            verdict: Verdict::Allow,
            kind: None,
            major: None,
            minor: None,
            access: access::ALL,
        };
        let one = Rule {
            major: Some(1),
            ..all
        };
        assert_eq!(program(&[one, all]).len(), 8);
        assert!(program(&[all, one]).len() > 8);
    }
}
