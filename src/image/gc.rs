//! Deleting the layers that nothing needs.

use std::{collections::HashMap, sync::Arc};

use super::{Inner, error::ImageError, plan};
use crate::storage::{ChainId, LayerInfo};

impl Inner {
    /// Deletes the layers that neither an image nor a holder needs.
    ///
    /// No pull can begin to count on a layer meanwhile, and no container can: what is not needed now
    /// belongs to no image that is shown.
    pub(super) async fn collect(self: &Arc<Self>) -> Result<usize, ImageError> {
        let _gate = self.gate.write().await;
        let storage = self.storage.clone();
        let present = super::blocking("(all)", move || storage.layers()).await?;
        let gone = {
            let holds = self.holds();
            let catalogue = self.catalogue();
            plan::collectable(top_first(&present), catalogue.records(), &holds.held())
        };
        let storage = self.storage.clone();
        let count = gone.len();
        super::blocking("(all)", move || {
            let mut failed = None;
            for chain in gone {
                if let Err(source) = storage.remove_layer(&chain) {
                    tracing::warn!(%chain, error = %source, "a layer cannot be deleted");
                    failed = Some(ImageError::Storage {
                        step: format!("deleting layer {chain}"),
                        source: Arc::new(source),
                    });
                }
            }
            failed.map_or(Ok(count), Err)
        })
        .await?
    }
}

/// The layers, each before the one below it.
fn top_first(present: &[LayerInfo]) -> Vec<ChainId> {
    let parents: HashMap<ChainId, Option<ChainId>> =
        present.iter().map(|l| (l.chain, l.parent)).collect();
    let depth = |mut chain: ChainId| {
        let mut depth = 0;
        while let Some(Some(parent)) = parents.get(&chain)
            && depth < parents.len()
        {
            chain = *parent;
            depth += 1;
        }
        depth
    };
    let mut chains: Vec<(usize, ChainId)> = parents.keys().map(|c| (depth(*c), *c)).collect();
    chains.sort_by(|a, b| b.cmp(a));
    chains.into_iter().map(|(_, chain)| chain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::DiffId;

    #[test]
    fn children_go_before_their_parents() {
        let info = |n: u8, parent: Option<u8>| LayerInfo {
            chain: ChainId::from_bytes([n; 32]),
            parent: parent.map(|p| ChainId::from_bytes([p; 32])),
            diff_id: DiffId::from_bytes([n; 32]),
            size: 0,
            disk_bytes: 0,
            inodes: 0,
            opaque: false,
        };
        let order = top_first(&[
            info(1, None),
            info(9, Some(1)),
            info(4, Some(9)),
            info(2, Some(1)),
        ]);
        let at = |n: u8| {
            order
                .iter()
                .position(|c| *c == ChainId::from_bytes([n; 32]))
        };
        assert!(at(4) < at(9) && at(9) < at(1) && at(2) < at(1));
    }
}
