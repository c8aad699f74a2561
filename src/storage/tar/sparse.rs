//! Maps of files with holes.

use super::TarError;

/// Segments a map may have.
pub(crate) const MAX_SEGMENTS: usize = 1 << 18;

/// A file with holes: its size and the segments that hold data, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sparse {
    pub(crate) real_size: u64,
    pub(crate) segments: Vec<(u64, u64)>,
}

impl Sparse {
    /// Checks that the segments ascend, stay inside the file and are all there.
    pub(crate) fn new(
        real_size: u64,
        segments: Vec<(u64, u64)>,
        stored: u64,
    ) -> Result<Self, TarError> {
        if segments.len() > MAX_SEGMENTS {
            return Err(TarError::Sparse("has too many segments"));
        }
        let (mut end, mut sum) = (0u64, 0u64);
        for (offset, length) in &segments {
            if *offset < end {
                return Err(TarError::Sparse("has segments out of order"));
            }
            end = offset
                .checked_add(*length)
                .filter(|end| *end <= real_size)
                .ok_or(TarError::Sparse("has a segment beyond the end of the file"))?;
            sum += length;
        }
        if sum > stored {
            return Err(TarError::Sparse("maps more data than the archive holds"));
        }
        Ok(Self {
            real_size,
            segments,
        })
    }
}

/// Offsets and lengths in turn, as pairs.
pub(crate) fn pairs(numbers: &[u64]) -> Result<Vec<(u64, u64)>, TarError> {
    if !numbers.len().is_multiple_of(2) {
        return Err(TarError::Sparse("has an offset without a length"));
    }
    Ok(numbers.chunks_exact(2).map(|p| (p[0], p[1])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_maps_that_lie() {
        assert!(Sparse::new(10, vec![(0, 4), (6, 4)], 8).is_ok());
        assert!(Sparse::new(10, vec![(4, 4), (0, 4)], 8).is_err());
        assert!(Sparse::new(10, vec![(8, 4)], 8).is_err());
        assert!(Sparse::new(10, vec![(0, 8)], 7).is_err());
        assert!(Sparse::new(10, vec![(u64::MAX, 2)], 7).is_err());
        assert!(pairs(&[1, 2, 3]).is_err());
    }

    proptest! {
        #[test]
        fn what_is_accepted_fits(
            size in 0u64..100,
            stored in 0u64..100,
            map in prop::collection::vec((any::<u64>().prop_map(|v| v % 120), 0u64..50), 0..5),
        ) {
            if let Ok(sparse) = Sparse::new(size, map, stored) {
                let sum: u64 = sparse.segments.iter().map(|s| s.1).sum();
                prop_assert!(sum <= stored && sum <= size);
            }
        }
    }
}
