//! HdrHistogram's buckets at three significant digits, and a list of them packed into few bytes.
//!
//! The numbering is HdrHistogram's own counts-array index, so that a bucket stands for the same
//! values here and in any HdrHistogram library: single values below 2,048, then 1,024 buckets for
//! each power of two.

use std::iter::Peekable;

/// log2 of HdrHistogram's sub-bucket count: the power of two above 2 × 10³.
const SUB_BUCKET_BITS: u32 = 11;
/// Values below this have a bucket of their own.
const SUB_BUCKETS: u64 = 1 << SUB_BUCKET_BITS;

/// A bucket of the histogram and how many values fell into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Position in HdrHistogram's counts array; at most 56,319.
    pub index: u16,
    /// Values in it.
    pub count: u64,
}

impl Bucket {
    /// The lowest value that falls into this bucket.
    pub fn lowest_ns(&self) -> u64 {
        let index = u64::from(self.index);
        let power = (index / (SUB_BUCKETS / 2)).saturating_sub(1);
        (index - power * (SUB_BUCKETS / 2)) << power
    }
}

/// The bucket that a value falls into.
#[inline]
pub(super) fn index_of(value_ns: u64) -> u16 {
    let significant = u64::BITS - (value_ns | (SUB_BUCKETS - 1)).leading_zeros();
    let power = significant - SUB_BUCKET_BITS;
    // At most 53 × 1,024 + 2,047 = 56,319, so the cast keeps every bit.
    (u64::from(power) * (SUB_BUCKETS / 2) + (value_ns >> power)) as u16
}

/// Buckets in rising order, each as two variable-length numbers (LEB128): the distance to the index
/// before, and the count. Two bytes for most.
#[derive(Clone, Debug, Default)]
pub(super) struct Packed {
    bytes: Vec<u8>,
    last_index: u16,
    len: usize,
}

impl Packed {
    /// Bytes taken.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Number of buckets.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The buckets, in rising order.
    pub fn iter(&self) -> impl Iterator<Item = Bucket> + '_ {
        let mut bytes = self.bytes.iter().copied();
        let mut index = 0_u16;
        std::iter::from_fn(move || {
            // Distances fit u16 because the indices do.
            index = index.wrapping_add(take(&mut bytes)? as u16);
            let count = take(&mut bytes)?;
            Some(Bucket { index, count })
        })
    }

    /// These buckets with one more value for each of `indices`, which must be sorted.
    pub fn with_sorted(&self, indices: &[u16]) -> Self {
        let mut old = self.iter().peekable();
        let mut new = Packed::default();
        new.bytes.reserve(self.bytes.len() + 2 * indices.len());
        for run in indices.chunk_by(|a, b| a == b) {
            let Some(&index) = run.first() else { continue };
            let known = new.take_until(&mut old, index);
            new.push(Bucket {
                index,
                count: known.saturating_add(run.len() as u64),
            });
        }
        old.for_each(|bucket| new.push(bucket));
        new.bytes.shrink_to_fit();
        new
    }

    /// Moves the buckets below `index` over; the count of the one at `index`.
    fn take_until(&mut self, from: &mut Peekable<impl Iterator<Item = Bucket>>, index: u16) -> u64 {
        while let Some(bucket) = from.next_if(|bucket| bucket.index < index) {
            self.push(bucket);
        }
        (from.next_if(|bucket| bucket.index == index)).map_or(0, |bucket| bucket.count)
    }

    fn push(&mut self, bucket: Bucket) {
        put(
            &mut self.bytes,
            u64::from(bucket.index.wrapping_sub(self.last_index)),
        );
        put(&mut self.bytes, bucket.count);
        self.last_index = bucket.index;
        self.len += 1;
    }
}

/// Appends a number, seven bits a byte, the lowest first.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Reads a number that [`put`] wrote; `None` at the end.
fn take(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = bytes.next()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    /// Values around every power of two, and between.
    fn values() -> impl Iterator<Item = u64> {
        (0..62).flat_map(|bit| {
            let base = 1_u64 << bit;
            [base - 1, base, base + 1, base + base / 3, base + base / 2]
        })
    }

    #[test]
    fn buckets_are_those_of_hdrhistogram() {
        let hdr = hdrhistogram::Histogram::<u64>::new_with_bounds(1, 1 << 62, 3).unwrap();
        for value in values().chain(0..5_000) {
            let bucket = Bucket {
                index: index_of(value),
                count: 1,
            };
            assert_eq!(bucket.lowest_ns(), hdr.lowest_equivalent(value), "{value}");
        }
    }

    #[test]
    fn every_number_has_a_bucket() {
        assert_eq!(index_of(0), 0);
        assert_eq!(index_of(u64::MAX), 56_319);
        assert!(
            values()
                .zip(values().skip(1))
                .all(|(a, b)| (a <= b) == (index_of(a) <= index_of(b)))
        );
    }

    #[test]
    fn packing_keeps_every_bucket_and_adds_counts() {
        let indices = [0, 0, 3, 3, 3, 900, 56_319];
        let once = Packed::default().with_sorted(&indices);
        let twice = once.with_sorted(&[1, 3, 56_318]).with_sorted(&[]);
        let got: Vec<_> = twice
            .iter()
            .map(|bucket| (bucket.index, bucket.count))
            .collect();
        assert_eq!(
            got,
            [(0, 2), (1, 1), (3, 4), (900, 1), (56_318, 1), (56_319, 1)]
        );
        assert_eq!(twice.len(), got.len());
    }

    #[test]
    fn numbers_of_any_size_are_read_back() {
        for number in values().chain([u64::MAX]) {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            assert_eq!(take(&mut bytes.iter().copied()), Some(number));
        }
        assert_eq!(take(&mut [0x80].into_iter()), None);
        assert_eq!(take(&mut [0xff; 20].into_iter()), None);
    }
}
