//! Waits for locks that are no GIL: a row for each thread and lock, as many as are allowed.

use super::histogram::Histogram;
use super::merged::{Counted, Merged};
use crate::model::{
    LockId, LockKind, LockReport, LockTotals, LockWait, LockWaits, OtherLocks, Purpose, Unfinished,
    WaitLoss,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// Rows for locks, unless an option says otherwise.
pub const DEFAULT_MAX_LOCKS: usize = 1_024;

/// A thread's waits for locks.
#[derive(Debug, Default)]
pub(super) struct ThreadLocks {
    rows: HashMap<LockId, Row>,
    /// What arrived of it, wherever it is now.
    recorded: Counted,
    totals: LockTotals,
}

/// A thread and a lock.
#[derive(Debug, Default)]
struct Row {
    wait: Histogram,
    cut_at_start_ns: u64,
}

impl Row {
    fn counted(&self) -> Counted {
        Counted {
            count: self.wait.count,
            sum_ns: self.wait.sum_ns,
            max_ns: self.wait.max_ns,
        }
    }

    fn waited_ns(&self) -> u64 {
        self.wait.sum_ns.saturating_add(self.cut_at_start_ns)
    }
}

impl ThreadLocks {
    /// Adds a finished wait. Answers whether it has a new row.
    pub fn record(&mut self, wait: &LockWait) -> bool {
        let rows = self.rows.len();
        let row = self.rows.entry(wait.lock).or_default();
        if wait.cut_at_start {
            row.cut_at_start_ns = row.cut_at_start_ns.saturating_add(wait.slept_ns);
        } else {
            row.wait.record(wait.slept_ns);
            self.recorded.add(Counted {
                count: 1,
                sum_ns: wait.slept_ns,
                max_ns: wait.slept_ns,
            });
        }
        self.rows.len() > rows
    }

    /// Replaces what the kernel counted. Answers whether the wait under way has a new row.
    pub fn count(&mut self, totals: LockTotals) -> bool {
        let rows = self.rows.len();
        if let Some((lock, ..)) = totals.open {
            self.rows.entry(lock).or_default();
        }
        self.totals = totals;
        self.rows.len() > rows
    }

    /// Forgets what it waited for there: it was no lock.
    pub fn forget(&mut self, addresses: &Range<u64>) {
        self.rows
            .retain(|lock, _| !addresses.contains(&lock.address));
        self.totals.open =
            (self.totals.open).filter(|(lock, ..)| !addresses.contains(&lock.address));
    }

    /// Gives back the memory that only a live thread needs.
    pub fn compact(&mut self) {
        self.rows.values_mut().for_each(|row| row.wait.compact());
    }

    /// Waits that the kernel counted and that did not arrive.
    pub fn loss(&self) -> WaitLoss {
        WaitLoss {
            waits_lost: self.totals.waits.saturating_sub(self.recorded.count),
            wait_lost_ns: self.totals.sum_ns.saturating_sub(self.recorded.sum_ns),
        }
    }

    fn unfinished(&self, lock: &LockId, row: &Row) -> Unfinished {
        let mut unfinished = Unfinished {
            at_start_ns: row.cut_at_start_ns,
            at_end_ns: 0,
        };
        if let Some((open, open_ns, cut_at_start)) = self.totals.open
            && open == *lock
        {
            let end = if cut_at_start {
                &mut unfinished.at_start_ns
            } else {
                &mut unfinished.at_end_ns
            };
            *end = end.saturating_add(open_ns);
        }
        unfinished
    }
}

/// What a process's threads have waited for beyond the rows.
#[derive(Debug, Default)]
pub(super) struct Locks {
    /// Rows that there are.
    pub rows: usize,
    merged_rows: u64,
    merged: Merged,
    counted: Counted,
    unfinished: Unfinished,
    /// What was lost of threads that have no row themselves.
    pub loss: WaitLoss,
}

impl Locks {
    /// Whether it is time to merge rows; not at every new one, since it looks at all.
    pub fn are_too_many(&self, max_rows: usize) -> bool {
        self.rows > max_rows.saturating_add(max_rows / 4)
    }

    /// Merges the rows beyond the limit: those asleep on purpose first, then those that waited least.
    pub fn keep_to_limit<'a>(
        &mut self,
        threads: impl Iterator<Item = &'a mut ThreadLocks>,
        max_rows: usize,
    ) {
        let mut threads: Vec<_> = threads.collect();
        let mut all = Vec::new();
        for (index, thread) in threads.iter().enumerate() {
            all.extend(thread.rows.iter().map(|(lock, row)| {
                let is_idle = lock.purpose == Purpose::Idle;
                (!is_idle, row.waited_ns(), *lock, index)
            }));
        }
        all.sort_unstable_by_key(|key| Reverse(*key));
        for (_, _, lock, index) in all.split_off(max_rows.min(all.len())) {
            if let Some(thread) = threads.get_mut(index) {
                self.merge(thread, &lock);
            }
        }
        self.rows = all.len();
    }

    /// Merges all rows of a thread that has none itself any more.
    pub fn merge_all(&mut self, thread: &mut ThreadLocks) {
        self.loss.add(thread.loss());
        for lock in thread.rows.keys().copied().collect::<Vec<_>>() {
            self.merge(thread, &lock);
            self.rows = self.rows.saturating_sub(1);
        }
    }

    fn merge(&mut self, thread: &mut ThreadLocks, lock: &LockId) {
        if let Some(row) = thread.rows.remove(lock) {
            self.merged_rows += 1;
            self.merged.add(&row.wait);
            self.counted.add(row.counted());
            self.unfinished.add(thread.unfinished(lock, &row));
        }
    }

    /// The rows that were merged; `None` if there are none.
    pub fn others(&self) -> Option<OtherLocks> {
        (self.merged_rows > 0).then(|| OtherLocks {
            rows: self.merged_rows,
            wait: self.merged.summary(self.counted),
            unfinished: self.unfinished,
        })
    }
}

