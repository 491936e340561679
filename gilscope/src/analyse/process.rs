//! The events of one process in, its findings out.

use super::after::After;
use super::asleep::Asleep;
use super::blocked::Blocked;
use super::contended::Contended;
use super::locks::{self, DEFAULT_MAX_LOCKS, Locks};
use super::merged::Counted;
use super::others::Others;
use super::samples::Samples;
use super::storms::Storms;
use super::thread::Thread;
use super::waited_at::WaitedAt;
use crate::model::{
    AsleepWithGil, BlockedAt, BlockedBy, Blocking, Event, GilTotals, HistogramSummary,
    HolderSleeps, Interval, IntervalKind, LockReport, LockTotals, LockWait, Look, OtherBlockedAt,
    OtherLocks, OtherStorms, OtherThreads, PythonStack, Storm, StormNews, StormThresholds,
    ThreadEnd, ThreadReport, ThreadStart, ThreadTotals, WaitLoss, WaitsAfter,
};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// Rows for threads, unless an option says otherwise.
pub const DEFAULT_MAX_THREADS: usize = 4_096;

/// What has been seen of one process.
///
/// Times are `CLOCK_MONOTONIC` nanoseconds. Events may come a little out of order. What the kernel
/// counted has to be read *after* the last record was taken, or records seem to be more than waits.
#[derive(Debug)]
pub struct Process {
    origin_ns: u64,
    from_ns: u64,
    max_threads: usize,
    live: HashMap<u32, Thread>,
    /// Ended threads, least waited first, then first ended first.
    ended: BTreeMap<EndedKey, Thread>,
    /// Where in `ended` the last thread with this id is.
    last_ended: HashMap<u32, EndedKey>,
    others: Others,
    contended: Contended,
    waits: Counted,
    ends: u64,
    max_locks: usize,
    locks: Locks,
    blocked: Blocked,
    asleep: Asleep,
    after: After,
    waited_at: WaitedAt,
    storms: Storms,
    samples: Samples,
}

/// Time waited, and a running number.
type EndedKey = (u64, u64);

/// What the report says of a process's waits.
#[derive(Debug)]
pub struct Findings {
    /// Waits of all threads for any of its GILs.
    pub gil_wait: HistogramSummary,
    /// Time in which at least one thread waited, unfinished waits included.
    pub contended_ns: u64,
    /// How much more that may be, because waits were recorded very late; 0 as a rule.
    pub contended_uncertain_ns: u64,
    /// Most waited first.
    pub threads: Vec<ThreadReport>,
    /// Ended threads beyond the row limit.
    pub other_threads: Option<OtherThreads>,
    /// Waits that the kernel counted and that never arrived.
    pub loss: WaitLoss,
    /// Locks that are no GIL, most waited for first.
    pub locks: Vec<LockReport>,
    /// Waits for such locks beyond the row limit.
    pub other_locks: Option<OtherLocks>,
    /// Waits for such locks that the kernel counted and that never arrived.
    pub lock_loss: WaitLoss,
    /// Who had a GIL while others waited for it.
    pub blocked_by: Vec<BlockedBy>,
    /// Time waited in which nobody had the GIL.
    pub blocked_by_nobody_ns: u64,
    /// Time waited in which it is not known who had the GIL.
    pub blocked_by_unknown_ns: u64,
    /// Who slept with a GIL held while others waited for it.
    pub asleep_with_gil: Vec<AsleepWithGil>,
    /// Recorded waits by what came before.
    pub waits_after: Vec<WaitsAfter>,
    /// Where threads waited, and where the holder was.
    pub waited_at: Vec<BlockedAt>,
    /// Time waited for which both are known.
    pub waited_at_both_ns: u64,
    /// Rows beyond the limit.
    pub other_waited_at: Option<OtherBlockedAt>,
    /// The stacks of the rows.
    pub stacks: Vec<PythonStack>,
    /// Time that all threads waited.
    pub waited_ns: u64,
    /// Stretches of time in which it lost more than it should.
    pub storms: Vec<Storm>,
    /// Storms beyond the limit.
    pub other_storms: Option<OtherStorms>,
    /// Looks at who had a GIL.
    pub samples: Samples,
}

