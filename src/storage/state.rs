//! What the storage knows in memory.

use std::collections::HashMap;

use super::digest::ChainId;
use super::error::StorageError;
use super::record::{LayerInfo, RootfsRecord, ViewRecord};
use super::usage::Usage;
use crate::id::Id;

/// Everything there is, as the records on disk tell it.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) layers: HashMap<ChainId, LayerInfo>,
    pub(crate) containers: HashMap<Id, RootfsRecord>,
    pub(crate) views: HashMap<String, ViewRecord>,
    /// What was last found in the containers' directories.
    pub(crate) uppers: HashMap<Id, Usage>,
}

impl State {
    /// Something that needs the layer, in words.
    pub(crate) fn user_of(&self, chain: &ChainId) -> Option<String> {
        let child = self.layers.values().find(|l| l.parent == Some(*chain));
        if let Some(child) = child {
            return Some(format!("layer {}", child.chain));
        }
        let container = self.containers.values().find(|c| c.layers.contains(chain));
        if let Some(container) = container {
            return Some(format!("container {}", container.container));
        }
        let view = self.views.values().find(|v| v.layers.contains(chain));
        view.map(|view| format!("view {:?}", view.key))
    }

    /// Checks that all layers are there.
    pub(crate) fn check_layers(&self, layers: &[ChainId]) -> Result<(), StorageError> {
        match layers.iter().find(|chain| !self.layers.contains_key(chain)) {
            None => Ok(()),
            Some(chain) => Err(StorageError::NoLayer { chain: *chain }),
        }
    }
}
