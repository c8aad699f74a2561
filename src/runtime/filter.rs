//! The filter of a container's system calls.

use std::io;

use oci_spec::runtime::LinuxSeccomp;

use super::error::Failure;
use crate::{
    causes::whole,
    oci::seccomp::{Newer, Program},
    sys::filter,
};

/// A filter that only needs to be set. It is compiled before anything is made, so that what cannot be is told at once, and
/// as for commands that monitors run: libcontainer takes the mask of a condition for its value.
#[derive(Debug)]
pub(super) struct Filter {
    instructions: Vec<u8>,
    flags: u32,
}

impl Filter {
    /// Of a specification, where that has one.
    pub(super) fn of(seccomp: Option<&LinuxSeccomp>) -> Result<Option<Self>, Failure> {
        let Some(seccomp) = seccomp else {
            return Ok(None);
        };
        let program = Program::compile(seccomp, Newer::NotThere)
            .map_err(|e| Failure::Spec(format!("linux.seccomp: {}", whole(&e))))?;
        let instructions = program
            .instructions()
            .map_err(Failure::step("reading the filter of system calls"))?;
        Ok(Some(Self {
            instructions,
            flags: program.flags,
        }))
    }

    /// Sets it for the calling process, which has one thread.
    pub(super) fn set(&self) -> Result<(), Failure> {
        filter::set(&self.instructions, self.flags)
            .map_err(|e: io::Error| Failure::Process(format!("seccomp: {e}")))
    }
}
