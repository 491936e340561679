//! What happened between two looks.

use crate::model::{Storm, StormHolder, StormKind, StormThread, StormThresholds};
use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet, VecDeque},
    hash::Hash,
};

/// Threads that are kept apart; those that waited least are only counted.
const MAX_THREADS: usize = 4_096;
/// Threads that a storm names.
const NAMED: usize = 16;
/// Where their rate makes a storm, this part of the voluntary switches is to be for a GIL at least,
const FOR_GIL: f64 = 0.1;
/// and this part of those in vain.
const IN_VAIN: f64 = 0.02;

/// A stretch between two looks, or several that follow each other.
#[derive(Clone, Debug, Default)]
pub(super) struct Slice {
    pub from_ns: u64,
    pub to_ns: u64,
    /// Time in which at least one thread waited.
    pub contended_ns: u64,
    pub waited_ns: u64,
    pub on_cpu_ns: u64,
    pub runnable_ns: u64,
    pub system_ns: Option<u64>,
    pub futile_wakeups: u64,
    pub voluntary_switches: u64,
    pub gil_switches: u64,
    /// Threads that wait at its end; the most of several.
    pub waiters: u64,
    pub events_lost: u64,
    /// Time waited, by thread.
    pub threads: HashMap<u32, u64>,
    /// Threads that are not there any more.
    pub dropped: u64,
    /// Time that others waited, by who had the GIL.
    pub holders: HashMap<u32, u64>,
    /// The same by where it was: the holder and its stack.
    pub places: HashMap<(u32, usize), u64>,
}

impl Slice {
    pub fn length_ns(&self) -> u64 {
        self.to_ns.saturating_sub(self.from_ns)
    }

    /// Adds the one that follows.
    pub fn add(&mut self, next: &Slice) {
        if self.to_ns == 0 {
            self.from_ns = next.from_ns;
        }
        self.to_ns = next.to_ns;
        self.contended_ns = self.contended_ns.saturating_add(next.contended_ns);
        self.waited_ns = self.waited_ns.saturating_add(next.waited_ns);
        self.on_cpu_ns = self.on_cpu_ns.saturating_add(next.on_cpu_ns);
        self.runnable_ns = self.runnable_ns.saturating_add(next.runnable_ns);
        let known = self.system_ns.is_some() || next.system_ns.is_some();
        let system_ns = (self.system_ns.unwrap_or(0)).saturating_add(next.system_ns.unwrap_or(0));
        self.system_ns = known.then_some(system_ns);
        self.futile_wakeups = self.futile_wakeups.saturating_add(next.futile_wakeups);
        self.voluntary_switches = (self.voluntary_switches).saturating_add(next.voluntary_switches);
        self.gil_switches = self.gil_switches.saturating_add(next.gil_switches);
        self.waiters = self.waiters.max(next.waiters);
        self.events_lost = self.events_lost.saturating_add(next.events_lost);
        add_up(&mut self.threads, &next.threads);
        self.dropped = self.dropped.saturating_add(next.dropped);
        add_up(&mut self.holders, &next.holders);
        self.dropped = (self.dropped).saturating_add(keep_to_limit(&mut self.threads));
        keep_to_limit(&mut self.holders);
        add_up(&mut self.places, &next.places);
        keep_to_limit(&mut self.places);
    }

    /// The stack in which this thread was longest while others waited.
    fn place_of(&self, tid: u32) -> Option<usize> {
        let places = self.places.iter().filter(|((holder, _), _)| *holder == tid);
        let longest = places.max_by_key(|((_, stack), ns)| (**ns, Reverse(*stack)));
        longest.map(|((_, stack), _)| *stack)
    }

