//! One thread's times of one kind: exact to HdrHistogram's three significant digits, and small.

use super::bucket::{Bucket, Packed, index_of};

/// The longest time a histogram tells apart: 146 years, the end of what HdrHistogram's Rust library
/// tracks (`Histogram::new`: i64::MAX / 2). A longer one counts as this long.
pub const MAX_NS: u64 = (1 << 62) - 1;

/// Values that are collected before they are packed, at least.
const MIN_PENDING: usize = 32;

/// Times, grouped into HdrHistogram's buckets.
///
/// A dense HdrHistogram of waits up to a second takes 84 kB at least, however few there are, and a
/// process has hundreds of threads. This one takes about two bytes per distinct bucket: values are
/// collected in a short list, and when that is a quarter as long as the packed list of buckets, the
/// two are merged; so a record costs a push and its share of the merge, constant on average.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    packed: Packed,
    /// Bucket of each value that is not packed yet.
    pending: Vec<u16>,
    /// Values recorded.
    pub count: u64,
    /// Their exact sum.
    pub sum_ns: u64,
    /// The exact shortest; meaningless while `count` is 0.
    pub min_ns: u64,
    /// The exact longest.
    pub max_ns: u64,
}

impl Histogram {
    /// Adds a time.
    #[inline]
    pub fn record(&mut self, value_ns: u64) {
        let value_ns = value_ns.min(MAX_NS);
        self.min_ns = if self.count == 0 {
            value_ns
        } else {
            self.min_ns.min(value_ns)
        };
        self.max_ns = self.max_ns.max(value_ns);
        self.count = self.count.saturating_add(1);
        self.sum_ns = self.sum_ns.saturating_add(value_ns);
        self.pending.push(index_of(value_ns));
        if self.pending.len() >= MIN_PENDING.max(self.packed.len() / 4) {
            self.pack();
        }
    }

    /// Gives back all memory that is only of use while times still come. More may come all the same.
    pub fn compact(&mut self) {
        self.pack();
        self.pending = Vec::new();
    }

    /// The buckets; one may come twice.
    pub(super) fn buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        let pending = self.pending.iter().map(|&index| Bucket { index, count: 1 });
        self.packed.iter().chain(pending)
    }

    fn pack(&mut self) {
        if !self.pending.is_empty() {
            self.pending.sort_unstable();
            self.packed = self.packed.with_sorted(&self.pending);
            self.pending.clear();
        }
    }
}

#[cfg(test)]
mod tests;