/// Every lock that has a row, most waited for first, and of each thread the locks that it waited for.
pub(super) fn report(threads: &[&ThreadLocks]) -> (Vec<LockReport>, Vec<Vec<LockWaits>>) {
    let mut by_lock: BTreeMap<LockId, Vec<(usize, &Row)>> = BTreeMap::new();
    for (index, thread) in threads.iter().enumerate() {
        for (lock, row) in &thread.rows {
            by_lock.entry(*lock).or_default().push((index, row));
        }
    }
    let mut reports: Vec<(LockId, LockReport)> = by_lock
        .iter()
        .map(|(lock, rows)| (*lock, lock_report(*lock, rows, threads)))
        .collect();
    reports.sort_by_key(|(lock, report)| (Reverse(report.waited_ns()), *lock));
    let mut of_threads: Vec<Vec<LockWaits>> = threads.iter().map(|_| Vec::new()).collect();
    for (id, (lock, report)) in (0..).zip(&mut reports) {
        report.id = id;
        for (index, row) in by_lock.remove(lock).unwrap_or_default() {
            let (Some(thread), Some(waits)) = (threads.get(index), of_threads.get_mut(index))
            else {
                continue;
            };
            let mut wait = Merged::default();
            wait.add(&row.wait);
            waits.push(LockWaits {
                lock_id: id,
                wait: wait.summary(row.counted()),
                unfinished: thread.unfinished(lock, row),
            });
        }
    }
    (
        reports.into_iter().map(|(_, report)| report).collect(),
        of_threads,
    )
}

fn lock_report(lock: LockId, rows: &[(usize, &Row)], threads: &[&ThreadLocks]) -> LockReport {
    let (mut wait, mut counted) = (Merged::default(), Counted::default());
    let mut unfinished = Unfinished::default();
    for (index, row) in rows {
        wait.add(&row.wait);
        counted.add(row.counted());
        if let Some(thread) = threads.get(*index) {
            unfinished.add(thread.unfinished(&lock, row));
        }
    }
    let is_pause = lock.kind == LockKind::StopTheWorld;
    let requester = u32::try_from(lock.address).ok().filter(|tid| *tid != 0);
    LockReport {
        id: 0,
        address: (!is_pause).then(|| format!("{:#x}", lock.address)),
        requested_by: requester.filter(|_| is_pause),
        kind: lock.kind,
        purpose: lock.purpose,
        threads: rows.len() as u64,
        wait: wait.summary(counted),
        unfinished,
    }
}

#[cfg(test)]
mod tests;
