//! Histograms summed up, and what a report says of them.

use super::histogram::{Histogram, MAX_NS};
use crate::model::HistogramSummary;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::{Serializer as _, V2DeflateSerializer};

/// HdrHistogram's precision, as the report promises it.
const SIGNIFICANT_DIGITS: u8 = 3;

/// What the kernel counted of some times: complete even where records were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

impl Counted {
    /// Adds another thread's.
    pub fn add(&mut self, other: Counted) {
        self.count = self.count.saturating_add(other.count);
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }
}

/// The sum of any number of [`Histogram`]s, in HdrHistogram's own form.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    /// `None` until there is a value.
    hdr: Option<hdrhistogram::Histogram<u64>>,
    recorded: u64,
    sum_ns: u64,
    min_ns: Option<u64>,
    max_ns: u64,
}

impl Merged {
    /// Adds all values of a histogram.
    pub fn add(&mut self, other: &Histogram) {
        if other.count == 0 {
            return;
        }
        if self.hdr.is_none() {
            self.hdr = hdrhistogram::Histogram::new(SIGNIFICANT_DIGITS).ok();
        }
        if let Some(hdr) = &mut self.hdr {
            for bucket in other.buckets() {
                // Cannot fail: it resizes itself, and no value is above MAX_NS.
                let recorded = hdr.record_n(bucket.lowest_ns().min(MAX_NS), bucket.count);
                debug_assert!(recorded.is_ok());
            }
        }
        self.recorded = self.recorded.saturating_add(other.count);
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        self.min_ns = Some(
            self.min_ns
                .map_or(other.min_ns, |min_ns| min_ns.min(other.min_ns)),
        );
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// What was recorded, as the kernel would have counted it.
    pub fn recorded(&self) -> Counted {
        Counted {
            count: self.recorded,
            sum_ns: self.sum_ns,
            max_ns: self.max_ns,
        }
    }

    /// What the report says: the kernel's count, sum and maximum, and the quantiles of what was
    /// recorded.
    ///
    /// A quantile is the highest value of its bucket, as HdrHistogram defines it, but never above
    /// the longest time.
    pub fn summary(&self, kernel: Counted) -> HistogramSummary {
        let hdr = self.hdr.as_ref();
        let quantile = |q| hdr.map(|hdr| hdr.value_at_quantile(q).min(kernel.max_ns));
        HistogramSummary {
            count: kernel.count,
            sum_ns: kernel.sum_ns,
            max_ns: kernel.max_ns,
            recorded: self.recorded,
            min_ns: self.min_ns,
            mean_ns: self.sum_ns.checked_div(self.recorded),
            p50_ns: quantile(0.5),
            p90_ns: quantile(0.9),
            p99_ns: quantile(0.99),
            p99_9_ns: quantile(0.999),
            hdr: hdr.and_then(encode),
        }
    }
}

/// HdrHistogram's V2 + DEFLATE encoding, in base64.
fn encode(hdr: &hdrhistogram::Histogram<u64>) -> Option<String> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(hdr, &mut bytes).ok()?;
    Some(STANDARD.encode(bytes))
}
