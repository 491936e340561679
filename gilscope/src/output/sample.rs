//! A report for the tests of this room.

use crate::model::{
    AsleepWithGil, BlockedAt, BlockedBy, Collections, CpuTime, Evidence, Finding, FoundBy, Frame,
    Generation, GilInfo, GilSamples, GilWaits, HeldAt, HistogramSummary, Host, LockKind,
    LockReport, Loss, NativeAt, NativeCallers, NativeFunction, OnCpuSamples, ProcessReport,
    Purpose, PythonStack, Report, Rule, SCHEMA, SCHEMA_VERSION, StackReads, Storm, StormHolder,
    StormKind, StormThread, ThreadReport, TickSource, Unfinished, WaitLoss, WaitSource, WaitsAfter,
    WhatIf,
};

pub(super) const MS: u64 = 1_000_000;

/// Waits as a histogram would sum them up.
pub(super) fn waits(
    count: u64,
    sum_ms: u64,
    p50_ns: u64,
    p99_ns: u64,
    max_ns: u64,
) -> HistogramSummary {
    HistogramSummary {
        count,
        sum_ns: sum_ms * MS,
        max_ns,
        recorded: count,
        min_ns: Some(1_500),
        mean_ns: Some(sum_ms * MS / count.max(1)),
        p50_ns: Some(p50_ns),
        p90_ns: Some(p99_ns),
        p99_ns: Some(p99_ns),
        p99_9_ns: Some(max_ns),
        hdr: Some("HISTFAAAABl4nJNpmSzMwMDAxAABzFCaEUzeZwAAJ1ACAg==".to_owned()),
    }
}

/// A thread that was there for all of ten seconds.
pub(super) fn thread(tid: u32, name: &str, wait: HistogramSummary) -> ThreadReport {
    ThreadReport {
        tid,
        ns_tid: Some(tid - 4_200),
        name: None,
        os_name: Some(name.to_owned()),
        started_at_ns: 0,
        observed_ns: 10_000 * MS,
        ended_at_ns: None,
        gil: vec![GilWaits {
            wait,
            futile_wakeups: 12,
            timeouts: 812,
            voluntary_switches: 1_200,
            ..GilWaits::default()
        }],
        cpu: CpuTime {
            on_cpu_ns: 4_000 * MS,
            runnable_ns: 20 * MS,
            user_ns: Some(3_900 * MS),
            system_ns: Some(100 * MS),
            split: Some(TickSource::Tick),
            voluntary_switches: 1_234,
            involuntary_switches: 56,
        },
        loss: WaitLoss::default(),
        locks: Vec::new(),
        lock_loss: WaitLoss::default(),
    }
}

/// A thread that never waited.
pub(super) fn idle(tid: u32) -> ThreadReport {
    ThreadReport {
        gil: Vec::new(),
        ..thread(tid, "idle", HistogramSummary::default())
    }
}

/// A process with three threads, two of which waited.
pub(super) fn process() -> ProcessReport {
    let mut main = thread(
        4_242,
        "python3",
        waits(400, 2_000, 5_010_000, 9_990_000, 15_100_000),
    );
    if let Some(gil) = main.gil.first_mut() {
        gil.forced_switch = waits(300, 800, 2_000_000, 5_000_000, 6_000_000);
        gil.unfinished = Unfinished {
            at_start_ns: 0,
            at_end_ns: 3 * MS,
        };
    }
    let worker = thread(
        4_243,
        "worker-1",
        waits(12_345, 4_970, 1_800, 24_700_000, 1_050_000_000),
    );
    ProcessReport {
        pid: 4_242,
        ns_pid: 42,
        exe: "/usr/bin/python3.11".to_owned(),
        cmdline: ["python3", "app.py", "--port", "80"]
            .map(str::to_owned)
            .to_vec(),
        container: None,
        observed_ns: 10_000 * MS,
        ended: None,
        findings: vec![finding()],
        gils: vec![GilInfo {
            id: 0,
            address: "0x7f0000001000".to_owned(),
            interpreters: vec![0],
            python: "3.11.2".to_owned(),
            free_threaded: false,
            enabled: true,
            found_by: FoundBy::RuntimeSymbol,
            source: WaitSource::Futex,
            measured_from_ns: 0,
        }],
        gils_not_traced: 0,
        gil_wait: waits(12_745, 6_970, 1_900, 24_000_000, 1_050_000_000),
        contended_ns: 6_230 * MS,
        threads: vec![worker, main, idle(4_250)],
        other_threads: None,
        blocked_by: vec![
            blocked_by(4_242, 4_243, 610 * MS),
            blocked_by(4_243, 4_242, 270 * MS),
        ],
        blocked_by_nobody_ns: 7 * MS,
        blocked_by_unknown_ns: 41 * MS,
        asleep_with_gil: vec![AsleepWithGil {
            holder: 4_243,
            gil_id: 0,
            syscall: Some("fsync"),
            syscall_number: Some(74),
            count: 9,
            sum_ns: 61 * MS,
        }],
        waits_after: vec![
            waits_after(Some("recvfrom"), Some(45), 400, 5_970),
            waits_after(Some("eval-loop"), None, 12_345, 1_000),
        ],
        waited_at: waited_at(),
        waited_at_both_ns: 855 * MS,
        other_waited_at: None,
        gil_samples: GilSamples {
            taken: 100,
            held: 71,
            unknown: 2,
            asleep: 3,
            collecting: Some(1),
        },
        held_at: vec![HeldAt {
            holder: 4_243,
            stack: 1,
            samples: 60,
        }],
        on_cpu_samples: Some(OnCpuSamples {
            taken: 200,
            python: 150,
            native: 49,
            unknown: 1,
        }),
        native_at: vec![NativeAt {
            holder: 4_243,
            at: native("libz.so.1.2.13", "crc32_z"),
            samples: 40,
            callers: vec![NativeCallers {
                functions: vec![native("_zlib.so", "update"), native("_zlib.so", "checksum")],
                samples: 36,
            }],
        }],
        collections: Some(Collections {
            from_ns: 20 * MS,
            until_ns: 59_920 * MS,
            generations: [(310, 31), (28, 14), (2, 60)].map(|(count, ms)| Generation {
                count,
                sum_ns: Some(ms * MS),
            }),
        }),
        stacks: vec![stack("handle", 12), stack("render", 98)],
        locks: Vec::new(),
        other_locks: None,
        lock_loss: WaitLoss::default(),
        storms: Vec::new(),
        other_storms: None,
        what_if: None,
    }
}

