//! What changes when images come and go (pure).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{digest::Digest, record::ImageRecord};
use crate::storage::ChainId;

/// All records, by image ID.
pub(crate) type Records = BTreeMap<Digest, ImageRecord>;

/// The records to write, in this order, when `new` comes in.
///
/// It keeps the names that the image has already, and takes its own from whichever image has them. It
/// is written first: a crash in between leaves a name on two images, of which the later one wins.
pub(crate) fn add(records: &Records, mut new: ImageRecord) -> Vec<ImageRecord> {
    let taken: BTreeSet<&String> = new.tags.keys().chain(new.digests.keys()).collect();
    let losers: Vec<ImageRecord> = records
        .values()
        .filter(|r| r.id != new.id)
        .filter(|r| {
            r.tags
                .keys()
                .chain(r.digests.keys())
                .any(|n| taken.contains(n))
        })
        .map(|r| {
            let mut r = r.clone();
            r.tags.retain(|name, _| !taken.contains(name));
            r.digests.retain(|name, _| !taken.contains(name));
            r
        })
        .collect();
    if let Some(old) = records.get(&new.id) {
        for (name, at) in &old.tags {
            new.tags.entry(name.clone()).or_insert(*at);
        }
        for (name, at) in &old.digests {
            new.digests.entry(name.clone()).or_insert(*at);
        }
        new.inner_digests.extend(old.inner_digests.iter().cloned());
        new.added_at = old.added_at;
    }
    let mut changes = vec![new];
    changes.extend(losers);
    changes
}

/// What the records are worth after a start.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// Usable images.
    pub(crate) records: Records,
    /// Images that miss layers, and which.
    pub(crate) damaged: Vec<(ImageRecord, Vec<ChainId>)>,
}

/// Compares the records with the layers that are there, and settles names that two images claim.
pub(crate) fn recover(loaded: Vec<ImageRecord>, present: &HashSet<ChainId>) -> Recovered {
    let mut recovered = Recovered::default();
    for record in loaded {
        let missing: Vec<ChainId> = record.chains().filter(|c| !present.contains(c)).collect();
        if missing.is_empty() {
            recovered.records.insert(record.id.clone(), record);
        } else {
            recovered.damaged.push((record, missing));
        }
    }
    let mut owners: BTreeMap<String, (u64, Digest)> = BTreeMap::new();
    for record in recovered.records.values() {
        for (name, at) in record.tags.iter().chain(&record.digests) {
            let claim = (*at, record.id.clone());
            let owner = owners.entry(name.clone()).or_insert_with(|| claim.clone());
            if claim > *owner {
                *owner = claim;
            }
        }
    }
    for record in recovered.records.values_mut() {
        let id = record.id.clone();
        let mine = |name: &String| owners.get(name).is_none_or(|(_, owner)| *owner == id);
        record.tags.retain(|name, _| mine(name));
        record.digests.retain(|name, _| mine(name));
    }
    recovered
}

