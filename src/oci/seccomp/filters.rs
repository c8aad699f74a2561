//! Compiled filters, kept for as long as they may be used again: most containers of a node have the same few.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use oci_spec::runtime::LinuxSeccomp;

use super::program::{Newer, Program, ProgramError};

/// Most that are kept; a file of some kilobytes each.
const KEPT: usize = 32;

/// Filters by what they are compiled of.
#[derive(Debug, Default)]
pub struct Filters(Mutex<HashMap<(String, Newer), Arc<Program>>>);

impl Filters {
    /// The filter's program. Takes some milliseconds at first.
    pub fn program(
        &self,
        seccomp: &LinuxSeccomp,
        newer: Newer,
    ) -> Result<Arc<Program>, ProgramError> {
        let text = serde_json::to_string(seccomp).map_err(std::io::Error::other)?;
        let key = (text, newer);
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = kept().get(&key) {
            return Ok(program.clone());
        }
        let program = Arc::new(Program::compile(seccomp, newer)?);
        let mut kept = kept();
        if kept.len() >= KEPT {
            // Which of them are used most is not worth knowing.
            kept.clear();
        }
        kept.insert(key, program.clone());
        Ok(program)
    }
}
