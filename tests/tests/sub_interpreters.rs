//! Each interpreter's own GIL is measured by itself, also when it is made and destroyed while traced, and when
//! the next one lies in its place.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use gilscope_tests::{Process, Python, Running, Tracer, builds, need_root};

const WORKLOAD: &str = include_str!("../workloads/sub_interpreters.py");
/// A new GIL is noticed within a second.
const SECONDS: &str = "2";

fn has_own_gils(python: &Python) -> bool {
    let minor = python.version.split('.').nth(1);
    minor.is_some_and(|minor| minor.parse::<u32>().unwrap() >= 12)
}

/// The index of the only GIL of this interpreter.
fn gil_of(process: &Process<'_>, interpreter: u64) -> u64 {
    let gils = process.0["gils"].as_array().unwrap();
    let mut found = gils
        .iter()
        .filter(|gil| gil["interpreters"] == serde_json::json!([interpreter]));
    let gil = found
        .next()
        .unwrap_or_else(|| panic!("no GIL of interpreter {interpreter}: {gils:?}"));
    assert!(found.next().is_none(), "{gils:?}");
    gil["id"].as_u64().unwrap()
}

fn check(python: &Python) {
    let mut target = Running::ready(&mut python.workload(WORKLOAD, &[SECONDS]));
    let pid = target.pid();
    let tracer = Tracer::attach(&[pid]);
    target.tell("go");
    let told = ["first", "second"].map(|which| target.prints(which));
    target.prints("done");
    let traced = tracer.finish();
    let process = traced.report.process(pid);
    let mut seen = Vec::new();
    for line in told {
        let mut numbers = line
            .split_whitespace()
            .skip(2)
            .map(|word| word.parse().unwrap());
        let gil = gil_of(&process, numbers.next().unwrap());
        for tid in numbers {
            let thread = process.thread(u32::try_from(tid).unwrap());
            let waited = thread.0["gil"].as_array().unwrap();
            let of = |gil: &serde_json::Value| {
                (
                    gil["gil_id"].as_u64().unwrap(),
                    gil["wait"]["count"].as_u64().unwrap(),
                )
            };
            let mut of_others = waited
                .iter()
                .map(of)
                .filter(|(id, count)| *id != gil && *count > 0);
            assert_eq!(of_others.next(), None, "{}: {waited:?}", python.name);
            let count: u64 = waited
                .iter()
                .map(of)
                .filter(|(id, _)| *id == gil)
                .map(|(_, count)| count)
                .sum();
            // One of three busy threads runs for 5 ms at a time while it has a processor, and nearly a second of it was traced.
            assert!(count > 5, "{}: {waited:?}", python.name);
        }
        seen.push(gil);
    }
    let address = |id: u64| &process.0["gils"][usize::try_from(id).unwrap()]["address"];
    let places = seen.iter().map(|id| address(*id).to_string());
    println!(
        "{}: GILs {seen:?} at {:?}",
        python.name,
        places.collect::<Vec<_>>()
    );
    assert_ne!(seen[0], seen[1]);
}

#[test]
fn each_gil_by_itself() {
    need_root();
    let mut checked = 0;
    for python in builds().iter().filter(|python| has_own_gils(python)) {
        check(python);
        checked += 1;
    }
    if checked == 0 {
        println!("skipped: no CPython from 3.12 on: pyenv install 3.13, or cargo xtask assets");
    }
}