/// The layers that neither an image nor a holder needs.
pub(crate) fn collectable(
    present: impl IntoIterator<Item = ChainId>,
    records: &Records,
    held: &HashSet<ChainId>,
) -> Vec<ChainId> {
    let needed: HashSet<ChainId> = records.values().flat_map(ImageRecord::chains).collect();
    present
        .into_iter()
        .filter(|chain| !needed.contains(chain) && !held.contains(chain))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{config::ImageConfig, record::LayerRecord};
    use proptest::prelude::*;

    fn chain(n: u8) -> ChainId {
        ChainId::from_bytes([n; 32])
    }

    fn record(id: u8, tags: &[&str], at: u64, layers: &[u8]) -> ImageRecord {
        ImageRecord {
            id: Digest::of(&[id]),
            tags: tags.iter().map(|t| ((*t).to_owned(), at)).collect(),
            digests: BTreeMap::new(),
            inner_digests: BTreeSet::new(),
            layers: layers
                .iter()
                .map(|n| LayerRecord {
                    chain: chain(*n),
                    blob: Digest::of(&[*n]),
                    blob_size: 1,
                    size: 1,
                })
                .collect(),
            config: ImageConfig::default(),
            size: 0,
            added_at: at,
        }
    }

    fn apply(records: &mut Records, changes: Vec<ImageRecord>) {
        for change in changes {
            records.insert(change.id.clone(), change);
        }
    }

    #[test]
    fn a_tag_moves_and_the_older_image_stays() {
        let mut records = Records::new();
        apply(&mut records, vec![record(1, &["a:1", "a:2"], 1, &[1])]);
        let changes = add(&records, record(2, &["a:1"], 2, &[2]));
        assert_eq!(changes.len(), 2);
        assert_eq!(changes[0].id, Digest::of(&[2]));
        apply(&mut records, changes);
        let tags = |id: u8| {
            records[&Digest::of(&[id])]
                .tags
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(tags(1), ["a:2"]);
        assert_eq!(tags(2), ["a:1"]);
    }

    #[test]
    fn the_same_image_gathers_names() {
        let mut records = Records::new();
        for (at, tag) in [(1, "a:1"), (2, "b:1"), (3, "c:1")] {
            let changes = add(&records, record(1, &[tag], at, &[1]));
            assert_eq!(changes.len(), 1);
            apply(&mut records, changes);
        }
        let only = records.values().next().unwrap();
        assert_eq!(only.tags.len(), 3);
        assert_eq!(only.added_at, 1);
    }

    #[test]
    fn recovery_drops_the_damaged_and_settles_claims() {
        let loaded = vec![
            record(1, &["a:1"], 1, &[1]),
            record(2, &["a:1"], 2, &[1, 2]),
            record(3, &["b:1"], 3, &[1, 9]),
        ];
        let present = [chain(1), chain(2)].into();
        let recovered = recover(loaded, &present);
        assert_eq!(recovered.records.len(), 2);
        assert!(recovered.records[&Digest::of(&[1])].tags.is_empty());
        assert_eq!(recovered.damaged.len(), 1);
        assert_eq!(recovered.damaged[0].1, [chain(9)]);
    }

    proptest! {
        #[test]
        fn no_name_is_ever_on_two_images(
            steps in proptest::collection::vec((0u8..4, 0u8..5), 1..30)
        ) {
            let mut records = Records::new();
            for (at, (id, tag)) in steps.iter().enumerate() {
                let tag = format!("t:{tag}");
                let changes = add(&records, record(*id, &[&tag], at as u64, &[*id]));
                apply(&mut records, changes);
                let owner = records.values().find(|r| r.tags.contains_key(&tag)).unwrap();
                prop_assert_eq!(&owner.id, &Digest::of(&[*id]));
                let mut seen = HashSet::new();
                for name in records.values().flat_map(|r| r.tags.keys()) {
                    prop_assert!(seen.insert(name.clone()));
                }
            }
        }

        #[test]
        fn a_crash_between_two_writes_is_settled(
            steps in proptest::collection::vec((0u8..4, 0u8..3), 1..20), cut in 0usize..3
        ) {
            let mut records = Records::new();
            let last = steps.len() - 1;
            for (at, (id, tag)) in steps.iter().enumerate() {
                let mut changes = add(&records, record(*id, &[&format!("t:{tag}")], at as u64, &[*id]));
                if at == last {
                    changes.truncate(1 + cut);
                }
                apply(&mut records, changes);
            }
            let present = (0..4).map(chain).collect();
            let recovered = recover(records.into_values().collect(), &present);
            let (id, tag) = steps[last];
            let owners: Vec<_> = recovered.records.values()
                .filter(|r| r.tags.contains_key(&format!("t:{tag}"))).collect();
            prop_assert_eq!(owners.len(), 1);
            prop_assert_eq!(&owners[0].id, &Digest::of(&[id]));
        }

        #[test]
        fn what_is_needed_is_never_collected(
            images in proptest::collection::vec(proptest::collection::vec(0u8..10, 0..4), 0..4),
            held in proptest::collection::hash_set(0u8..10, 0..3),
        ) {
            let records: Records = images.iter().enumerate()
                .map(|(n, layers)| record(n as u8, &[], 0, layers))
                .map(|r| (r.id.clone(), r)).collect();
            let held: HashSet<ChainId> = held.into_iter().map(chain).collect();
            let gone = collectable((0..10).map(chain), &records, &held);
            for n in 0..10u8 {
                let needed = held.contains(&chain(n)) || images.iter().any(|l| l.contains(&n));
                prop_assert_eq!(gone.contains(&chain(n)), !needed);
            }
        }
    }
}
