//! Image layers and the root file systems built from them.

pub use crate::sys::rooted as path;