impl Process {
    /// A process that is followed from `from_ns` on, in a trace that began at `origin_ns`. At most
    /// `max_threads` rows are kept: ended threads beyond, those that waited least first, are merged.
    /// Live threads always have a row.
    pub fn new(origin_ns: u64, from_ns: u64, max_threads: usize) -> Self {
        Self {
            origin_ns,
            from_ns,
            max_threads,
            live: HashMap::new(),
            ended: BTreeMap::new(),
            last_ended: HashMap::new(),
            others: Others::default(),
            contended: Contended::default(),
            waits: Counted::default(),
            ends: 0,
            max_locks: DEFAULT_MAX_LOCKS,
            locks: Locks::default(),
            blocked: Blocked::default(),
            asleep: Asleep::default(),
            after: After::default(),
            waited_at: WaitedAt::default(),
            storms: Storms::new(origin_ns, from_ns, StormThresholds::default()),
            samples: Samples::default(),
        }
    }

    /// The same with at most so many rows for locks, each of a thread and a lock.
    pub fn with_max_locks(self, max_locks: usize) -> Self {
        Self { max_locks, ..self }
    }

    /// The same with thresholds of its own for what is a storm.
    pub fn with_storms(self, thresholds: StormThresholds) -> Self {
        let storms = Storms::new(self.origin_ns, self.from_ns, thresholds);
        Self { storms, ..self }
    }

