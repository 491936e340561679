//! What threads run with a GIL held is what the program runs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use gilscope_tests::{Process, Python, Running, Tracer, need_root, python, python_2_7};
use serde_json::Value;

const NATIVE: &str = include_str!("../workloads/native.py");
/// `probe::attach`: ticks a second.
const TICKS: f64 = 49.0;

fn trace(python: &Python, how: &str, check: impl FnOnce(&Process<'_>)) {
    println!("{} ({}), {how}", python.name, python.version);
    let target = Running::ready(&mut python.workload(NATIVE, &[how]));
    let traced = Tracer::trace(target.pid(), Duration::from_secs(2));
    check(&traced.report.process(target.pid()));
}

/// Python, native and unknown ones.
fn samples(process: &Process<'_>) -> [u64; 3] {
    let of = |field: &str| process.number(&format!("on_cpu_samples/{field}"));
    let parts = ["python", "native", "unknown"].map(of);
    assert_eq!(parts.iter().sum::<u64>(), of("taken"), "{process:?}");
    parts
}

/// So many ticks of the clock the process's threads had a processor, as `/proc` says.
fn ticks(process: &Process<'_>) -> f64 {
    let threads = process.threads().into_iter();
    let ran_ns = threads.map(|it| it.number("cpu/user_ns") + it.number("cpu/system_ns"));
    ran_ns.sum::<u64>() as f64 / 1e9 * TICKS
}

fn pythons() -> impl Iterator<Item = Python> {
    [Some(python().clone()), python_2_7()].into_iter().flatten()
}

#[test]
fn native_code_that_keeps_the_gil_is_named() {
    need_root();
    for python in pythons() {
        trace(&python, "keeps", |process| {
            let [python, native, unknown] = samples(process);
            assert!(native >= 9 * (python + unknown), "{process:?}");
            let seen = (python + native + unknown) as f64 / ticks(process);
            assert!((0.6..1.4).contains(&seen), "{seen}: {process:?}");
            let first = &process.0["native_at"][0];
            let text = |field: &str| first[field].as_str().unwrap();
            assert!(text("library").starts_with("libz.so."), "{first}");
            assert!(text("function").starts_with("crc32"), "{first}");
            assert!(
                first["samples"].as_u64().unwrap() * 10 >= native * 9,
                "{first}"
            );
            let threads = process.threads().into_iter();
            let busiest = threads.max_by_key(|thread| thread.number("cpu/on_cpu_ns"));
            assert_eq!(first["holder"], busiest.unwrap().number("tid"));
        });
    }
}

#[test]
fn native_code_that_releases_the_gil_is_not_counted() {
    need_root();
    for python in pythons() {
        trace(&python, "releases", |process| {
            let counted: u64 = samples(process).iter().sum();
            assert!((counted as f64) < 0.1 * ticks(process), "{process:?}");
        });
    }
}

#[test]
fn python_code() {
    need_root();
    for python in pythons() {
        trace(&python, "python", |process| {
            let [python, native, unknown] = samples(process);
            // A shared 3.13 asks the loader for its thread state at each turn: 8 - 14 % of the samples are in `__tls_get_addr`.
            assert!(python >= 3 * (native + unknown), "{process:?}");
            assert!(python as f64 >= 0.6 * ticks(process), "{process:?}");
            let rows = process.0["native_at"].as_array().unwrap();
            let of_c = |row: &Value| {
                let library = row["library"].as_str().unwrap();
                ["ld-", "libc", "libpthread"]
                    .iter()
                    .any(|name| library.starts_with(name))
            };
            assert!(rows.iter().all(of_c), "{rows:?}");
        });
    }
}
