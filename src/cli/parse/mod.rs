//! Arguments of `corten run` as text, and what they mean. Nothing here touches the system but [`env::read_file`].

pub(super) mod env;
pub(super) mod mount;
pub(super) mod publish;
pub(super) mod resources;
pub(super) mod user;
