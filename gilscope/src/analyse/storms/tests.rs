#![allow(clippy::expect_used, reason = "a test")]

use super::*;
use crate::model::{Call, IntervalKind};

const MS: u64 = 1_000_000;
/// When the trace begins.
const ORIGIN: u64 = 5_000 * MS;

/// A made-up process, looked at every 100 ms.
struct Story {
    storms: Storms,
    now_ms: u64,
    on_cpu_ms: u64,
    voluntary_switches: u64,
    lost: u64,
    contended_ns: u64,
    /// By thread: waited, futile wake-ups, switches, and since when it waits.
    threads: BTreeMap<u32, (u64, u64, u64, Option<u64>)>,
}

impl Story {
    fn new() -> Self {
        Self::with(StormThresholds::default())
    }

    fn with(thresholds: StormThresholds) -> Self {
        Self {
            storms: Storms::new(ORIGIN, ORIGIN, thresholds),
            now_ms: 0,
            on_cpu_ms: 0,
            voluntary_switches: 0,
            lost: 0,
            contended_ns: 0,
            threads: BTreeMap::new(),
        }
    }

    /// 100 ms, in which it runs and each of these threads waits for so long; then a look.
    fn slice(&mut self, on_cpu_ms: u64, waited_ms: &[(u32, u64)]) {
        self.on_cpu_ms += on_cpu_ms;
        for (tid, ms) in waited_ms {
            self.threads.entry(*tid).or_default().0 += ms * MS;
        }
        self.contended_ns += waited_ms.iter().map(|(_, ms)| ms * MS).max().unwrap_or(0);
        self.look();
    }

    fn look(&mut self) {
        self.now_ms += 100;
        let totals = ThreadTotals {
            on_cpu_ns: self.on_cpu_ms * MS,
            voluntary_switches: self.voluntary_switches,
            ..ThreadTotals::default()
        };
        self.storms.thread(1, &totals);
        for (tid, (waited_ns, futile_wakeups, voluntary_switches, since_ms)) in &self.threads {
            let since_ns = since_ms.map(|since_ms| ORIGIN + since_ms * MS);
            let totals = GilTotals {
                wait_sum_ns: *waited_ns,
                futile_wakeups: *futile_wakeups,
                voluntary_switches: *voluntary_switches,
                waiting_since_ns: since_ns,
                ..GilTotals::default()
            };
            self.storms.gil(*tid, 0, &totals);
        }
        let look = Look {
            at_ns: ORIGIN + self.now_ms * MS,
            system_ns: Some(self.now_ms * MS / 10),
            events_lost: self.lost,
        };
        self.storms.look(&look, self.contended_ns);
    }

    fn slices(&mut self, number: usize, on_cpu_ms: u64, waited_ms: &[(u32, u64)]) {
        (0..number).for_each(|_| self.slice(on_cpu_ms, waited_ms));
    }

    fn wait(&mut self, tid: u32, from_ms: u64, to_ms: u64) {
        self.storms.wait(&Interval {
            pid: 1,
            tid,
            gil_id: 0,
            kind: IntervalKind::Wait,
            start_ns: ORIGIN + from_ms * MS,
            end_ns: ORIGIN + to_ms * MS,
            after: Call::Unknown,
        });
    }

    fn waits_since(&mut self, tid: u32, since_ms: Option<u64>) {
        self.threads.entry(tid).or_default().3 = since_ms;
    }

    /// Kind, start and length in ms, whether it goes on.
    fn found(self) -> Vec<(StormKind, u64, u64, bool)> {
        let (storms, _) = self.storms.report();
        let row = |one: Storm| {
            (
                one.kind,
                one.started_at_ns / MS,
                one.length_ns / MS,
                one.unfinished,
            )
        };
        storms.into_iter().map(row).collect()
    }
}

use StormKind::{Contention, Pause};

#[test]
fn a_calm_process_has_none() {
    let mut story = Story::new();
    // A tenth of the time with a waiter, now and then more.
    for _ in 0..20 {
        story.slices(4, 50, &[(1, 10), (2, 10)]);
        story.slice(50, &[(1, 40), (2, 40)]);
    }
    assert!(story.storms.news().is_empty());
    assert_eq!(story.found(), []);
}

#[test]
fn a_storm_begins_where_it_began_and_ends_where_it_ended() {
    let mut story = Story::new();
    story.slices(20, 50, &[]);
    story.slices(2, 90, &[(1, 80), (2, 60)]);
    assert!(story.storms.news().is_empty());
    story.slices(28, 90, &[(1, 80), (2, 60)]);
    let begun = story.storms.news();
    assert_eq!(begun.len(), 1);
    assert!(!begun.first().expect("news").is_over);
    story.slices(30, 50, &[(1, 1)]);
    let over = story.storms.news();
    let storm = &over.first().expect("news").storm;
    assert_eq!((over.len(), storm.waited_ns), (1, 30 * 140 * MS));
    assert_eq!(storm.system_ns, Some(300 * MS));
    let named: Vec<_> = storm
        .threads
        .iter()
        .map(|one| (one.tid, one.waited_ns))
        .collect();
    assert_eq!(named, [(1, 2_400 * MS), (2, 1_800 * MS)]);
    assert_eq!(story.found(), [(Contention, 2_000, 3_000, false)]);
}

