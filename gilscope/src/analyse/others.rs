//! Ended threads that have no row of their own, as one.

use super::merged::{Counted, Merged};
use super::thread::Thread;
use crate::model::{CpuTime, OtherThreads, Unfinished, WaitLoss, WaitParts};

/// The sum of any number of ended threads.
#[derive(Debug, Default)]
pub(super) struct Others {
    threads: u64,
    wait: Merged,
    waits: Counted,
    wait_parts: WaitParts,
    forced_switch: Merged,
    forced_switches: Counted,
    unfinished: Unfinished,
    timeouts: u64,
    futile_wakeups: u64,
    cpu: CpuTime,
    loss: WaitLoss,
}

impl Others {
    /// Takes a thread in.
    pub fn add(&mut self, thread: &Thread) {
        self.add_cpu(&thread.cpu());
        self.threads = self.threads.saturating_add(1);
        self.loss.add(thread.loss());
        for gil in &thread.gils {
            let totals = gil.totals();
            self.wait.add(gil.wait_histogram());
            self.waits.add(gil.waits());
            self.wait_parts.add(gil.wait_parts());
            self.forced_switch.add(gil.forced_switch_histogram());
            self.forced_switches.add(gil.forced_switches());
            self.unfinished.add(gil.unfinished());
            self.timeouts = self.timeouts.saturating_add(totals.timeouts);
            self.futile_wakeups = self.futile_wakeups.saturating_add(totals.futile_wakeups);
        }
    }

    /// User and system time are known of all only if they are known of each.
    fn add_cpu(&mut self, cpu: &CpuTime) {
        let first = self.threads == 0;
        let add = |sum: Option<u64>, more: Option<u64>| {
            let sum = if first { Some(0) } else { sum };
            sum.zip(more).map(|(sum, more)| sum.saturating_add(more))
        };
        self.cpu = CpuTime {
            on_cpu_ns: self.cpu.on_cpu_ns.saturating_add(cpu.on_cpu_ns),
            runnable_ns: self.cpu.runnable_ns.saturating_add(cpu.runnable_ns),
            user_ns: add(self.cpu.user_ns, cpu.user_ns),
            system_ns: add(self.cpu.system_ns, cpu.system_ns),
            split: if first {
                cpu.split
            } else {
                self.cpu.split.filter(|&s| Some(s) == cpu.split)
            },
            voluntary_switches: (self.cpu.voluntary_switches)
                .saturating_add(cpu.voluntary_switches),
            involuntary_switches: (self.cpu.involuntary_switches)
                .saturating_add(cpu.involuntary_switches),
        };
    }

    /// All their waits.
    pub fn waits(&self) -> Counted {
        self.waits
    }

    /// Their recorded waits.
    pub fn wait(&self) -> &Merged {
        &self.wait
    }

    /// Time that they waited.
    pub fn waited_ns(&self) -> u64 {
        self.waits.sum_ns.saturating_add(self.unfinished.total_ns())
    }

    /// What was lost of their waits.
    pub fn loss(&self) -> WaitLoss {
        self.loss
    }

    /// Their part of the report; `None` if there are none.
    pub fn report(&self) -> Option<OtherThreads> {
        (self.threads > 0).then(|| OtherThreads {
            threads: self.threads,
            wait: self.wait.summary(self.waits),
            wait_parts: self.wait_parts,
            forced_switch: self.forced_switch.summary(self.forced_switches),
            unfinished: self.unfinished,
            timeouts: self.timeouts,
            futile_wakeups: self.futile_wakeups,
            cpu: self.cpu,
            loss: self.loss,
        })
    }
}
