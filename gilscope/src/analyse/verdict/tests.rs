#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::model::{
    BlockedBy, CpuTime, Deadlock, Doing, DumpLock, DumpThread, Frame, GilInfo, GilWaits, Held,
    HistogramSummary, LockKind, LockReport, LockWaits, Owner, Purpose, Sample, Sampled, Stack,
    ThreadReport, Unfinished, WaitParts,
};
use crate::model::{FoundBy, WaitSource};

const MS: u64 = 1_000_000;
/// The trace was ten seconds long.
const ALL_NS: u64 = 10_000 * MS;

fn waits(count: u64, sum_ms: u64) -> HistogramSummary {
    HistogramSummary {
        count,
        sum_ns: sum_ms * MS,
        ..HistogramSummary::default()
    }
}

/// A thread that ran so long, and waited for the GIL so often and so long.
fn thread(tid: u32, on_cpu_ms: u64, count: u64, waited_ms: u64) -> ThreadReport {
    ThreadReport {
        tid,
        observed_ns: ALL_NS,
        cpu: CpuTime {
            on_cpu_ns: on_cpu_ms * MS,
            ..CpuTime::default()
        },
        gil: vec![GilWaits {
            wait: waits(count, waited_ms),
            ..GilWaits::default()
        }],
        ..ThreadReport::default()
    }
}

fn process(threads: Vec<ThreadReport>, contended_ms: u64) -> ProcessReport {
    let gil = GilInfo {
        id: 0,
        address: "0x1000".to_owned(),
        interpreters: vec![0],
        python: "3.12.1".to_owned(),
        free_threaded: false,
        enabled: true,
        found_by: FoundBy::RuntimeSymbol,
        source: WaitSource::Futex,
        measured_from_ns: 0,
    };
    let of = |thread: &ThreadReport| thread.gil[0].wait.clone();
    let (count, sum_ns) = threads.iter().map(of).fold((0, 0), |sum, wait| {
        (sum.0 + wait.count, sum.1 + wait.sum_ns)
    });
    ProcessReport {
        observed_ns: ALL_NS,
        contended_ns: contended_ms * MS,
        gils: vec![gil],
        gils_not_traced: 0,
        gil_wait: waits(count, sum_ns / MS),
        threads,
        ..ProcessReport::default()
    }
}

fn frames(names: &[&str]) -> Vec<Frame> {
    let frame = |name: &&str| Frame {
        name: (*name).to_owned(),
        qualified_name: None,
        file: "app.py".to_owned(),
        line: Some(7),
    };
    names.iter().map(frame).collect()
}

fn held(holder: u32, names: &[&str]) -> Held {
    Held {
        holder,
        is_asleep: false,
        is_collecting: Some(false),
        stack: Some(PythonStack {
            frames: frames(names),
            truncated: false,
            unreadable: 0,
        }),
    }
}

/// A hundred looks, a tenth of a second apart: of each ten so many of this, and the rest at a free GIL.
fn looks(of_ten: usize, seen: &Held) -> Samples {
    let mut samples = Samples::default();
    for look in 0..100 {
        samples.add(Sample {
            at_ns: look as u64 * 100 * MS,
            gil_id: 0,
            seen: match look % 10 < of_ten {
                true => Sampled::Held(seen.clone()),
                false => Sampled::Free,
            },
        });
    }
    samples
}

fn blocked_by(waiter: u32, holder: u32, count: u64, on_cpu_ms: u64) -> BlockedBy {
    BlockedBy {
        waiter,
        gil_id: 0,
        holder,
        count,
        sum_ns: on_cpu_ms * MS,
        max_ns: Some(0),
        on_cpu_ns: on_cpu_ms * MS,
        runnable_ns: 0,
        asleep_ns: 0,
        unknown_ns: 0,
    }
}

/// What is found, in order, and the function of the first finding's place.
fn found(
    mut process: ProcessReport,
    samples: &Samples,
    dump: Option<&Dump>,
) -> (Vec<Rule>, Option<String>) {
    judge(&mut process, samples, false, dump);
    let first = process.findings[0].stack;
    let place = first.map(|stack| process.stacks[stack].frames[0].name.clone());
    let rules = process.findings.iter().map(|one| one.rule);
    (rules.collect(), place)
}

fn rules(process: ProcessReport, samples: &Samples) -> Vec<Rule> {
    found(process, samples, None).0
}

