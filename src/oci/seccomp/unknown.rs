//! Calls newer than a profile: a short program before the filter says that they do not exist.

use std::collections::BTreeMap;

use oci_spec::runtime::Arch;

use super::MACHINE;

/// How calls are numbered and called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Abi {
    /// The architecture as the kernel tells it to filters.
    audit: u32,
    numbers: Numbers,
}

/// Which numbers of the architecture are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Numbers {
    All,
    /// Those from [`X32`] on, which have the same architecture as the others.
    X32,
}

/// First number of x32's calls.
const X32: u32 = 0x4000_0000;
const X86_64: u32 = 0xC000_003E;

impl Abi {
    /// That of an architecture; `None` for one that is not known here.
    pub(super) fn of(arch: Arch) -> Option<Self> {
        let arch = match arch {
            Arch::ScmpArchNative => *MACHINE.arches.first()?,
            other => other,
        };
        let (audit, numbers) = match arch {
            Arch::ScmpArchX86_64 => (X86_64, Numbers::All),
            Arch::ScmpArchX32 => (X86_64, Numbers::X32),
            Arch::ScmpArchX86 => (0x4000_0003, Numbers::All),
            Arch::ScmpArchAarch64 => (0xC000_00B7, Numbers::All),
            Arch::ScmpArchArm => (0x4000_0028, Numbers::All),
            Arch::ScmpArchRiscv64 => (0xC000_00F3, Numbers::All),
            Arch::ScmpArchS390x => (0x8000_0016, Numbers::All),
            Arch::ScmpArchS390 => (0x0000_0016, Numbers::All),
            Arch::ScmpArchPpc64le => (0xC000_0015, Numbers::All),
            Arch::ScmpArchLoongarch64 => (0xC000_0102, Numbers::All),
            _ => return None,
        };
        Some(Self { audit, numbers })
    }
}

/// The highest number that is known of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct UnknownCalls(BTreeMap<Abi, u32>);

impl FromIterator<(Abi, u32)> for UnknownCalls {
    fn from_iter<I: IntoIterator<Item = (Abi, u32)>>(known: I) -> Self {
        Self(known.into_iter().collect())
    }
}

// Codes of classic BPF.
const LOAD: u16 = 0x20;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_NOT_LESS: u16 = 0x35;
const RETURN: u16 = 0x06;
/// Where the kernel puts the number of the call, and the architecture.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
/// The answer that is an error number.
const ERRNO: u32 = 0x0005_0000;

impl UnknownCalls {
    /// The program, which goes on behind its end for calls that are known.
    pub(super) fn program(&self) -> Vec<u8> {
        let mut program = Vec::new();
        let x32_too = self.0.keys().any(|abi| abi.numbers == Numbers::X32);
        for (abi, last) in &self.0 {
            // Each step that does not apply jumps behind the answer.
            let steps = match abi.numbers {
                Numbers::X32 => vec![
                    (IF_NOT_LESS, X32, Take::True),
                    (IF_GREATER, *last, Take::True),
                ],
                Numbers::All if abi.audit == X86_64 && x32_too => {
                    vec![
                        (IF_NOT_LESS, X32, Take::False),
                        (IF_GREATER, *last, Take::True),
                    ]
                }
                Numbers::All => vec![(IF_GREATER, *last, Take::True)],
            };
            let behind = |left: usize| u8::try_from(left).unwrap_or(u8::MAX);
            instruction(&mut program, LOAD, (0, 0), ARCHITECTURE_AT);
            instruction(
                &mut program,
                IF_EQUAL,
                (0, behind(steps.len() + 2)),
                abi.audit,
            );
            instruction(&mut program, LOAD, (0, 0), NUMBER_AT);
            for (at, (code, value, take)) in steps.iter().enumerate() {
                let out = behind(steps.len() - at);
                let jumps = match take {
                    Take::True => (0, out),
                    Take::False => (out, 0),
                };
                instruction(&mut program, *code, jumps, *value);
            }
            instruction(
                &mut program,
                RETURN,
                (0, 0),
                ERRNO | libc::ENOSYS.unsigned_abs(),
            );
        }
        program
    }
}

/// Which outcome of a comparison goes on.
#[derive(Clone, Copy)]
enum Take {
    True,
    False,
}

fn instruction(program: &mut Vec<u8>, code: u16, (yes, no): (u8, u8), value: u32) {
    program.extend_from_slice(&code.to_ne_bytes());
    program.extend_from_slice(&[yes, no]);
    program.extend_from_slice(&value.to_ne_bytes());
}
