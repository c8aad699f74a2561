//! What has been made once of things that do not change, and is kept with them.

use std::sync::{Arc, OnceLock};

/// Bytes made of what never changes of a thing. All views of that thing share them, and they go with the last one; what they
/// are is known to who makes them.
#[derive(Debug, Clone, Default)]
pub struct Kept(Arc<OnceLock<Box<[u8]>>>);

impl Kept {
    /// The bytes, made now where they never were. One caller makes them, others wait for that.
    pub fn get_or_make(&self, make: impl FnOnce() -> Vec<u8>) -> &[u8] {
        self.0.get_or_init(|| make().into_boxed_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_for_all_views() {
        let kept = Kept::default();
        let other = kept.clone();
        assert_eq!(kept.get_or_make(|| vec![1]), [1]);
        assert_eq!(other.get_or_make(|| unreachable!()), [1]);
        assert_eq!(Kept::default().get_or_make(|| vec![2]), [2]);
    }
}
