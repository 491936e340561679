//! The time in which at least one thread waited: the length of the union of all waits.

use std::collections::BTreeMap;

/// Spans kept. At 300,000 waits a second that never overlap, the last 0.1 s.
const MAX_SPANS: usize = 32_768;
/// As many of the older spans become one when there are too many.
const BLUR: usize = 8;

/// The length of a union of intervals that come in any order, in bounded memory.
///
/// Exact as long as no more than 16,384 stretches of contention, apart from each other, begin after
/// an interval's start and before it is added. Beyond that the older half is blurred: eight
/// neighbours become one span of which only the covered length is known, not where. An interval that
/// covers such a span whole is still counted exactly; one that covers a part of it may be off, by no
/// more than [`Contended::uncertain_ns`] says.
#[derive(Clone, Debug, Default)]
pub struct Contended {
    /// Disjoint, by their start.
    spans: BTreeMap<u64, Span>,
    total_ns: u64,
    uncertain_ns: u64,
}

/// A stretch of time from its key in the map on.
#[derive(Clone, Copy, Debug)]
struct Span {
    end_ns: u64,
    /// How much of it is covered: all, unless it is blurred.
    covered_ns: u64,
}

impl Contended {
    /// Adds an interval. An empty or reversed one is nothing.
    pub fn add(&mut self, start_ns: u64, end_ns: u64) {
        if start_ns >= end_ns {
            return;
        }
        let mut new_start_ns = start_ns;
        let mut new = Span {
            end_ns,
            covered_ns: end_ns - start_ns,
        };
        while let Some((old_start_ns, old)) = self.last_until(end_ns) {
            if old.end_ns < start_ns {
                break;
            }
            self.spans.remove(&old_start_ns);
            self.total_ns = self.total_ns.saturating_sub(old.covered_ns);
            let outside = self.outside(old_start_ns, old, start_ns, end_ns);
            new_start_ns = new_start_ns.min(old_start_ns);
            new.end_ns = new.end_ns.max(old.end_ns);
            new.covered_ns = new.covered_ns.saturating_add(outside);
        }
        self.total_ns = self.total_ns.saturating_add(new.covered_ns);
        self.spans.insert(new_start_ns, new);
        if self.spans.len() > MAX_SPANS {
            self.blur();
        }
    }

    /// Time in which at least one thread waited, at least.
    pub fn total_ns(&self) -> u64 {
        self.total_ns
    }

    /// The same if there was another interval, which ends last: a wait that is under way.
    pub fn total_with_ns(&self, start_ns: u64, end_ns: u64) -> u64 {
        let spans = self.spans.iter().rev();
        let covered_ns = spans.take_while(|(_, span)| span.end_ns > start_ns).fold(
            0_u64,
            |sum, (&span_start_ns, span)| {
                let inside_ns = span
                    .end_ns
                    .min(end_ns)
                    .saturating_sub(span_start_ns.max(start_ns));
                sum.saturating_add(inside_ns.min(span.covered_ns))
            },
        );
        let length_ns = end_ns.saturating_sub(start_ns);
        self.total_ns
            .saturating_add(length_ns.saturating_sub(covered_ns))
    }

    /// How much more it may be, at most: 0 unless intervals came very late.
    pub fn uncertain_ns(&self) -> u64 {
        self.uncertain_ns
    }

    /// The last span that begins at `end_ns` or before: mostly the very last, which is found faster.
    fn last_until(&self, end_ns: u64) -> Option<(u64, Span)> {
        let last = self
            .spans
            .last_key_value()
            .filter(|&(&start_ns, _)| start_ns <= end_ns);
        let found = last.or_else(|| self.spans.range(..=end_ns).next_back());
        found.map(|(&start_ns, &span)| (start_ns, span))
    }

    /// How much of an old span's covered time lies outside of an interval, at least. Exact for a
    /// span that is covered whole.
    fn outside(&mut self, old_start_ns: u64, old: Span, start_ns: u64, end_ns: u64) -> u64 {
        let shared_ns = old
            .end_ns
            .min(end_ns)
            .saturating_sub(old_start_ns.max(start_ns));
        let apart_ns = (old.end_ns - old_start_ns).saturating_sub(shared_ns);
        let least_ns = old.covered_ns.saturating_sub(shared_ns);
        let most_ns = old.covered_ns.min(apart_ns);
        self.uncertain_ns = self
            .uncertain_ns
            .saturating_add(most_ns.saturating_sub(least_ns));
        least_ns
    }

    /// Makes one span of every [`BLUR`] in the older half.
    fn blur(&mut self) {
        let Some((&middle, _)) = self.spans.iter().nth(MAX_SPANS / 2) else {
            return;
        };
        let newer = self.spans.split_off(&middle);
        let older = std::mem::replace(&mut self.spans, newer);
        let mut older = older.into_iter();
        while let Some((start_ns, mut span)) = older.next() {
            for (_, next) in older.by_ref().take(BLUR - 1) {
                span.end_ns = next.end_ns;
                span.covered_ns = span.covered_ns.saturating_add(next.covered_ns);
            }
            self.spans.insert(start_ns, span);
        }
    }
}

#[cfg(test)]
mod tests;