/// A finding with everything.
fn finding() -> Finding {
    Finding {
        rule: Rule::Convoy,
        says: "A thread that runs little waited behind thread 4243 (worker-1): thread 4242 (python3) 20.0 % of its life, 5.0 ms each time (400 waits)."
            .to_owned(),
        evidence: vec![Evidence {
            name: "worst_waited_percent",
            value: 20.0,
        }],
        suggestion: Some("Compute in other processes, or in native code that lets go of the GIL."),
        threads: vec![4_243],
        stack: Some(1),
    }
}

fn waited_at() -> Vec<BlockedAt> {
    let row = |waiter_stack, holder, holder_stack, sum_ns| BlockedAt {
        gil_id: 0,
        waiter_stack,
        holder,
        holder_stack,
        count: 170,
        sum_ns,
    };
    vec![
        row(Some(0), Some(4_243), Some(1), 600 * MS),
        row(Some(1), Some(4_242), Some(0), 250 * MS),
        row(Some(0), Some(4_243), None, 10 * MS),
        row(Some(0), None, Some(1), 5 * MS),
    ]
}

fn native(library: &str, function: &str) -> NativeFunction {
    NativeFunction {
        library: library.to_owned(),
        function: Some(function.to_owned()),
    }
}

fn stack(function: &str, line: u32) -> PythonStack {
    let frame = |name: &str, line| Frame {
        name: name.to_owned(),
        qualified_name: Some(format!("App.{name}")),
        file: "/srv/app/app.py".to_owned(),
        line: Some(line),
    };
    PythonStack {
        frames: vec![frame(function, line), frame("main", 140)],
        truncated: false,
        unreadable: 0,
    }
}

fn waits_after(
    after: Option<&'static str>,
    syscall_number: Option<u16>,
    count: u64,
    sum_ms: u64,
) -> WaitsAfter {
    WaitsAfter {
        after,
        syscall_number,
        count,
        sum_ns: sum_ms * MS,
    }
}

fn blocked_by(waiter: u32, holder: u32, sum_ns: u64) -> BlockedBy {
    BlockedBy {
        waiter,
        gil_id: 0,
        holder,
        count: 120,
        sum_ns,
        max_ns: Some(12 * MS),
        on_cpu_ns: sum_ns / 10 * 7,
        runnable_ns: sum_ns / 10,
        asleep_ns: sum_ns / 10,
        unknown_ns: sum_ns / 10,
    }
}

/// A lock that three threads waited for.
pub(super) fn lock(id: u32, purpose: Purpose, wait: HistogramSummary) -> LockReport {
    LockReport {
        id,
        address: Some(format!("{:#x}", 0x7f00_0000_2000_u64 + u64::from(id))),
        requested_by: None,
        kind: LockKind::Semaphore,
        purpose,
        threads: 3,
        wait,
        unfinished: Unfinished::default(),
    }
}

/// A storm in which two threads waited.
pub(super) fn storm() -> Storm {
    let thread = |tid, waited_ms| StormThread {
        tid,
        waited_ns: waited_ms * MS,
    };
    Storm {
        kind: StormKind::Contention,
        gil_id: None,
        started_at_ns: 1_200 * MS,
        length_ns: 3_000 * MS,
        unfinished: false,
        figures_ns: 3_000 * MS,
        waiters_peak: 2,
        waited_ns: 4_500 * MS,
        on_cpu_ns: 3_100 * MS,
        runnable_ns: 20 * MS,
        system_ns: Some(1_400 * MS),
        futile_wakeups: 30_000,
        voluntary_switches: 42_000,
        gil_switches: 36_000,
        threads_waited: 2,
        threads: vec![thread(4_242, 2_500), thread(4_243, 2_000)],
        top_holder: Some(StormHolder {
            tid: 4_243,
            blocked_ns: 3_000 * MS,
            stack: Some(1),
        }),
        events_lost: 0,
    }
}

/// What there is to gain.
pub(super) fn what_if() -> WhatIf {
    WhatIf {
        cpus: 2,
        wanted_at_once: 2.119,
        without_gil_at_most: 1.489,
        processes: 3,
        tid: Some(4_243),
        thread_at_most: Some(1.989),
    }
}

/// A report of one process.
pub(super) fn report(process: ProcessReport) -> Report {
    Report {
        schema: SCHEMA,
        schema_version: SCHEMA_VERSION,
        gilscope_version: "0.1.0",
        started_at: "2026-11-20T12:00:00.000Z".to_owned(),
        duration_ns: 10_000 * MS,
        host: Host {
            hostname: "box".to_owned(),
            kernel: "6.18.44".to_owned(),
            arch: "x86_64".to_owned(),
            cpus: 2,
        },
        loss: Loss::default(),
        stack_reads: StackReads::default(),
        processes: vec![process],
    }
}
