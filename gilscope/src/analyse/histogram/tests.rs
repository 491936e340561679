#![allow(clippy::unwrap_used, reason = "a test")]

use super::super::merged::{Counted, Merged};
use super::*;
use base64::Engine as _;
use hdrhistogram::serialization::Deserializer;

/// xorshift64*: numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Spread evenly over the powers of two below `bits`.
    fn time_ns(&mut self, bits: u64) -> u64 {
        (self.next() | 1 << 63) >> (64 - bits.min(1 + self.next() % bits))
    }
}

fn summary(histogram: &Histogram) -> crate::model::HistogramSummary {
    let mut merged = Merged::default();
    merged.add(histogram);
    merged.summary(merged.recorded())
}

fn decode(base64: &str) -> hdrhistogram::Histogram<u64> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(base64)
        .unwrap();
    Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .unwrap()
}

#[test]
fn says_the_same_as_hdrhistogram() {
    for (seed, values, bits) in [
        (1, 1, 40),
        (2, 31, 20),
        (3, 33, 36),
        (4, 20_000, 34),
        (5, 300_000, 30),
    ] {
        let mut random = Random(seed);
        let mut ours = Histogram::default();
        let mut theirs = hdrhistogram::Histogram::<u64>::new(3).unwrap();
        let (mut sum, mut min, mut max) = (0, u64::MAX, 0);
        for _ in 0..values {
            let value = random.time_ns(bits);
            ours.record(value);
            theirs.record(value).unwrap();
            (sum, min, max) = (sum + value, min.min(value), max.max(value));
        }
        let got = summary(&ours);
        assert_eq!(
            (got.count, got.sum_ns, got.max_ns, got.recorded),
            (values, sum, max, values)
        );
        assert_eq!((got.min_ns, got.mean_ns), (Some(min), Some(sum / values)));
        let expected = [0.5, 0.9, 0.99, 0.999].map(|q| Some(theirs.value_at_quantile(q).min(max)));
        assert_eq!([got.p50_ns, got.p90_ns, got.p99_ns, got.p99_9_ns], expected);
        assert_eq!(decode(&got.hdr.unwrap()), theirs);
    }
}

#[test]
fn merging_is_recording_all() {
    let mut random = Random(7);
    let (mut one, mut two, mut both) = (
        Histogram::default(),
        Histogram::default(),
        Histogram::default(),
    );
    for _ in 0..5_000 {
        let (a, b) = (random.time_ns(20), random.time_ns(33));
        one.record(a);
        two.record(b);
        both.record(a);
        both.record(b);
    }
    two.compact();
    let mut merged = Merged::default();
    merged.add(&one);
    merged.add(&Histogram::default());
    merged.add(&two);
    assert_eq!(merged.summary(merged.recorded()), summary(&both));
}

#[test]
fn more_may_come_after_compact() {
    let mut histogram = Histogram::default();
    histogram.record(5);
    histogram.compact();
    histogram.record(7);
    let got = summary(&histogram);
    assert_eq!(
        (got.recorded, got.min_ns, got.p50_ns, got.max_ns),
        (2, Some(5), Some(5), 7)
    );
}

#[test]
fn empty_says_null() {
    let got = Merged::default().summary(Counted::default());
    assert_eq!(got, crate::model::HistogramSummary::default());
}

#[test]
fn any_number_is_taken() {
    let mut histogram = Histogram::default();
    for value in [u64::MAX, MAX_NS, MAX_NS + 1, 0, 1] {
        histogram.record(value);
    }
    let got = summary(&histogram);
    assert_eq!((got.min_ns, got.max_ns), (Some(0), MAX_NS));
    assert_eq!((got.p50_ns, got.p99_9_ns), (Some(MAX_NS), Some(MAX_NS)));
    assert_eq!(got.sum_ns, 3 * MAX_NS + 1);
    assert_eq!(decode(&got.hdr.unwrap()).len(), 5);
}

#[test]
fn quantiles_are_never_above_the_longest() {
    let mut histogram = Histogram::default();
    histogram.record(5_000_123);
    let got = summary(&histogram);
    assert_eq!((got.p50_ns, got.max_ns), (Some(5_000_123), 5_000_123));
}

/// 200 busy threads with two kinds of 2,000 distinct times each fit in 10 MB: 25 kB a histogram.
#[test]
fn stays_small() {
    let mut histogram = Histogram::default();
    let mut random = Random(3);
    while histogram.packed.len() < 2_000 {
        histogram.record(random.time_ns(30));
    }
    let bytes = histogram.packed.capacity() + histogram.pending.capacity() * size_of::<u16>();
    assert!(bytes < 8_000, "{bytes}");
}
