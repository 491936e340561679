//! What threads run with a GIL held is what the program runs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use gilscope_tests::{Process, Python, Running, Tracer, need_root, python, python_2_7};
use serde_json::Value;

const NATIVE: &str = include_str!("../workloads/native.py");
/// `probe::attach`: ticks a second.
const TICKS: f64 = 49.0;

fn trace(python: &Python, how: &[&str], check: impl FnOnce(&Process<'_>)) {
    println!("{} ({}), {how:?}", python.name, python.version);
    let target = Running::ready(&mut python.workload(NATIVE, how));
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
        trace(&python, &["keeps"], |process| {
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

/// What the source says: compiled without frame pointers, each calls the next. The last computes, or is in system calls as the clock ticks.
#[test]
fn the_callers_of_native_code_are_named() {
    need_root();
    for python in pythons() {
        let temporary = python
            .root()
            .map_or_else(env::temp_dir, |it| it.join("tmp"));
        let folder = tempfile::tempdir_in(temporary).unwrap();
        let library = chain(folder.path());
        let seen = library.strip_prefix(python.root().unwrap_or("/".as_ref()));
        let seen = Path::new("/").join(seen.unwrap());
        for rounds in ["1000000", "-10000"] {
            trace(&python, &[seen.to_str().unwrap(), rounds], is_chain);
        }
    }
}

fn is_chain(process: &Process<'_>) {
    let rows = process.0["native_at"].as_array().unwrap();
    let function = |at: &Value| at["function"].as_str().map(str::to_owned);
    let samples = |of: &Value| of["samples"].as_u64().unwrap();
    let in_it = |row: &&Value| function(row).is_some_and(|name| name == "innermost");
    let innermost = rows.iter().find(in_it).unwrap();
    assert_eq!(innermost["library"], "chain.so");
    let all = samples(innermost);
    assert!(all > 30, "{process:?}");
    let callers = innermost["callers"].as_array().unwrap();
    let known: u64 = callers.iter().map(samples).sum();
    assert!(known * 20 >= all * 19 && known <= all, "{innermost:?}");
    for way in callers {
        let functions = way["functions"].as_array().unwrap();
        let (own, python) = functions.split_at_checked(2).unwrap();
        let named = [function(&own[0]), function(&own[1])];
        let in_source = ["middle", "compute"].map(|name| Some(name.to_owned()));
        assert_eq!(named, in_source, "{way}");
        assert!(own.iter().all(|caller| caller["library"] == "chain.so"));
        let is_ctypes = |caller: &Value| {
            let library = caller["library"].as_str().unwrap();
            library.starts_with("_ctypes") || library.starts_with("libffi")
        };
        assert!(python.iter().all(is_ctypes), "{way}");
    }
}

/// Builds `hosts/chain.c` there.
fn chain(folder: &Path) -> PathBuf {
    let library = folder.join("chain.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/hosts/chain.c");
    let mut compile = Command::new("cc");
    compile.args(["-O2", "-fomit-frame-pointer", "-fPIC", "-shared"]);
    compile.args(["-nostdlib", "-o"]).arg(&library).arg(source);
    let output = compile.output();
    assert!(
        output.as_ref().is_ok_and(|output| output.status.success()),
        "`apt-get install gcc libc6-dev` has it: {compile:?}: {output:?}"
    );
    library
}

#[test]
fn native_code_that_releases_the_gil_is_not_counted() {
    need_root();
    for python in pythons() {
        trace(&python, &["releases"], |process| {
            let counted: u64 = samples(process).iter().sum();
            assert!((counted as f64) < 0.1 * ticks(process), "{process:?}");
        });
    }
}

#[test]
fn python_code() {
    need_root();
    for python in pythons() {
        trace(&python, &["python"], |process| {
            let [python, native, unknown] = samples(process);
            // What it does in the C library, such as to ask the loader for its thread state, is Python's.
            assert!(python >= 19 * (native + unknown), "{process:?}");
            assert!(python as f64 >= 0.6 * ticks(process), "{process:?}");
        });
    }
}
