//! Versions of the protocol, and what may differ between them.
//!
//! Each frame says which version it is in. A program understands every version from [`Version::OLDEST`] to
//! [`Version::CURRENT`], which are this build's and the two before; a monitor answers in the version it was asked
//! in, and the daemon asks in the newest that both understand. So a version changes only as follows:
//!
//! * A message, or an alternative of a choice, may gain fields **at its end**, each a [`Since`] of the new version.
//!   In frames of older versions they are not there, and whoever reads such a frame finds the type's default.
//! * A choice may gain an alternative under a number that was never used. Nobody sends it in a frame of a version
//!   that does not have it: what has no equal in the other's version is not asked, and not told.
//! * Nothing else changes: no field and no alternative goes, moves, or has another type or meaning; one that is no
//!   longer used stays in its place. The magic byte, the byte of the version and the number that a request and its
//!   answers begin with are the same in all versions for ever.
//!
//! A new version is [`Version::CURRENT`] plus one, [`Version::OLDEST`] follows it two behind, and its frames are added
//! to `tests/frames`, where those of older versions stay as they are.

use super::{Decoder, Encoder, Wire, WireError};

/// A version of the protocol that this build understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u8);

impl Version {
    /// What this build speaks with its like.
    pub const CURRENT: Self = Self(3);
    /// The oldest that it understands.
    pub const OLDEST: Self = Self(1);

    /// The version of this number, if it is understood.
    pub fn new(number: u8) -> Option<Self> {
        let version = Self(number);
        (Self::OLDEST..=Self::CURRENT)
            .contains(&version)
            .then_some(version)
    }

    /// The one before, if that is understood.
    pub fn previous(self) -> Option<Self> {
        self.0.checked_sub(1).and_then(Self::new)
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// All that are understood, the oldest first.
    pub fn all() -> impl Iterator<Item = Self> {
        (Self::OLDEST.0..=Self::CURRENT.0).map(Self)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A field that messages have since version `V`. Read from an older one it is the type's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Since<const V: u8, T>(pub T);

impl<const V: u8, T: Wire + Default> Wire for Since<V, T> {
    fn encode(&self, out: &mut Encoder) {
        if out.version().number() >= V {
            self.0.encode(out);
        }
    }
    fn decode(input: &mut Decoder<'_>) -> Result<Self, WireError> {
        if input.version().number() >= V {
            T::decode(input).map(Self)
        } else {
            Ok(Self::default())
        }
    }
}