    /// Takes an event of this process. One of a thread that is not known makes it known; one of a
    /// thread that has ended belongs to that one until another with the same id begins, so a thread's
    /// [`Event::ThreadStart`] has to come before anything else of it.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Interval(interval) => self.interval(&interval),
            Event::ThreadStart(start) => self.start(&start),
            Event::ThreadEnd(end) => self.end(end),
            Event::ThreadFacts(tid, facts) => self.with(tid, |thread| thread.learn(facts)),
            Event::ThreadTotals(tid, totals) => self.thread_totals(tid, totals),
            Event::GilTotals(tid, gil_id, totals) => self.gil_totals(tid, gil_id, totals),
            Event::Lock(wait) => self.lock(&wait),
            Event::LockTotals(tid, totals) => self.lock_totals(tid, totals),
            Event::Blocking(blocking) => self.blocking(blocking),
            Event::HolderSleeps(said) => self.holder_sleeps(said),
            Event::Stack(number, stack) => self.waited_at.read(number, stack),
            Event::WaitedAt(more) => {
                if more.holder.is_none_or(|holder| self.is_known(holder)) {
                    let stack = self.waited_at.add(&more);
                    if let Some((holder, stack)) = more.holder.zip(stack) {
                        self.storms.blocked_at(holder, stack, more.sum_ns);
                    }
                }
            }
            Event::Look(look) => self.look(&look),
            Event::Sample(sample) => self.samples.add(sample),
        }
    }

    /// A holder that is no thread of the process is nobody that is known: the target's memory says who it is.
    fn blocking(&mut self, said: Blocking) {
        if said.holder.is_none_or(|holder| self.is_known(holder)) {
            let more_ns = self.blocked.set(said);
            self.storms.blocked(&said, more_ns);
        }
    }

    fn holder_sleeps(&mut self, said: HolderSleeps) {
        if self.is_known(said.holder) {
            self.asleep.set(said);
        }
    }

    fn is_known(&self, tid: u32) -> bool {
        self.live.contains_key(&tid) || self.last_ended.contains_key(&tid)
    }

    fn look(&mut self, look: &Look) {
        let waiting_since_ns = self.storms.waiting_since_ns().unwrap_or(look.at_ns);
        let contended_ns = self.contended.total_with_ns(waiting_since_ns, look.at_ns);
        self.storms.look(look, contended_ns);
    }

    /// Storms that have begun, or are over, since this was asked last.
    pub fn news(&mut self) -> Vec<StormNews> {
        self.storms.news()
    }

    /// Whether this thread is alive.
    pub fn is_live(&self, tid: u32) -> bool {
        self.live.contains_key(&tid)
    }

    /// Rows for threads.
    pub fn max_threads(&self) -> usize {
        self.max_threads
    }

    /// Threads that are alive.
    pub fn live_threads(&self) -> usize {
        self.live.len()
    }

    /// Their ids.
    pub fn live_ids(&self) -> impl Iterator<Item = u32> {
        self.live.keys().copied()
    }

    /// Whether any thread ever had to do with a GIL.
    pub fn has_waits(&self) -> bool {
        let has = |thread: &Thread| thread.waited_ns() > 0 || !thread.gils.is_empty();
        self.waits.count > 0
            || self.others.report().is_some()
            || self.live.values().chain(self.ended.values()).any(has)
    }

    /// Waits recorded so far.
    pub fn recorded(&self) -> Counted {
        self.waits
    }

    /// Time so far in which at least one thread waited.
    pub fn contended_ns(&self) -> u64 {
        self.contended.total_ns()
    }

    fn interval(&mut self, interval: &Interval) {
        if interval.kind == IntervalKind::Wait {
            let length_ns = interval.end_ns.saturating_sub(interval.start_ns);
            self.waits.add(Counted {
                count: 1,
                sum_ns: length_ns,
                max_ns: length_ns,
            });
            self.contended.add(interval.start_ns, interval.end_ns);
            self.after.add(interval.after, length_ns);
            self.storms.wait(interval);
        }
        self.with(interval.tid, |thread| thread.record(interval));
    }

    fn start(&mut self, start: &ThreadStart) {
        self.last_ended.remove(&start.tid);
        let thread = self.live.entry(start.tid).or_default();
        thread.tid = start.tid;
        thread
            .started_ns
            .get_or_insert(start.at_ns.max(self.from_ns));
        self.keep_to_limit();
    }

    fn end(&mut self, end: ThreadEnd) {
        self.storms.thread_ended(end.tid);
        self.with(end.tid, |thread| {
            thread.ended_ns.get_or_insert(end.at_ns);
            thread.facts.os_name = end.os_name.or(thread.facts.os_name.take());
        });
        if let Some(thread) = self.live.remove(&end.tid) {
            self.keep_ended(thread);
        }
    }

    fn thread_totals(&mut self, tid: u32, totals: ThreadTotals) {
        self.storms.thread(tid, &totals);
        self.with(tid, |thread| thread.totals = totals);
    }

    fn gil_totals(&mut self, tid: u32, gil_id: u32, totals: GilTotals) {
        self.storms.gil(tid, gil_id, &totals);
        let mut before = GilTotals::default();
        self.with(tid, |thread| before = thread.count(gil_id, totals));
        if before.unfinished_at_start_ns != totals.unfinished_at_start_ns {
            let end_ns = self.from_ns.saturating_add(totals.unfinished_at_start_ns);
            self.contended.add(self.from_ns, end_ns);
        }
    }

    fn lock(&mut self, wait: &LockWait) {
        let mut is_new = false;
        self.with(wait.tid, |thread| is_new = thread.locks.record(wait));
        self.locks.rows += usize::from(is_new);
        if self.locks.are_too_many(self.max_locks) {
            self.keep_locks_to_limit();
        }
    }

    fn lock_totals(&mut self, tid: u32, totals: LockTotals) {
        let mut is_new = false;
        self.with(tid, |thread| is_new = thread.locks.count(totals));
        self.locks.rows += usize::from(is_new);
    }

    fn keep_locks_to_limit(&mut self) {
        let threads = self.live.values_mut().chain(self.ended.values_mut());
        let locks = threads.map(|thread| &mut thread.locks);
        self.locks.keep_to_limit(locks, self.max_locks);
    }

    /// What lies at these addresses is no lock: waits for it so far are left out.
    pub fn forget_locks(&mut self, addresses: &Range<u64>) {
        for thread in self.live.values_mut().chain(self.ended.values_mut()) {
            thread.locks.forget(addresses);
        }
    }

    /// Does something with the thread that an event is about.
    fn with(&mut self, tid: u32, change: impl FnOnce(&mut Thread)) {
        if let Some(thread) = self.live.get_mut(&tid) {
            change(thread);
        } else if let Some(mut thread) = self
            .last_ended
            .remove(&tid)
            .and_then(|key| self.ended.remove(&key))
        {
            change(&mut thread);
            self.keep_ended(thread);
        } else {
            let mut thread = Thread {
                tid,
                ..Thread::default()
            };
            change(&mut thread);
            self.live.insert(tid, thread);
            self.keep_to_limit();
        }
    }

    fn keep_ended(&mut self, mut thread: Thread) {
        thread.compact();
        self.ends += 1;
        let key = (thread.waited_ns(), self.ends);
        self.last_ended.insert(thread.tid, key);
        self.ended.insert(key, thread);
        self.keep_to_limit();
    }

    fn keep_to_limit(&mut self) {
        while self.live.len() + self.ended.len() > self.max_threads {
            let Some((key, mut thread)) = self.ended.pop_first() else {
                return;
            };
            if self.last_ended.get(&thread.tid) == Some(&key) {
                self.last_ended.remove(&thread.tid);
            }
            self.count_unfinished(&thread, self.from_ns);
            self.others.add(&thread);
            self.locks.merge_all(&mut thread.locks);
        }
    }

    /// What was found until `end_ns`, the end of the trace or of the process.
    pub fn finish(mut self, end_ns: u64) -> Findings {
        self.keep_locks_to_limit();
        let ended = std::mem::take(&mut self.ended).into_values();
        let threads: Vec<Thread> = self
            .live
            .drain()
            .map(|(_, thread)| thread)
            .chain(ended)
            .collect();
        let (mut wait, mut waits) = (self.others.wait().clone(), self.others.waits());
        let mut loss = self.others.loss();
        let mut waited_ns = self.others.waited_ns();
        for thread in &threads {
            waited_ns = waited_ns.saturating_add(thread.waited_ns());
            self.count_unfinished(thread, end_ns);
            loss.add(thread.loss());
            for gil in &thread.gils {
                wait.add(gil.wait_histogram());
                waits.add(gil.waits());
            }
        }
        let mut lock_loss = self.locks.loss;
        threads
            .iter()
            .for_each(|thread| lock_loss.add(thread.locks.loss()));
        let all: Vec<_> = threads.iter().map(|thread| &thread.locks).collect();
        let (locks, of_threads) = locks::report(&all);
        let reports = threads
            .into_iter()
            .zip(of_threads)
            .map(|(thread, locks)| ThreadReport {
                locks,
                ..thread.report(self.origin_ns, self.from_ns, end_ns)
            });
        let mut threads: Vec<ThreadReport> = reports.collect();
        threads.sort_by_key(|thread| (std::cmp::Reverse(thread.waited_ns()), thread.tid));
        let (blocked_by, blocked_by_nobody_ns) = self.blocked.report();
        let known_ns = (blocked_by.iter()).fold(blocked_by_nobody_ns, |sum, row| {
            row.sum_ns.saturating_add(sum)
        });
        let (mut storms, other_storms) = self.storms.report();
        let places = self.waited_at.report(&mut storms);
        Findings {
            asleep_with_gil: self.asleep.report(&blocked_by),
            waits_after: self.after.report(),
            waited_at: places.rows,
            waited_at_both_ns: places.both_ns,
            other_waited_at: places.others,
            stacks: places.stacks,
            waited_ns,
            storms,
            other_storms,
            samples: self.samples,
            blocked_by,
            blocked_by_nobody_ns,
            blocked_by_unknown_ns: waited_ns.saturating_sub(known_ns),
            gil_wait: wait.summary(waits),
            contended_ns: self.contended.total_ns(),
            contended_uncertain_ns: self.contended.uncertain_ns(),
            threads,
            other_threads: self.others.report(),
            loss,
            locks,
            other_locks: self.locks.others(),
            lock_loss,
        }
    }

    /// A wait that was under way at the end of a thread or of the trace is contention too.
    fn count_unfinished(&mut self, thread: &Thread, end_ns: u64) {
        let end_ns = thread.ended_ns.unwrap_or(end_ns);
        for gil in &thread.gils {
            let length_ns = gil.unfinished().at_end_ns;
            self.contended
                .add(end_ns.saturating_sub(length_ns).max(self.from_ns), end_ns);
        }
    }
}

#[cfg(test)]
mod tests;