    /// What the report says of such a storm.
    pub fn storm(&self, kind: StormKind, started_at_ns: u64, length_ns: u64) -> Storm {
        let mut threads: Vec<_> = (self.threads.iter())
            .map(|(&tid, &waited_ns)| StormThread { tid, waited_ns })
            .collect();
        threads.sort_unstable_by_key(|thread| (Reverse(thread.waited_ns), thread.tid));
        let threads_waited = (threads.len() as u64).saturating_add(self.dropped);
        threads.truncate(NAMED);
        let holders = self.holders.iter().filter(|(_, ns)| **ns > 0);
        let top = holders.max_by_key(|(tid, blocked_ns)| (**blocked_ns, Reverse(**tid)));
        Storm {
            kind,
            gil_id: None,
            started_at_ns,
            length_ns,
            unfinished: false,
            figures_ns: self.length_ns(),
            waiters_peak: self.waiters,
            waited_ns: self.waited_ns,
            on_cpu_ns: self.on_cpu_ns,
            runnable_ns: self.runnable_ns,
            system_ns: self.system_ns,
            futile_wakeups: self.futile_wakeups,
            voluntary_switches: self.voluntary_switches,
            gil_switches: self.gil_switches,
            threads_waited,
            threads,
            top_holder: top.map(|(&tid, &blocked_ns)| StormHolder {
                tid,
                // Who waits tells as it wakes up, of time before the storm too.
                blocked_ns: blocked_ns.min(self.waited_ns),
                stack: self.place_of(tid),
            }),
            events_lost: self.events_lost,
        }
    }
}

fn add_up<K: Copy + Eq + Hash>(sums: &mut HashMap<K, u64>, more: &HashMap<K, u64>) {
    for (key, ns) in more {
        let sum = sums.entry(*key).or_default();
        *sum = sum.saturating_add(*ns);
    }
}

/// Forgets the smallest where there are twice as many as are kept; answers how many.
fn keep_to_limit<K: Eq + Hash>(sums: &mut HashMap<K, u64>) -> u64 {
    if sums.len() <= 2 * MAX_THREADS {
        return 0;
    }
    let mut all: Vec<_> = sums.drain().collect();
    all.sort_unstable_by_key(|(_, ns)| Reverse(*ns));
    let dropped = all.len() - MAX_THREADS;
    sums.extend(all.into_iter().take(MAX_THREADS));
    dropped as u64
}

/// Whether stretches of time together are stormy: by this share of the thresholds.
pub(super) fn is_stormy<'a>(
    slices: impl Iterator<Item = &'a Slice> + Clone,
    thresholds: &StormThresholds,
    share: f64,
) -> bool {
    let all = slices.clone();
    let (mut length, mut contended, mut waited, mut on_cpu) = (0.0, 0.0, 0.0, 0.0);
    let (mut voluntary, mut for_gil, mut futile) = (0.0, 0.0, 0.0);
    for slice in slices {
        length += slice.length_ns() as f64;
        contended += slice.contended_ns as f64;
        waited += slice.waited_ns as f64;
        on_cpu += slice.on_cpu_ns as f64;
        voluntary += slice.voluntary_switches as f64;
        for_gil += slice.gil_switches as f64;
        futile += slice.futile_wakeups as f64;
    }
    let waits = 100.0 * contended >= share * thresholds.contended_percent * length;
    let loses = 100.0 * waited >= share * thresholds.lost_percent * on_cpu;
    let switches = 1e9 * voluntary >= share * thresholds.switches_per_second * length
        && for_gil >= FOR_GIL * voluntary
        && futile >= IN_VAIN * for_gil;
    let threads = || {
        all.flat_map(|slice| slice.threads.keys())
            .collect::<HashSet<_>>()
    };
    let are_many = || threads().len() as f64 >= share * f64::from(thresholds.threads);
    length > 0.0 && waited > 0.0 && loses && (waits || (switches && are_many()))
}

/// The last slices: as few as are so long together, or all.
#[derive(Debug, Default)]
pub(super) struct Window {
    slices: VecDeque<Slice>,
    length_ns: u64,
}

impl Window {
    pub fn push(&mut self, slice: Slice, length_ns: u64) {
        self.length_ns = self.length_ns.saturating_add(slice.length_ns());
        self.slices.push_back(slice);
        while let Some(first) = self.slices.front()
            && self.length_ns.saturating_sub(first.length_ns()) >= length_ns
        {
            self.length_ns = self.length_ns.saturating_sub(first.length_ns());
            self.slices.pop_front();
        }
    }

    pub fn length_ns(&self) -> u64 {
        self.length_ns
    }

    pub fn iter(&self) -> impl Iterator<Item = &Slice> + Clone {
        self.slices.iter()
    }

    pub fn clear(&mut self) {
        self.slices.clear();
        self.length_ns = 0;
    }
}
