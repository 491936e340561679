//! What the analysis costs: time per wait and memory, on made-up waits.
//!
//! `cargo run --release -p gilscope --example analyse -- 1` (to 5)

use gilscope::analyse::{DEFAULT_MAX_THREADS, Process};
use gilscope::model::{Call, Event, GilTotals, Interval, IntervalKind, ThreadEnd, ThreadStart};
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// xorshift64: numbers that look random and are the same in every run.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// A length spread evenly over the powers of two below `bits`.
fn length_ns(state: &mut u64, bits: u64) -> u64 {
    let bits = 8 + next(state) % (bits - 8);
    (next(state) >> (64 - bits)) | 1 << (bits - 1)
}

fn interval(tid: u32, kind: IntervalKind, end_ns: u64, length_ns: u64) -> Event {
    Event::Interval(Interval {
        pid: 1,
        tid,
        gil_id: 0,
        kind,
        start_ns: end_ns.saturating_sub(length_ns),
        end_ns,
        after: Call::EvalLoop,
    })
}

/// Processor time used so far: what others do on the machine does not count.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Memory that is resident and not a file's, from `/proc/self/status`.
fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// `threads` threads whose waits end `gap_ns` apart and last up to 2^`bits` ns.
fn busy(name: &str, threads: u64, events: u64, gap_ns: u64, bits: u64) {
    let (before_kb, mut state) = (resident_kb(), 7);
    let mut process = Process::new(0, 0, DEFAULT_MAX_THREADS);
    let begin = cpu_time();
    for i in 0..events {
        let kind = if i % 2 == 0 {
            IntervalKind::Wait
        } else {
            IntervalKind::Yield
        };
        let tid = (next(&mut state) % threads) as u32;
        let length_ns = length_ns(&mut state, bits);
        process.apply(interval(tid, kind, (1 << 40) + i * gap_ns, length_ns));
    }
    let ns = (cpu_time() - begin).as_nanos() / u128::from(events);
    let memory_kb = resident_kb().saturating_sub(before_kb);
    let begin = cpu_time();
    let found = process.finish(1 << 42);
    println!(
        "{name}: {ns} ns an event, {memory_kb} kB; finished in {:?}, {} rows, uncertain {} ns",
        cpu_time() - begin,
        found.threads.len(),
        found.contended_uncertain_ns,
    );
}

/// Threads that live one after the other, with ten waits each.
fn short_lived(threads: u32) {
    let (before_kb, mut state) = (resident_kb(), 9);
    let mut process = Process::new(0, 0, DEFAULT_MAX_THREADS);
    let begin = cpu_time();
    for tid in 0..threads {
        let at_ns = u64::from(tid) * 1_000_000;
        process.apply(Event::ThreadStart(ThreadStart { pid: 1, tid, at_ns }));
        for i in 0..10 {
            let length_ns = length_ns(&mut state, 28);
            process.apply(interval(
                tid,
                IntervalKind::Wait,
                at_ns + i * 1_000,
                length_ns,
            ));
        }
        let totals = GilTotals {
            waits: 10,
            wait_sum_ns: 1 << 33,
            ..GilTotals::default()
        };
        process.apply(Event::GilTotals(tid, 0, totals));
        process.apply(Event::ThreadEnd(ThreadEnd {
            pid: 1,
            tid,
            at_ns,
            os_name: None,
        }));
    }
    let ns = (cpu_time() - begin).as_nanos() / u128::from(threads);
    let memory_kb = resident_kb().saturating_sub(before_kb);
    let found = process.finish(u64::from(threads) * 1_000_000);
    println!(
        "{threads} short-lived threads: {ns} ns a thread, {memory_kb} kB; {} rows",
        found.threads.len(),
    );
}

fn main() {
    // One at a time, so that the memory of one is not another's: name it by its number.
    match std::env::args().nth(1).as_deref() {
        Some("1") => busy("4 threads, waits apart", 4, 10_000_000, 300_000, 17),
        Some("2") => busy("4 threads, waits overlap", 4, 10_000_000, 3_000, 24),
        Some("3") => busy(
            "200 threads, 25,000 waits of each kind",
            200,
            10_000_000,
            3_000,
            30,
        ),
        Some("4") => busy(
            "200 threads, 2,000 waits of each kind",
            200,
            800_000,
            3_000,
            30,
        ),
        Some("5") => short_lived(100_000),
        _ => println!("usage: analyse 1|2|3|4|5"),
    }
}
