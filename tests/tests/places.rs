//! Where threads wait, and where the one is that has the GIL, is where Python itself says that they are.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use gilscope_tests::{
    Process, Program, Python, Running, Traced, Tracer, Truth, builds, need_root, python, python_2_7,
};
use serde_json::Value;

const PLACES: &str = include_str!("../workloads/places.py");
const GENERATED: &str = include_str!("../workloads/generated.py");
/// Functions of one stack, as docs/report.md says.
const MAX_FRAMES: usize = 96;

fn trace(pid: u32, seconds: u64) -> Traced {
    Tracer::trace(pid, Duration::from_secs(seconds))
}

/// Traces it for a second, and where threads had hardly a processor for as long, again for longer.
fn trace_enough(pid: u32, is_enough: impl Fn(&Process<'_>) -> bool) -> Traced {
    let enough = [1, 4].into_iter().find_map(|seconds| {
        let traced = trace(pid, seconds);
        is_enough(&traced.report.process(pid)).then_some(traced)
    });
    enough.unwrap_or_else(|| trace(pid, 16))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn sum_ns(rows: &[Value]) -> u64 {
    rows.iter().map(|row| row["sum_ns"].as_u64().unwrap()).sum()
}

/// Whether a stack is at this place: in a line of the innermost function, and called as Python says, as far as it goes.
fn is_at(stack: &Value, place: &Value) -> bool {
    let (frames, inner) = (list(&stack["frames"]), &place["inner"]);
    let mut expected = list(&place["callers"]).to_vec();
    let is_whole = expected.len() < MAX_FRAMES;
    expected.truncate(MAX_FRAMES - 1);
    let callers: Vec<_> = frames[1..]
        .iter()
        .map(|frame| serde_json::json!([frame["name"], frame["file"], frame["line"]]))
        .collect();
    let line = frames[0]["line"].as_u64();
    let is_in =
        |line: u64| (inner[2].as_u64().unwrap()..=inner[3].as_u64().unwrap()).contains(&line);
    frames[0]["name"] == inner[0]
        && frames[0]["file"] == inner[1]
        && line.is_some_and(is_in)
        && callers == expected
        && stack["truncated"] == !is_whole
        && stack["unreadable"] == 0
}

fn check(python: &Python, process: &Process<'_>, places: &[Value]) {
    let (stacks, rows) = (list(&process.0["stacks"]), list(&process.0["waited_at"]));
    let mut seen = vec![false; places.len()];
    for stack in stacks {
        let at = places.iter().position(|place| is_at(stack, place));
        let at = at.unwrap_or_else(|| panic!("nobody was at {stack:#}\nbut at {places:#?}"));
        seen[at] = true;
    }
    // In 2.7 who waits looks as the GIL is released only, which may not have been for each.
    let is_old = python.version.starts_with("2.");
    let sure = if is_old { places.len() - 1 } else { 0 };
    assert!(
        seen[sure..].iter().all(|seen| *seen) && seen.iter().filter(|seen| **seen).count() > 2,
        "{seen:?} of {places:#?}"
    );
    // The first thread is where it has the GIL, whoever waits.
    let (first, at) = (process.pid(), places.last().unwrap());
    let of_first: Vec<_> = rows.iter().filter(|row| row["holder"] == first).collect();
    for row in &of_first {
        if let Some(index) = row["holder_stack"].as_u64() {
            let stack = &stacks[usize::try_from(index).unwrap()];
            assert!(is_at(stack, at), "{stack:#}");
        }
    }
    let both_ns = process.number("waited_at_both_ns");
    let nobody_ns = process.number("blocked_by_nobody_ns");
    let known_ns = sum_ns(list(&process.0["blocked_by"])) + nobody_ns;
    println!("read: {both_ns} of {known_ns} ns");
    // They want some 59,000 frames a second, as these stacks are deep, and 50,000 are read.
    assert!(both_ns >= known_ns / 100 * 70, "{both_ns} of {known_ns}");
    let all_ns = sum_ns(rows);
    assert!(all_ns <= known_ns && both_ns <= all_ns, "{process:?}");
    // Nobody's is what has no holder.
    let of_nobody = rows.iter().filter(|row| row["holder"].is_null());
    let of_nobody_ns: u64 = of_nobody.map(|row| row["sum_ns"].as_u64().unwrap()).sum();
    assert!(of_nobody_ns <= nobody_ns, "{process:?}");
}

#[test]
fn both_are_where_python_says() {
    need_root();
    // In a text that is Unicode, 2.7 refuses a line that says how it is encoded.
    let (_, source) = PLACES.split_once('\n').unwrap();
    for python in builds() {
        println!("{} ({})", python.name, python.version);
        let target = Running::ready(&mut python.workload(source, &[]));
        let said: Value = serde_json::from_str(&target.prints("places")).unwrap();
        let traced = trace_enough(target.pid(), |process| {
            let threads = process.threads().into_iter();
            let mut others = threads.filter(|it| it.number("tid") != u64::from(process.pid()));
            others.all(|thread| thread.gil_sum("wait/count") >= 5)
        });
        let process = traced.report.process(target.pid());
        check(&python, &process, list(&said["places"]));
    }
}

/// Who waits for whom is told all the same.
#[test]
fn none_are_read_where_none_are_wanted() {
    need_root();
    let target = Running::ready(&mut python().workload(PLACES, &[]));
    let pid = target.pid();
    let tracer = Tracer::attach_with(&[pid], &["--no-stacks", "--duration", "2s"]);
    let traced = tracer.end();
    let process = traced.report.process(pid);
    assert!(sum_ns(list(&process.0["blocked_by"])) > 0, "{process:?}");
    assert!(list(&process.0["waited_at"]).is_empty(), "{process:?}");
    assert!(!list(&process.0["held_at"]).is_empty(), "{process:?}");
}

/// A code object is gone by the time that its names are read, and another one may lie in its place: no name is a wrong one.
#[test]
fn what_is_gone_is_not_taken_for_another() {
    need_root();
    for python in builds() {
        println!("{} ({})", python.name, python.version);
        let target = Running::ready(&mut python.workload(GENERATED, &[]));
        let traced = trace_enough(target.pid(), |process| of_generated(process) >= 20);
        let process = traced.report.process(target.pid());
        assert!(of_generated(&process) >= 20, "{process:?}");
    }
}

/// How many functions of that workload have been met; the place of each is right.
fn of_generated(process: &Process<'_>) -> usize {
    let stacks = list(&process.0["stacks"]).iter();
    let frames = stacks.flat_map(|stack| list(&stack["frames"]));
    let mut met = 0;
    for frame in frames {
        let name = frame["name"].as_str().unwrap();
        let Some(line) = name.strip_prefix("line_") else {
            continue;
        };
        assert_eq!(frame["file"], format!("{name}.py"), "{frame}");
        let line: u64 = line.parse().unwrap();
        // Or where it is defined: it has just been called.
        let at = frame["line"].as_u64().unwrap();
        assert!(at == line || at == line - 1, "{frame}");
        met += 1;
    }
    met
}

/// Of all time waited both places were known in 96 to 99.8 % (traces of 4 to 8 s); in 91 % on a loaded machine, as it was not known in 6 % who had the GIL.
#[test]
fn incidents() {
    need_root();
    for name in ["udp_echo", "idle_pollers", "system_time"] {
        check_incident(python(), name, 85, 95);
    }
}

/// There the GIL is handed on thousands of times a second: of all time waited both were known in 96 to 98 %, but in 0.4 to 15 % where 16 threads compute: few of the stacks are read of
/// those that have it for microseconds, and it is not known who has it for two thirds of the time, as a wait has more turns than the 64 that are remembered.
#[test]
fn incidents_where_they_were() {
    need_root();
    let Some(old) = python_2_7() else { return };
    check_incident(&old, "udp_echo", 80, 90);
    check_incident(&old, "idle_pollers", 80, 90);
    check_incident(&old, "system_time", 0, 0);
}

/// Both places are known in so many percent of all time that threads waited, and of that of which it is known who had the GIL, or that nobody had; and the one where it was had longest
/// is the cause.
fn check_incident(python: &Python, name: &str, of_all: u64, of_known: u64) {
    let program = Program::start(python, &format!("incidents/{name}"), &["--seconds", "600"]);
    let pid = program.truth.processes[0];
    // A shared machine may have no processor to spare for a while.
    let is_enough = |seconds| {
        let traced = trace(pid, seconds);
        let process = traced.report.process(pid);
        check_cause(&program.truth, &process);
        let known_ns = sum_ns(list(&process.0["blocked_by"]));
        let [both_ns, nobody_ns, unknown_ns] = [
            "waited_at_both_ns",
            "blocked_by_nobody_ns",
            "blocked_by_unknown_ns",
        ]
        .map(|field| process.number(field));
        let all_ns = known_ns + nobody_ns + unknown_ns;
        let share = |ns: u64| 100.0 * ns as f64 / all_ns as f64;
        println!(
            "{} {name}: of {all_ns} ns both in {:.2} %, some holder in {:.2} %, nobody in {:.2} %",
            python.version,
            share(both_ns),
            share(known_ns),
            share(nobody_ns)
        );
        both_ns >= all_ns / 100 * of_all && both_ns >= (known_ns + nobody_ns) / 100 * of_known
    };
    assert!([4, 12, 36].into_iter().any(is_enough), "{name}");
}

/// Of the time for which both places are known, and some thread had the GIL, most is at the cause.
fn check_cause(truth: &Truth, process: &Process<'_>) {
    // It is what waits that is wrong with pollers.
    let side = match truth.finding.as_str() {
        "idle-pollers" => "waiter_stack",
        _ => "holder_stack",
    };
    let is_at_cause = |row: &&Value| {
        let stack = usize::try_from(row[side].as_u64().unwrap()).unwrap();
        truth.is_at(&process.0["stacks"][stack]["frames"][0])
    };
    let rows = list(&process.0["waited_at"]).iter();
    let known = rows.filter(|row| {
        ["waiter_stack", "holder", "holder_stack"]
            .iter()
            .all(|field| row[field].is_u64())
    });
    let sum_ns = |row: &Value| row["sum_ns"].as_u64().unwrap();
    let known_ns: u64 = known.clone().map(sum_ns).sum();
    let at_cause_ns: u64 = known.filter(is_at_cause).map(sum_ns).sum();
    assert!(
        at_cause_ns * 2 > known_ns,
        "{truth:?}: {at_cause_ns} of {known_ns}"
    );
}
