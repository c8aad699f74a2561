//! Image layers and the root file systems built from them.

pub mod compression;
pub mod digest;
mod stream;
mod tar;

pub use crate::sys::rooted as path;
