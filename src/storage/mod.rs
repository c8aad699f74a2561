//! Image layers and the root file systems built from them.

pub mod compression;
pub mod digest;
pub mod entry;
mod error;
mod limits;
mod metadata;
mod overlay;
mod record;
mod stream;
mod sync;
mod tar;
mod trash;
mod unpack;

pub use crate::sys::rooted as path;
pub use error::StorageError;
pub use limits::Limits;
pub use record::{LayerInfo, RootfsOptions, RootfsRecord, ViewRecord};
pub use tar::TarError;
pub use unpack::UnpackError;
