//! What is known of one thread, and its row of the report.

use super::histogram::Histogram;
use super::locks::ThreadLocks;
use super::merged::{Counted, Merged};
use crate::model::{
    CpuTime, GilTotals, GilWaits, HistogramSummary, Interval, IntervalKind, ThreadFacts,
    ThreadReport, ThreadTotals, Unfinished, WaitLoss, WaitParts,
};

/// A thread while it is followed and, until it is reported or merged away, after its end.
#[derive(Debug, Default)]
pub(super) struct Thread {
    pub tid: u32,
    /// `None` if its start was not seen: it was there before.
    pub started_ns: Option<u64>,
    pub ended_ns: Option<u64>,
    pub facts: ThreadFacts,
    pub totals: ThreadTotals,
    pub gils: Vec<GilRow>,
    pub locks: ThreadLocks,
}

/// A thread and one GIL.
#[derive(Debug, Default)]
pub(super) struct GilRow {
    gil_id: u32,
    wait: Histogram,
    forced_switch: Histogram,
    /// `None` until the kernel has said something.
    totals: Option<GilTotals>,
}

impl Thread {
    /// Takes over what `/proc` said.
    pub fn learn(&mut self, facts: ThreadFacts) {
        let known = &mut self.facts;
        known.ns_tid = facts.ns_tid.or(known.ns_tid);
        known.name = facts.name.or(known.name.take());
        known.os_name = facts.os_name.or(known.os_name.take());
        known.user_ns = facts.user_ns.or(known.user_ns);
        known.system_ns = facts.system_ns.or(known.system_ns);
        known.split = facts.split.or(known.split);
    }

    /// Adds a finished wait or forced switch.
    pub fn record(&mut self, interval: &Interval) {
        let length_ns = interval.end_ns.saturating_sub(interval.start_ns);
        let gil = self.gil(interval.gil_id);
        match interval.kind {
            IntervalKind::Wait => gil.wait.record(length_ns),
            IntervalKind::Yield => gil.forced_switch.record(length_ns),
        }
    }

    /// Replaces what the kernel counted for a GIL; says what it was before.
    pub fn count(&mut self, gil_id: u32, totals: GilTotals) -> GilTotals {
        self.gil(gil_id).totals.replace(totals).unwrap_or_default()
    }

    fn gil(&mut self, gil_id: u32) -> &mut GilRow {
        // A thread waits for one GIL, or for a few, so a search beats a map.
        let at = self
            .gils
            .iter()
            .position(|gil| gil.gil_id == gil_id)
            .unwrap_or_else(|| {
                self.gils.push(GilRow {
                    gil_id,
                    ..GilRow::default()
                });
                self.gils.len() - 1
            });
        &mut self.gils[at]
    }

    /// Gives back the memory that only a live thread needs.
    pub fn compact(&mut self) {
        for gil in &mut self.gils {
            gil.wait.compact();
            gil.forced_switch.compact();
        }
        self.gils.shrink_to_fit();
        self.locks.compact();
    }

    /// Time waited so far, by the kernel's count where there is one.
    pub fn waited_ns(&self) -> u64 {
        self.gils.iter().fold(0, |sum, gil| {
            sum.saturating_add(gil.waits().sum_ns)
                .saturating_add(gil.unfinished().total_ns())
        })
    }

    /// What was lost of its waits: counted by the kernel, not recorded.
    pub fn loss(&self) -> WaitLoss {
        self.gils.iter().fold(WaitLoss::default(), |mut loss, gil| {
            let (waits, recorded) = (gil.waits(), recorded(&gil.wait));
            // Fewer in the kernel than here means that its totals were read too early.
            debug_assert!(
                gil.totals
                    .is_none_or(|totals| totals.waits >= recorded.count)
            );
            loss.add(WaitLoss {
                waits_lost: waits.count.saturating_sub(recorded.count),
                wait_lost_ns: waits.sum_ns.saturating_sub(recorded.sum_ns),
            });
            loss
        })
    }

    /// Its time on and for the processor.
    pub fn cpu(&self) -> CpuTime {
        CpuTime {
            on_cpu_ns: self.totals.on_cpu_ns,
            runnable_ns: self.totals.runnable_ns,
            user_ns: self.facts.user_ns,
            system_ns: self.facts.system_ns,
            split: self.facts.split,
            voluntary_switches: self.totals.voluntary_switches,
            involuntary_switches: self.totals.involuntary_switches,
        }
    }

