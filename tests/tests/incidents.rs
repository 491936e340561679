//! Two incidents on CPython 2.7, whose engineers saw a hundred thousand context switches a second and could not tell what for.
//!
//! There the GIL is let go every 100 instructions: a waiter is woken, finds it taken again, and sleeps again.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use gilscope_tests::{Held, Python, interpreters, need_root};

fn old_interpreters() -> Vec<Python> {
    let mut all = interpreters();
    all.retain(|python| python.version.starts_with("2."));
    if all.is_empty() {
        println!("skipped: no CPython 2.7: pyenv install 2.7.18, or cargo xtask assets debian-2.7");
    }
    all
}

/// What a run made of context switches.
#[derive(Debug)]
struct Switches {
    voluntary: u64,
    for_gil: u64,
    futile: u64,
    waits: u64,
}

/// Traces it; the switches agree with the kernel's own count, and the text report tells them.
fn switches_of(python: &Python, options: &[&str]) -> Switches {
    let held = Held::trace(python, options);
    assert!(held.report.is_complete(), "{:?}", held.report);
    held.check_switches();
    let process = held.process();
    let sum = |part: &str| {
        process
            .threads()
            .iter()
            .map(|thread| thread.gil_sum(part))
            .sum()
    };
    let of_cpu = |thread: &gilscope_tests::Thread<'_>| thread.number("cpu/voluntary_switches");
    let switches = Switches {
        voluntary: process.threads().iter().map(of_cpu).sum(),
        for_gil: sum("voluntary_switches"),
        futile: sum("futile_wakeups"),
        waits: process.gil_wait().number("count"),
    };
    println!("{} {options:?}: {switches:?}", python.name);
    for thread in process.threads() {
        let (all, for_gil) = (of_cpu(&thread), thread.gil_sum("voluntary_switches"));
        assert!(for_gil <= all, "{thread:?}");
        // Each time that it sleeps again it has left the processor twice in one wait, unless its sleep was refused.
        assert!(thread.gil_sum("futile_wakeups") <= for_gil, "{thread:?}");
    }
    assert!(
        held.text.contains("Voluntary context switches: ") && held.text.contains("futile wake-up"),
        "{}",
        held.text
    );
    switches
}

/// Two threads that count: nothing but attempts to get the GIL, and most in vain.
#[test]
fn two_counting_threads() {
    need_root();
    for python in old_interpreters() {
        let seen = switches_of(
            &python,
            &["--seconds", "2", "--threads", "2", "--spread", "1"],
        );
        assert!(seen.for_gil * 10 >= seen.voluntary * 9, "{seen:?}");
        assert!(seen.futile > 0 && seen.waits > 100, "{seen:?}");
    }
}

/// 45 threads that look every 10 ms whether there is work, beside one that works. Each look costs an attempt or more.
#[test]
fn pollers_beside_a_worker() {
    need_root();
    for python in old_interpreters() {
        let options = "--seconds 3 --threads 1 --pollers 45 --spread 1";
        let options: Vec<_> = options.split(' ').collect();
        let seen = switches_of(&python, &options);
        // The rest are the pollers' own sleeps.
        assert!(
            seen.for_gil > 100 && seen.for_gil < seen.voluntary,
            "{seen:?}"
        );
        assert!(seen.futile > 0 && seen.waits > 100, "{seen:?}");
    }
}
