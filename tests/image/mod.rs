//! Images: from registries and archives, by every kind of name.

mod content;
mod load;
mod misbehaving;
mod names;
mod pull;
