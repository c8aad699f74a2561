//! Images through the library: real registries, a scripted one for what those cannot be made to do,
//! archives, and the records.

mod library;
