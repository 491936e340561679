//! Storms are found in the programs that have them, while they are traced and in the report; and in no healthy one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{thread, time::Duration};

use gilscope_tests::{
    HEALTHY, Program, Python, Traced, Tracer, kernel, need_root, python, python_2_7,
    python_with_packages,
};
use serde_json::Value;

/// How long each is traced.
const SECONDS: u64 = 3;

fn trace(python: &Python, name: &str, arguments: &[&str], options: &[&str]) -> (Program, Traced) {
    let length = Duration::from_secs(SECONDS);
    Program::trace(python, name, arguments, options, length)
}

/// All that were found, in all its processes.
fn storms(program: &Program, traced: &Traced) -> Vec<Value> {
    let pids = program.truth.processes.iter();
    let of = |pid: &u32| {
        traced.report.process(*pid).0["storms"]
            .as_array()
            .unwrap()
            .clone()
    };
    pids.flat_map(of).collect()
}

fn number(storm: &Value, field: &str) -> u64 {
    storm[field].as_u64().unwrap()
}

fn of_kind<'a>(storms: &'a [Value], kind: &str) -> Vec<&'a Value> {
    storms
        .iter()
        .filter(|storm| storm["kind"] == kind)
        .collect()
}

/// What is so of each.
fn check(storm: &Value) {
    assert!(number(storm, "figures_ns") > 0, "{storm}");
    assert!(
        number(storm, "futile_wakeups") <= number(storm, "gil_switches") + 1,
        "{storm}"
    );
    let threads = storm["threads"].as_array().unwrap();
    assert!(
        threads.len() as u64 <= number(storm, "threads_waited"),
        "{storm}"
    );
    let waited_ns: u64 = threads
        .iter()
        .map(|thread| number(thread, "waited_ns"))
        .sum();
    assert!(waited_ns <= number(storm, "waited_ns"), "{storm}");
    if storm["kind"] == "contention" {
        assert_eq!(storm["figures_ns"], storm["length_ns"], "{storm}");
    }
}

/// Its top holder was where the program itself says that the cause is.
fn check_place(program: &Program, traced: &Traced, storm: &Value) {
    // It is what waits that is wrong with pollers.
    if program.truth.finding == "idle-pollers" {
        return;
    }
    if program.truth.function.is_none() {
        return;
    }
    let of = |pid: &u32| {
        traced.report.process(*pid).0["storms"]
            .as_array()
            .unwrap()
            .contains(storm)
    };
    let pid = program.truth.processes.iter().find(|pid| of(pid)).unwrap();
    let stack = storm["top_holder"]["stack"].as_u64().unwrap();
    let stacks = &traced.report.process(*pid).0["stacks"];
    let frame = &stacks[usize::try_from(stack).unwrap()]["frames"][0];
    assert!(program.truth.is_at(frame), "{storm}: {frame}");
}

/// Two of the five have nobody who waits for a GIL: a loop in the only thread, and a lock that is no GIL.
#[test]
fn incidents() {
    need_root();
    for name in ["udp_echo", "idle_pollers", "system_time"] {
        let program = Program::start(
            python(),
            &format!("incidents/{name}"),
            &["--seconds", "600"],
        );
        let mut tracer = Tracer::attach(&program.truth.processes);
        thread::sleep(Duration::from_secs(SECONDS));
        // It is told while the program runs, and goes on to run.
        tracer.running().complains(": contention storm since ");
        assert!(program.running.is_alive(), "{name}");
        let traced = tracer.finish();
        let found = storms(&program, &traced);
        found.iter().for_each(check);
        let worst = of_kind(&found, "contention");
        let worst = worst
            .first()
            .unwrap_or_else(|| panic!("{name}: {traced:?}"));
        // Each goes on from the beginning to the end, but for pauses of the whole machine.
        let pid = program.truth.processes[0];
        let of_one = traced.report.process(pid).0["storms"].as_array().unwrap();
        let of_one = of_kind(of_one, "contention");
        let length_ns: u64 = of_one.iter().map(|storm| number(storm, "length_ns")).sum();
        assert!(length_ns > SECONDS * 500_000_000, "{name}: {of_one:?}");
        // It ends once most of a second was calm.
        let goes_on = |storm: &Value| storm["unfinished"].as_bool().unwrap();
        let end_ns = |storm: &&&Value| number(storm, "started_at_ns") + number(storm, "length_ns");
        let last = of_one.iter().max_by_key(end_ns).unwrap();
        let calm_ns = traced
            .report
            .number("duration_ns")
            .saturating_sub(end_ns(&last));
        assert!(goes_on(last) || calm_ns > 500_000_000, "{name}: {of_one:?}");
        assert!(worst["top_holder"].is_object(), "{name}: {worst}");
        assert!(
            traced.ended.stdout.contains("\nStorms, when it lost "),
            "{traced:?}"
        );
        check_place(&program, &traced, worst);
        let what_if = &traced.report.process(program.truth.processes[0]).0["what_if"];
        assert!(
            what_if["thread_at_most"].as_f64().unwrap() > 1.0,
            "{name}: {what_if}"
        );
    }
}