#[test]
fn nothing_is_wrong() {
    let quiet = process(vec![thread(1, 500, 20, 40)], 40);
    let few = looks(1, &held(1, &["work"]));
    assert_eq!(
        found(quiet.clone(), &few, None),
        (vec![Rule::Healthy], None)
    );
    let short = ProcessReport {
        observed_ns: 400 * MS,
        ..quiet.clone()
    };
    assert_eq!(rules(short, &few), [Rule::NotJudged]);
    let no_gil = ProcessReport {
        gils: Vec::new(),
        ..quiet.clone()
    };
    assert_eq!(rules(no_gil, &few), [Rule::NotJudged]);
    let not_all = ProcessReport {
        gils_not_traced: 1,
        ..quiet
    };
    assert_eq!(rules(not_all, &few), [Rule::NotJudged]);
}

#[test]
fn asleep_with_gil() {
    let asleep = Held {
        is_asleep: true,
        ..held(1, &["usleep"])
    };
    let waited = || process(vec![thread(2, 5, 90, 8_000)], 8_000);
    let (rules_found, place) = found(waited(), &looks(9, &asleep), None);
    assert_eq!(rules_found[0], Rule::AsleepWithGil);
    assert_eq!(place.as_deref(), Some("usleep"));
    // Nobody minds.
    let alone = process(vec![thread(1, 5, 0, 0)], 0);
    assert_eq!(rules(alone, &looks(9, &asleep)), [Rule::Healthy]);
}

#[test]
fn gc_pauses() {
    let collecting = Held {
        is_collecting: Some(true),
        ..held(1, &["audit"])
    };
    let waited = || process(vec![thread(1, 3_000, 200, 2_000)], 2_000);
    let expected = (vec![Rule::GcPauses], Some("audit".to_owned()));
    assert_eq!(found(waited(), &looks(3, &collecting), None), expected);
    assert_eq!(rules(waited(), &looks(0, &collecting)), [Rule::Healthy]);
    // Nobody minds.
    let alone = process(vec![thread(1, 3_000, 0, 0)], 0);
    assert_eq!(rules(alone, &looks(3, &collecting)), [Rule::Healthy]);
}

/// Python gives the GIL away after 5 ms, on average sooner.
#[test]
fn native_code_and_python_code_that_holds_the_gil() {
    let with = |count| ProcessReport {
        blocked_by: vec![blocked_by(2, 1, count, 8_000)],
        ..process(
            vec![thread(1, 9_000, 0, 0), thread(2, 5, count, 8_000)],
            8_000,
        )
    };
    let looks = looks(5, &held(1, &["match"]));
    let (rules_found, place) = found(with(80), &looks, None);
    assert_eq!(rules_found, [Rule::NativeHoldsGil, Rule::Convoy]);
    assert_eq!(place.as_deref(), Some("match"));
    assert_eq!(rules(with(1_600), &looks), [Rule::Convoy]);
}

/// Who waits for a semaphore sees who has it only as it is released.
#[test]
fn native_code_by_the_waits_alone() {
    let found = |is_semaphore, count, futile_wakeups| {
        let threads = vec![thread(1, 9_000, 0, 0), thread(2, 5, count, 9_000)];
        let mut process = process(threads, 9_000);
        process.blocked_by_unknown_ns = 9_000 * MS;
        process.threads[1].gil[0].futile_wakeups = futile_wakeups;
        judge(
            &mut process,
            &looks(5, &held(1, &["match"])),
            is_semaphore,
            None,
        );
        process.findings[0].rule
    };
    assert_eq!(found(true, 30, 10), Rule::NativeHoldsGil);
    assert_eq!(found(true, 30, 3_000), Rule::Convoy);
    assert_eq!(found(true, 300, 10), Rule::Convoy);
    assert_eq!(found(false, 30, 10), Rule::Convoy);
}