#[test]
fn it_lasts_through_a_lull_and_above_half_of_the_thresholds() {
    let mut story = Story::new();
    story.slices(20, 90, &[(1, 60)]);
    story.slices(5, 90, &[]);
    story.slices(5, 90, &[(1, 60)]);
    story.slices(30, 90, &[(1, 15)]);
    story.slices(20, 90, &[(1, 60)]);
    assert_eq!(story.found(), [(Contention, 0, 8_000, true)]);
}

#[test]
fn many_processors_at_work_make_a_waiter_no_storm() {
    let mut story = Story::new();
    story.slices(30, 800, &[(1, 60)]);
    assert_eq!(story.found(), []);
}

#[test]
fn many_threads_that_switch_in_vain_make_one() {
    let storms = |threads: u32, voluntary: u64, for_gil: u64, futile: u64| {
        let mut story = Story::new();
        for _ in 0..30 {
            let thread = story.threads.entry(1).or_default();
            (thread.1, thread.2) = (thread.1 + futile, thread.2 + for_gil);
            story.voluntary_switches += voluntary;
            // A tenth of the time with a waiter, and as much lost as was done.
            let waits: Vec<_> = (1..=threads).map(|tid| (tid, 1)).collect();
            story.slice(threads.into(), &waits);
        }
        story.found().len()
    };
    // Idle pollers; few of them; the same less often, without the GIL, without a futile wake-up.
    assert_eq!(storms(45, 300, 80, 20), 1);
    assert_eq!(storms(5, 300, 80, 20), 0);
    assert_eq!(storms(45, 190, 80, 20), 0);
    assert_eq!(storms(45, 300, 20, 20), 0);
    assert_eq!(storms(45, 300, 80, 1), 0);
}

/// Each threshold is the one that was asked for: just below what happens it finds a storm, just above it none.
#[test]
fn thresholds_are_what_was_asked_for() {
    const PERCENT: [f64; 2] = [0.99, 1.01];
    let of = StormThresholds::default;
    // For 3 s it runs 90 % of the time, and one thread waits 60 %.
    let waits = |thresholds| {
        let mut story = Story::with(thresholds);
        story.slices(30, 90, &[(1, 60)]);
        story.found().len()
    };
    let contended = PERCENT.map(|near| {
        waits(StormThresholds {
            contended_percent: 60.0 * near,
            ..of()
        })
    });
    assert_eq!(contended, [1, 0]);
    let lost = PERCENT.map(|near| {
        waits(StormThresholds {
            lost_percent: 100.0 * 60.0 / 90.0 * near,
            ..of()
        })
    });
    assert_eq!(lost, [1, 0]);
    let lengths = [3_000, 3_001].map(|ms| {
        waits(StormThresholds {
            length_ns: ms * MS,
            ..of()
        })
    });
    assert_eq!(lengths, [1, 0]);
    // 10 threads wait 1 % of the time each, and sleep 400 times a second together.
    let switches = |switches_per_second, threads| {
        let mut story = Story::with(StormThresholds {
            switches_per_second,
            threads,
            ..of()
        });
        let waits: Vec<_> = (1..=10).map(|tid| (tid, 1)).collect();
        for _ in 0..30 {
            let thread = story.threads.entry(1).or_default();
            (thread.1, thread.2) = (thread.1 + 20, thread.2 + 40);
            story.voluntary_switches += 40;
            story.slice(10, &waits);
        }
        story.found().len()
    };
    let found =
        [(399.0, 10), (401.0, 10), (399.0, 11)].map(|(rate, number)| switches(rate, number));
    assert_eq!(found, [1, 0, 0]);
    let pauses = [130, 131].map(|ms| {
        let mut story = Story::with(StormThresholds {
            pause_ns: ms * MS,
            ..of()
        });
        story.slice(90, &[]);
        story.wait(1, 110, 240);
        story.slices(3, 90, &[]);
        story.found().len()
    });
    assert_eq!(pauses, [1, 0]);
}

#[test]
fn a_wait_that_is_not_seen_for_a_moment_counts_once() {
    let mut story = Story::new();
    story.slices(20, 10, &[(1, 100)]);
    let before = story.threads.insert(1, (0, 0, 0, None)).expect("a thread");
    story.slice(10, &[]);
    story.threads.insert(1, before);
    story.contended_ns += 100 * MS;
    story.slice(10, &[(1, 100)]);
    let (storms, _) = story.storms.report();
    assert_eq!(storms.first().map(|one| one.waited_ns), Some(2_100 * MS));
}

