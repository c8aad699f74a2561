//! A filter as the program that the kernel runs.

use std::{
    io::{self, Read, Seek, Write},
    os::fd::OwnedFd,
};

use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
    error::SeccompError,
};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg,
    LinuxSeccompFilterFlag as Flag, LinuxSeccompOperator as Operator,
};
use rustix::fs::{MemfdFlags, SealFlags};

use super::unknown::{Abi, UnknownCalls};
use crate::sys::filter::INSTRUCTIONS_MAX;

/// Size of an instruction.
const INSTRUCTION: usize = 8;

/// What a call that a profile does not know gets, where its default is to refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Newer {
    /// What the default says.
    Default,
    /// Newer calls than any in the profile do not exist (ENOSYS), so that programs fall back on older ones; as runc
    /// has it.
    NotThere,
}

/// A filter's program, in a file that nobody can change.
#[derive(Debug)]
pub struct Program {
    /// The instructions.
    pub file: OwnedFd,
    /// Flags to set the filter with.
    pub flags: u32,
}

/// A filter that cannot be made here.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It has to do with somebody who listens to it.
    #[error("the filter needs a process that decides")]
    Listener,
    /// An action's number that is none.
    #[error("{0} is not a number that a call can be answered with")]
    Number(u32),
    /// A condition on an argument that no call has.
    #[error("no call has an argument {0}")]
    Argument(usize),
    /// The library refuses it.
    #[error("the filter cannot be compiled")]
    Library(#[from] SeccompError),
    /// The kernel would refuse it.
    #[error("the filter has {0} instructions, which is more than {INSTRUCTIONS_MAX}")]
    Length(usize),
    /// The file cannot be made.
    #[error("cannot keep the filter in memory")]
    File(#[from] io::Error),
}

impl Program {
    /// Compiles a filter. Takes some milliseconds.
    pub fn compile(seccomp: &LinuxSeccomp, newer: Newer) -> Result<Self, ProgramError> {
        let flags = flags(seccomp)?;
        let default = action(seccomp.default_action(), seccomp.default_errno_ret())?;
        let mut filter = ScmpFilterContext::new(default)?;
        filter.set_ctl_nnp(false)?;
        for arch in seccomp.architectures().iter().flatten() {
            // The machine's own is always there.
            filter.add_arch(architecture(*arch))?;
        }
        let rules = seccomp.syscalls().iter().flatten();
        for rule in rules {
            let action = action(rule.action(), rule.errno_ret())?;
            // Says nothing, and is refused.
            if action == default {
                continue;
            }
            let conditions = conditions(rule.args().as_deref().unwrap_or_default())?;
            for name in rule.names() {
                // Profiles name calls that libraries, or machines, do not have.
                let Ok(call) = ScmpSyscall::from_name(name) else {
                    continue;
                };
                if conditions.is_empty() {
                    filter.add_rule(action, call)?;
                }
                for all_of in &conditions {
                    filter.add_rule_conditional(action, call, all_of)?;
                }
            }
        }
        // Only faster; older libraries cannot.
        let _ = filter.set_ctl_optimize(BINARY_TREE);
        let name = rustix::fs::memfd_create(
            "seccomp",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::NOEXEC_SEAL,
        );
        // Older kernels do not have the last flag.
        let file = name.or_else(|_| {
            rustix::fs::memfd_create("seccomp", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        });
        let mut file = std::fs::File::from(file.map_err(io::Error::from)?);
        filter.export_bpf(&file)?;
        let mut compiled = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut compiled)?;
        let mut program = match newer {
            Newer::NotThere => unknown_calls(seccomp).program(),
            Newer::Default => Vec::new(),
        };
        program.append(&mut compiled);
        let length = program.len() / INSTRUCTION;
        if length > INSTRUCTIONS_MAX {
            return Err(ProgramError::Length(length));
        }
        file.rewind()?;
        file.write_all(&program)?;
        let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals).map_err(io::Error::from)?;
        Ok(Self {
            file: file.into(),
            flags,
        })
    }

    /// The instructions, in memory.
    pub fn instructions(&self) -> io::Result<Vec<u8>> {
        let length = rustix::fs::fstat(&self.file)?.st_size;
        let mut all = vec![0; usize::try_from(length).unwrap_or(0)];
        let mut at = 0;
        while at < all.len() {
            match rustix::io::pread(&self.file, &mut all[at..], at as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => at += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(all)
    }
}

/// How the library is told to look calls up in a tree.
const BINARY_TREE: u32 = 2;

/// What of the kernel's flags a filter sets.
fn flags(seccomp: &LinuxSeccomp) -> Result<u32, ProgramError> {
    if seccomp.listener_path().is_some() {
        return Err(ProgramError::Listener);
    }
    let mut flags = 0;
    for flag in seccomp.flags().iter().flatten() {
        flags |= match flag {
            // One thread is all there is.
            Flag::SeccompFilterFlagTsync => 0,
            Flag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
            Flag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            _ => return Err(ProgramError::Listener),
        };
    }
    Ok(u32::try_from(flags).unwrap_or_default())
}

fn action(action: Action, errno: Option<u32>) -> Result<ScmpAction, ProgramError> {
    let number = || {
        let errno = errno.unwrap_or(libc::EPERM.unsigned_abs());
        u16::try_from(errno).map_err(|_| ProgramError::Number(errno))
    };
    Ok(match action {
        Action::ScmpActKill | Action::ScmpActKillThread => ScmpAction::KillThread,
        Action::ScmpActKillProcess => ScmpAction::KillProcess,
        Action::ScmpActTrap => ScmpAction::Trap,
        Action::ScmpActErrno => ScmpAction::Errno(number()?.into()),
        Action::ScmpActTrace => ScmpAction::Trace(number()?),
        Action::ScmpActAllow => ScmpAction::Allow,
        Action::ScmpActLog => ScmpAction::Log,
        Action::ScmpActNotify => return Err(ProgramError::Listener),
    })
}

/// Conditions, of which one list has to hold as a whole. Those of one rule belong together; but where two are on the
/// same argument each is a rule of its own, as runtimes have always read it.
fn conditions(args: &[LinuxSeccompArg]) -> Result<Vec<Vec<ScmpArgCompare>>, ProgramError> {
    let mut seen = [false; 6];
    let mut apart = false;
    let mut all = Vec::new();
    for arg in args {
        let index = arg.index();
        let no_such = || ProgramError::Argument(index);
        let seen = seen.get_mut(index).ok_or_else(no_such)?;
        apart |= std::mem::replace(seen, true);
        let position = u32::try_from(index).map_err(|_| no_such())?;
        let (op, value) = comparison(arg);
        all.push(ScmpArgCompare::new(position, op, value));
    }
    Ok(match (all.is_empty(), apart) {
        (true, _) => Vec::new(),
        (false, true) => all.into_iter().map(|one| vec![one]).collect(),
        (false, false) => vec![all],
    })
}

fn comparison(arg: &LinuxSeccompArg) -> (ScmpCompareOp, u64) {
    let op = match arg.op() {
        Operator::ScmpCmpNe => ScmpCompareOp::NotEqual,
        Operator::ScmpCmpLt => ScmpCompareOp::Less,
        Operator::ScmpCmpLe => ScmpCompareOp::LessOrEqual,
        Operator::ScmpCmpEq => ScmpCompareOp::Equal,
        Operator::ScmpCmpGe => ScmpCompareOp::GreaterEqual,
        Operator::ScmpCmpGt => ScmpCompareOp::Greater,
        // The mask comes first, then what is left under it.
        Operator::ScmpCmpMaskedEq => {
            let left = arg.value_two().unwrap_or_default();
            return (ScmpCompareOp::MaskedEqual(arg.value()), left);
        }
    };
    (op, arg.value())
}

fn architecture(arch: Arch) -> ScmpArch {
    match arch {
        Arch::ScmpArchNative => ScmpArch::Native,
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchLoongarch64 => ScmpArch::Loongarch64,
        Arch::ScmpArchM68k => ScmpArch::M68k,
        Arch::ScmpArchMips => ScmpArch::Mips,
        Arch::ScmpArchMips64 => ScmpArch::Mips64,
        Arch::ScmpArchMips64n32 => ScmpArch::Mips64N32,
        Arch::ScmpArchMipsel => ScmpArch::Mipsel,
        Arch::ScmpArchMipsel64 => ScmpArch::Mipsel64,
        Arch::ScmpArchMipsel64n32 => ScmpArch::Mipsel64N32,
        Arch::ScmpArchPpc => ScmpArch::Ppc,
        Arch::ScmpArchPpc64 => ScmpArch::Ppc64,
        Arch::ScmpArchPpc64le => ScmpArch::Ppc64Le,
        Arch::ScmpArchS390 => ScmpArch::S390,
        Arch::ScmpArchS390x => ScmpArch::S390X,
        Arch::ScmpArchParisc => ScmpArch::Parisc,
        Arch::ScmpArchParisc64 => ScmpArch::Parisc64,
        Arch::ScmpArchRiscv64 => ScmpArch::Riscv64,
        Arch::ScmpArchSh => ScmpArch::Sh,
        Arch::ScmpArchSheb => ScmpArch::Sheb,
    }
}

/// The newest call that a profile knows, of each architecture.
fn unknown_calls(seccomp: &LinuxSeccomp) -> UnknownCalls {
    let refuses = !matches!(
        seccomp.default_action(),
        Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace
    );
    let says_so = seccomp.default_action() == Action::ScmpActErrno
        && seccomp.default_errno_ret() == Some(libc::ENOSYS.unsigned_abs());
    if !refuses || says_so {
        return UnknownCalls::default();
    }
    let native = [Arch::ScmpArchNative];
    let arches = seccomp.architectures().as_deref().unwrap_or_default();
    let arches = if arches.is_empty() { &native } else { arches };
    let names = || {
        let rules = seccomp.syscalls().iter().flatten();
        rules.flat_map(|rule| rule.names().iter())
    };
    arches
        .iter()
        .filter_map(|arch| {
            let abi = Abi::of(*arch)?;
            let arch = architecture(*arch);
            let numbers = names().filter_map(|name| {
                let call = ScmpSyscall::from_name_by_arch(name, arch).ok()?;
                // Calls that an architecture does not have are numbered below zero.
                u32::try_from(i32::from(call)).ok()
            });
            Some((abi, numbers.max()?))
        })
        .collect()
}