#[test]
fn idle_pollers() {
    let pollers = |count, switches| {
        let one = |tid| {
            let mut thread = thread(tid, 20, 0, 0);
            thread.cpu.voluntary_switches = switches;
            thread
        };
        process((1..=count).map(one).collect(), 0)
    };
    let nobody = Samples::default();
    assert_eq!(rules(pollers(45, 500), &nobody), [Rule::IdlePollers]);
    // Few threads, or such that sleep for long.
    assert_eq!(rules(pollers(8, 500), &nobody), [Rule::Healthy]);
    assert_eq!(rules(pollers(45, 20), &nobody), [Rule::Healthy]);
    // Those that others wake up, as they have something for them.
    let mut dump = dump(&[None; 45]);
    for (name, rule) in [("recvfrom", Rule::Healthy), ("select", Rule::IdlePollers)] {
        for thread in &mut dump.threads {
            let name = Some(name);
            thread.doing = Doing::SystemCall { number: 0, name };
        }
        let (rules, _) = found(pollers(45, 500), &nobody, Some(&dump));
        assert_eq!(rules, [rule], "{name}");
    }
    // Those that do something each time.
    let mut busy = pollers(45, 500);
    busy.threads
        .iter_mut()
        .for_each(|it| it.cpu.on_cpu_ns = 450 * MS);
    assert_eq!(rules(busy, &nobody), [Rule::Healthy]);
}

#[test]
fn gil_thrash() {
    let with = |futile_wakeups| {
        let mut process = process(vec![thread(1, 5_000, 900, 2_000)], 2_000);
        process.threads[0].gil[0].futile_wakeups = futile_wakeups;
        process.threads[0].gil[0].voluntary_switches = 40_000;
        process
    };
    assert_eq!(rules(with(30_000), &Samples::default()), [Rule::GilThrash]);
    assert_eq!(rules(with(3_000), &Samples::default()), [Rule::Healthy]);
}

/// Who runs little waits behind who computes; those that compute wait for each other.
#[test]
fn convoy_and_gil_bound() {
    let echo = |count| {
        process(
            vec![thread(1, 9_000, 0, 0), thread(2, 100, count, 4_000)],
            4_000,
        )
    };
    let spin = looks(7, &held(1, &["spin"]));
    let expected = (vec![Rule::Convoy], Some("spin".to_owned()));
    assert_eq!(found(echo(800), &spin, None), expected);
    // Short waits are none behind who computes.
    assert_eq!(rules(echo(80_000), &spin), [Rule::Healthy]);
    let computing = (1..=4).map(|tid| thread(tid, 2_500, 500, 7_500));
    let bound = process(computing.collect(), 10_000);
    assert_eq!(rules(bound, &spin), [Rule::GilBound]);
    // One that computes, and one that waits all the time to run for a moment.
    let one = process(
        vec![thread(1, 9_000, 500, 1_000), thread(2, 50, 500, 9_500)],
        9_500,
    );
    assert_eq!(rules(one, &spin), [Rule::Convoy]);
}

#[test]
fn tight_loop() {
    let alone = || process(vec![thread(1, 9_900, 0, 0)], 0);
    let expected = (vec![Rule::TightLoop], Some("loop".to_owned()));
    assert_eq!(
        found(alone(), &looks(9, &held(1, &["loop"])), None),
        expected
    );
    assert_eq!(
        rules(alone(), &looks(6, &held(1, &["loop"]))),
        [Rule::Healthy]
    );
}

/// To be woken for the GIL and to have no processor is a wait for the GIL.
#[test]
fn oversubscribed() {
    let with = |in_waits_ms| {
        let mut process = process(vec![thread(1, 4_000, 0, 0)], 0);
        process.threads[0].cpu.runnable_ns = 6_000 * MS;
        process.threads[0].gil[0].wait_parts = WaitParts {
            runnable_ns: in_waits_ms * MS,
            ..WaitParts::default()
        };
        process
    };
    assert_eq!(rules(with(0), &Samples::default()), [Rule::Oversubscribed]);
    assert_eq!(rules(with(5_000), &Samples::default()), [Rule::Healthy]);
}

/// Threads that wait for a lock, each with the owner of its lock; where they are.
fn dump(owners: &[Option<Owner>]) -> Dump {
    let threads = (1..).zip(0..owners.len()).map(|(tid, lock)| DumpThread {
        tid,
        ns_tid: None,
        name: None,
        os_name: String::new(),
        state: 'S',
        doing: Doing::WaitsForLock {
            lock_id: u32::try_from(lock).unwrap(),
            timed: false,
        },
        asleep_ns: None,
        stacks: vec![Stack {
            interpreter: 0,
            frames: frames(&["acquire", "emit"]),
            truncated: false,
            unreadable: 0,
            consistent: true,
        }],
    });
    let locks = (0..).zip(owners).map(|(id, owner)| DumpLock {
        id,
        address: String::new(),
        kind: LockKind::Semaphore,
        rlock: true,
        owner: *owner,
        inferred_owners: Vec::new(),
    });
    Dump {
        threads: threads.collect(),
        locks: locks.collect(),
        ..Dump::default()
    }
}