#[test]
fn a_pause_is_told_by_its_records() {
    let mut story = Story::new();
    story.slices(3, 90, &[]);
    // One that others get past is none.
    story.wait(2, 310, 360);
    story.wait(1, 300, 420);
    story.slice(90, &[(1, 120), (2, 50)]);
    // Nobody gets it from 450 to 600; the first began to wait at 470.
    story.wait(3, 440, 450);
    story.wait(1, 470, 600);
    story.slices(3, 90, &[(1, 130), (3, 10)]);
    assert_eq!(story.found(), [(Pause, 470, 130, false)]);
}

#[test]
fn another_that_waits_for_longer_begins_it() {
    let mut story = Story::new();
    story.waits_since(1, Some(20));
    story.slice(100, &[(1, 80)]);
    story.wait(2, 110, 150);
    story.slice(100, &[(1, 100), (2, 40)]);
    assert_eq!(story.storms.news().len(), 1);
    story.waits_since(1, None);
    story.wait(1, 20, 205);
    story.slice(100, &[(1, 5)]);
    assert_eq!(story.found(), [(Pause, 20, 130, false)]);
}

#[test]
fn a_pause_under_way_is_told_and_reported() {
    let mut story = Story::new();
    story.waits_since(1, Some(50));
    story.storms.blocked(&holder(2), 30 * MS);
    for (tid, stack, ms) in [(2, 5, 10), (2, 7, 20), (3, 8, 40)] {
        story.storms.blocked_at(tid, stack, ms * MS);
    }
    story.slices(12, 0, &[(1, 100)]);
    let news = story.storms.news();
    assert_eq!(news.iter().filter(|one| one.storm.kind == Pause).count(), 1);
    story.slices(18, 0, &[(1, 100)]);
    let (storms, _) = story.storms.report();
    let pause = storms
        .iter()
        .find(|one| one.kind == Pause)
        .expect("a pause");
    assert_eq!(
        (pause.started_at_ns, pause.length_ns),
        (50 * MS, 2_950 * MS)
    );
    assert_eq!((pause.gil_id, pause.waiters_peak), (Some(0), 1));
    let holder = pause.top_holder.map(|holder| (holder.tid, holder.stack));
    assert_eq!(holder, Some((2, Some(7))));
    assert!(pause.unfinished);
}

/// Who waits for a semaphore wakes up only when it is free, and tells then who had it all the time.
#[test]
fn nobody_has_it_for_longer_than_others_wait() {
    let mut story = Story::new();
    story.waits_since(1, Some(50));
    story.storms.blocked(&holder(2), 900 * MS);
    story.slices(3, 0, &[(1, 100)]);
    let (storms, _) = story.storms.report();
    let storms = storms.iter().map(|storm| {
        let holder = storm.top_holder.as_ref();
        (holder.map(|holder| holder.blocked_ns), storm.waited_ns)
    });
    let storms: Vec<_> = storms.collect();
    assert!(!storms.is_empty());
    for (blocked_ns, waited_ns) in storms {
        assert_eq!(blocked_ns, Some(waited_ns));
    }
}

#[test]
fn a_pause_whose_end_was_not_recorded_ends_with_the_last_look_that_saw_it() {
    let mut story = Story::new();
    story.waits_since(1, Some(50));
    story.slices(3, 0, &[(1, 100)]);
    story.lost = 7;
    story.waits_since(1, None);
    story.slices(2, 100, &[]);
    let (storms, _) = story.storms.report();
    let found: Vec<_> = storms
        .iter()
        .map(|one| (one.kind, one.length_ns, one.events_lost))
        .collect();
    assert_eq!(found, [(Pause, 250 * MS, 7)]);
}

#[test]
fn the_worst_are_kept_and_the_others_counted() {
    let mut story = Story::new();
    for at in 0..300 {
        let from_ms = (at + 1) * 10_000;
        story.now_ms = from_ms + 900;
        story.wait(1, from_ms + 10, from_ms + 210 + at);
        story.slice(90, &[(1, 200 + at)]);
    }
    let (storms, others) = story.storms.report();
    let others = others.expect("too many");
    assert_eq!((storms.len(), others.storms), (100, 200));
    assert!(storms.is_sorted_by_key(|one| std::cmp::Reverse(one.waited_ns)));
    assert_eq!(storms.first().map(|one| one.length_ns), Some(499 * MS));
}

fn holder(tid: u32) -> Blocking {
    Blocking {
        waiter: 1,
        started_ns: 0,
        gil_id: 0,
        holder: Some(tid),
        parts: 1,
        sum_ns: 0,
        max_ns: Some(0),
        on_cpu_ns: 0,
        runnable_ns: 0,
        asleep_ns: 0,
    }
}
