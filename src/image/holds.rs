//! Who needs which layers, beside the images: pulls under way and containers that exist.

use std::collections::{HashMap, HashSet};

use crate::storage::ChainId;

/// Layers by the name of who holds them.
#[derive(Debug, Default)]
pub(crate) struct Holds(HashMap<String, Vec<ChainId>>);

impl Holds {
    /// Adds layers to what `owner` holds.
    pub(crate) fn add(&mut self, owner: &str, layers: impl IntoIterator<Item = ChainId>) {
        self.0.entry(owner.to_owned()).or_default().extend(layers);
    }

    /// Lets go of all that `owner` holds, and says what that was.
    pub(crate) fn release(&mut self, owner: &str) -> Vec<ChainId> {
        self.0.remove(owner).unwrap_or_default()
    }

    /// All layers that someone holds.
    pub(crate) fn held(&self) -> HashSet<ChainId> {
        self.0.values().flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_holds_for_itself() {
        let (a, b) = (ChainId::from_bytes([1; 32]), ChainId::from_bytes([2; 32]));
        let mut holds = Holds::default();
        holds.add("x", [a]);
        holds.add("x", [b]);
        holds.add("y", [a]);
        assert_eq!(holds.release("x"), [a, b]);
        assert_eq!(holds.held(), [a].into());
        assert!(holds.release("x").is_empty());
        holds.release("y");
        assert!(holds.held().is_empty());
    }
}