    /// Its row. The trace began at `origin_ns`, its process is followed from `from_ns` to `end_ns`.
    pub fn report(self, origin_ns: u64, from_ns: u64, end_ns: u64) -> ThreadReport {
        let started_ns = self.started_ns.unwrap_or(from_ns);
        let until_ns = self.ended_ns.unwrap_or(end_ns);
        ThreadReport {
            tid: self.tid,
            started_at_ns: started_ns.saturating_sub(origin_ns),
            observed_ns: until_ns.saturating_sub(started_ns),
            ended_at_ns: self
                .ended_ns
                .map(|ended_ns| ended_ns.saturating_sub(origin_ns)),
            gil: (self.gils.iter())
                .filter(|gil| gil.is_used())
                .map(GilRow::report)
                .collect(),
            cpu: self.cpu(),
            loss: self.loss(),
            locks: Vec::new(),
            lock_loss: self.locks.loss(),
            ns_tid: self.facts.ns_tid,
            name: self.facts.name,
            os_name: self.facts.os_name,
        }
    }
}

impl GilRow {
    /// Recorded waits.
    pub fn wait_histogram(&self) -> &Histogram {
        &self.wait
    }

    /// Recorded forced switches.
    pub fn forced_switch_histogram(&self) -> &Histogram {
        &self.forced_switch
    }

    /// All waits.
    pub fn waits(&self) -> Counted {
        let kernel = self.totals.map(|totals| Counted {
            count: totals.waits,
            sum_ns: totals.wait_sum_ns,
            max_ns: totals.wait_max_ns,
        });
        complete(kernel, &self.wait)
    }

    /// All forced switches.
    pub fn forced_switches(&self) -> Counted {
        let kernel = self.totals.map(|totals| Counted {
            count: totals.yields,
            sum_ns: totals.yield_sum_ns,
            max_ns: totals.yield_max_ns,
        });
        complete(kernel, &self.forced_switch)
    }

    /// What the thread did in its waits, as the kernel counted it.
    pub fn wait_parts(&self) -> WaitParts {
        let totals = self.totals();
        let counted_ns = totals.wait_sum_ns;
        let on_cpu_ns = totals.wait_on_cpu_ns.min(counted_ns);
        let runnable_ns = totals.wait_runnable_ns.min(counted_ns - on_cpu_ns);
        WaitParts {
            asleep_ns: counted_ns - on_cpu_ns - runnable_ns,
            runnable_ns,
            on_cpu_ns,
            unknown_ns: self.waits().sum_ns.saturating_sub(counted_ns),
        }
    }

    /// Waits cut off by the start or the end of tracing.
    pub fn unfinished(&self) -> Unfinished {
        let totals = self.totals();
        Unfinished {
            at_start_ns: totals.unfinished_at_start_ns,
            at_end_ns: totals.unfinished_at_end_ns,
        }
    }

    /// What the kernel counted; zeros if it said nothing.
    pub fn totals(&self) -> GilTotals {
        self.totals.unwrap_or_default()
    }

    /// Whether the thread ever had to do with this GIL.
    fn is_used(&self) -> bool {
        self.wait.count > 0 || self.forced_switch.count > 0 || self.totals() != GilTotals::default()
    }

    fn report(&self) -> GilWaits {
        let totals = self.totals();
        GilWaits {
            gil_id: self.gil_id,
            wait: summary(&self.wait, self.waits()),
            wait_parts: self.wait_parts(),
            forced_switch: summary(&self.forced_switch, self.forced_switches()),
            unfinished: self.unfinished(),
            timeouts: totals.timeouts,
            futile_wakeups: totals.futile_wakeups,
            voluntary_switches: totals.voluntary_switches,
        }
    }
}

fn summary(histogram: &Histogram, all: Counted) -> HistogramSummary {
    let mut merged = Merged::default();
    merged.add(histogram);
    merged.summary(all)
}

fn recorded(histogram: &Histogram) -> Counted {
    Counted {
        count: histogram.count,
        sum_ns: histogram.sum_ns,
        max_ns: histogram.max_ns,
    }
}

/// The kernel's figures; what was recorded where it has none, or (never, if the kernel's were read
/// after the last record) smaller ones.
fn complete(kernel: Option<Counted>, histogram: &Histogram) -> Counted {
    let recorded = recorded(histogram);
    let kernel = kernel.unwrap_or(recorded);
    Counted {
        count: kernel.count.max(recorded.count),
        sum_ns: kernel.sum_ns.max(recorded.sum_ns),
        max_ns: kernel.max_ns.max(recorded.max_ns),
    }
}