#[test]
fn threads_that_wait_for_each_other() {
    let mut circle = dump(&[Some(Owner::Thread(2)), Some(Owner::Thread(1))]);
    let quiet = || process(vec![thread(1, 0, 0, 0), thread(2, 0, 0, 0)], 0);
    let nobody = Samples::default();
    // Who looks for circles has found none.
    assert_eq!(found(quiet(), &nobody, Some(&circle)).0, [Rule::Healthy]);
    circle.deadlocks = vec![Deadlock {
        threads: vec![1, 2],
        inferred: false,
    }];
    let expected = (vec![Rule::Deadlock], Some("acquire".to_owned()));
    assert_eq!(found(quiet(), &nobody, Some(&circle)), expected);
    // What is not certain is said.
    circle.deadlocks[0].inferred = true;
    assert_eq!(found(quiet(), &nobody, Some(&circle)), expected);
}

#[test]
fn a_lock_whose_owner_is_not_here() {
    let quiet = || process(vec![thread(1, 0, 0, 0)], 0);
    for owner in [Owner::LeftBehindByFork, Owner::Ended] {
        let dump = dump(&[Some(owner)]);
        let (rules, place) = found(quiet(), &Samples::default(), Some(&dump));
        assert_eq!(
            (rules, place.as_deref()),
            (vec![Rule::Deadlock], Some("acquire"))
        );
    }
    let dump = dump(&[Some(Owner::Thread(9))]);
    assert_eq!(
        found(quiet(), &Samples::default(), Some(&dump)).0,
        [Rule::Healthy]
    );
}

/// Two plain locks that were waited for all the time; one may just be had for long, and who is idle waits for nobody.
#[test]
fn plain_locks_do_not_say_who_has_them() {
    let stuck = |locks: &[u32], purpose, waited_ms| {
        let thread = |(tid, lock_id): (u32, &u32)| ThreadReport {
            locks: vec![LockWaits {
                lock_id: *lock_id,
                wait: HistogramSummary::default(),
                unfinished: Unfinished {
                    at_start_ns: waited_ms * MS,
                    at_end_ns: 0,
                },
            }],
            ..thread(tid, 0, 0, 0)
        };
        let lock = |id| LockReport {
            id,
            address: None,
            requested_by: None,
            kind: LockKind::Semaphore,
            purpose,
            threads: 1,
            wait: HistogramSummary::default(),
            unfinished: Unfinished::default(),
        };
        ProcessReport {
            locks: (0..2).map(lock).collect(),
            ..process((1..).zip(locks).map(thread).collect(), 0)
        }
    };
    let rules = |process| rules(process, &Samples::default());
    assert_eq!(
        rules(stuck(&[0, 1], Purpose::Contention, 10_000)),
        [Rule::Deadlock]
    );
    assert_eq!(
        rules(stuck(&[0, 0], Purpose::Contention, 10_000)),
        [Rule::Healthy]
    );
    assert_eq!(
        rules(stuck(&[0, 1], Purpose::Idle, 10_000)),
        [Rule::Healthy]
    );
    assert_eq!(
        rules(stuck(&[0, 1], Purpose::Contention, 5_000)),
        [Rule::Healthy]
    );
}

/// A place is told once, whatever the thread did there.
#[test]
fn where_the_gil_was_had() {
    let mut samples = looks(4, &held(1, &["work"]));
    let asleep = Held {
        is_asleep: true,
        ..held(1, &["work"])
    };
    samples.add(Sample {
        at_ns: ALL_NS,
        gil_id: 0,
        seen: Sampled::Held(asleep),
    });
    let mut process = process(Vec::new(), 0);
    judge(&mut process, &samples, false, None);
    let rows = process
        .held_at
        .iter()
        .map(|row| (row.holder, row.stack, row.samples));
    assert_eq!(rows.collect::<Vec<_>>(), [(1, 0, 41)]);
    assert_eq!((process.stacks.len(), process.gil_samples.taken), (1, 101));
}