/// There the kernel's time is what is lost.
#[test]
fn thrashing_where_it_was() {
    need_root();
    let Some(old) = python_2_7() else { return };
    let (program, traced) = trace(&old, "incidents/system_time", &[], &[]);
    let found = storms(&program, &traced);
    found.iter().for_each(check);
    let worst = *of_kind(&found, "contention").first().unwrap();
    assert!(
        number(worst, "system_ns") * 5 > number(worst, "on_cpu_ns"),
        "{worst}"
    );
    assert!(number(worst, "futile_wakeups") > 100, "{worst}");
    assert!(number(worst, "threads_waited") > 10, "{worst}");
    assert!(worst["top_holder"].is_object(), "{worst}");
}

/// 100 ms of native code with the GIL, one after the other: who had it is the thread that runs it.
#[test]
fn pauses() {
    need_root();
    let mut runs = (0..3).map(|_| {
        let options = ["--storm-pause", "50ms"];
        let (program, traced) = trace(python(), "findings/native_code", &[], &options);
        (storms(&program, &traced), program, traced)
    });
    // Where the machine stands still as the program finds out what takes it 100 ms, that takes less, but hardly three times.
    let run = runs.find(|(found, ..)| of_kind(found, "pause").len() > 2);
    let (found, program, traced) = run.unwrap();
    found.iter().for_each(check);
    let pauses = of_kind(&found, "pause");
    let report = traced.report.process(program.truth.processes[0]);
    let threads = report.threads();
    let busiest = threads
        .iter()
        .max_by_key(|thread| thread.number("cpu/on_cpu_ns"))
        .unwrap();
    let by_it = |pause: &&&Value| pause["top_holder"]["tid"] == busiest.number("tid");
    assert!(
        pauses.iter().filter(by_it).count() * 2 > pauses.len(),
        "{found:?}"
    );
    for pause in &pauses {
        let begins_ns = number(pause, "started_at_ns");
        assert!(
            number(pause, "length_ns") >= 50_000_000 && pause["gil_id"] == 0,
            "{pause}"
        );
        assert!(
            begins_ns + number(pause, "length_ns") <= traced.report.number("duration_ns"),
            "{pause}"
        );
    }
}

/// Where there are too few processors, who has the GIL may have none, and all that wait for it wait for that: such a storm is one of processors
/// (docs/report.md, "Processors").
fn is_of_processors(storm: &Value) -> bool {
    number(storm, "waited_ns") <= number(storm, "threads_waited") * number(storm, "runnable_ns")
}

/// A run in which a hypervisor took processors away, which no figure of a storm tells, judges nobody: it is repeated, twice at most.
fn has_none(python: &Python, name: &str, arguments: &[&str]) {
    for run in 1.. {
        let before_ms = kernel::stolen_ms().unwrap();
        let (program, traced) = trace(python, name, arguments, &[]);
        let stolen_ms = kernel::stolen_ms().unwrap() - before_ms;
        let found = storms(&program, &traced);
        println!("{name}: {stolen_ms} ms stolen: {found:?}");
        assert_eq!(
            of_kind(&found, "contention").is_empty(),
            !traced.ended.stderr.contains("contention storm"),
            "{traced:?}"
        );
        if found.iter().all(is_of_processors) {
            return;
        }
        assert!(stolen_ms > 0 && run < 3, "{name}: {found:?}");
    }
}

#[test]
fn near_misses_have_none() {
    need_root();
    has_none(python(), "incidents/udp_echo", &["--near-miss"]);
}

#[test]
fn quiet_says_nothing_while_tracing() {
    need_root();
    let (program, traced) = trace(python(), "incidents/system_time", &[], &["--quiet"]);
    assert!(!storms(&program, &traced).is_empty(), "{traced:?}");
    assert!(!traced.ended.stderr.contains("storm"), "{traced:?}");
}

#[test]
fn healthy_services_have_none() {
    need_root();
    let Some(python) = python_with_packages() else {
        println!("skipped: no packages from PyPI: cargo xtask assets pypi");
        return;
    };
    for name in HEALTHY {
        has_none(&python, &format!("healthy/{name}"), &[]);
    }
}
