//! Where threads wait, and where the one is that has the GIL, is where Python itself says that they are.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use gilscope_tests::{
    Process, Program, Python, Running, Thread, Traced, Tracer, builds, need_root, python,
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

/// Those whose GIL counts its changes, so that its holder can be known.
fn with_holders() -> impl Iterator<Item = Python> {
    let all = builds().into_iter();
    all.filter(|python| !python.version.starts_with("2."))
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

fn check(process: &Process<'_>, places: &[Value]) {
    let (stacks, rows) = (list(&process.0["stacks"]), list(&process.0["waited_at"]));
    let mut seen = vec![false; places.len()];
    for stack in stacks {
        let at = places.iter().position(|place| is_at(stack, place));
        let at = at.unwrap_or_else(|| panic!("nobody was at {stack:#}\nbut at {places:#?}"));
        seen[at] = true;
    }
    assert!(seen.iter().all(|seen| *seen), "{seen:?} of {places:#?}");
    // The first thread is where it has the GIL, whoever waits.
    let (first, at) = (process.pid(), places.last().unwrap());
    let of_first: Vec<_> = rows.iter().filter(|row| row["holder"] == first).collect();
    for row in &of_first {
        if let Some(index) = row["holder_stack"].as_u64() {
            let stack = &stacks[usize::try_from(index).unwrap()];
            assert!(is_at(stack, at), "{stack:#}");
        }
    }
    check_sums(process, 90);
}

/// Of nearly all of the time both places are known. A thread's own is not read in its first wait, which is as long as its longest at most.
fn check_sums(process: &Process<'_>, percent: u64) {
    let both_ns = process.number("waited_at_both_ns");
    let known_ns = sum_ns(list(&process.0["blocked_by"]));
    let longest_ns = |thread: &Thread<'_>| {
        let gils = list(&thread.0["gil"]).iter();
        let all = gils.map(|gil| {
            let [finished, at_start, at_end] = [
                "/wait/max_ns",
                "/unfinished/at_start_ns",
                "/unfinished/at_end_ns",
            ]
            .map(|field| gil.pointer(field).unwrap().as_u64().unwrap());
            finished.max(at_start).max(at_end)
        });
        all.sum::<u64>()
    };
    let first_ns: u64 = process.threads().iter().map(longest_ns).sum();
    println!("both: {both_ns} of {known_ns} ns");
    assert!(
        both_ns >= known_ns.saturating_sub(first_ns) / 100 * percent,
        "{both_ns} of {known_ns}, {first_ns}"
    );
    let all_ns = sum_ns(list(&process.0["waited_at"]));
    assert!(all_ns <= known_ns && both_ns <= all_ns, "{process:?}");
}

#[test]
fn both_are_where_python_says() {
    need_root();
    for python in with_holders() {
        println!("{} ({})", python.name, python.version);
        let target = Running::ready(&mut python.workload(PLACES, &[]));
        let said: Value = serde_json::from_str(&target.prints("places")).unwrap();
        let traced = trace_enough(target.pid(), |process| {
            let threads = process.threads().into_iter();
            let mut others = threads.filter(|it| it.number("tid") != u64::from(process.pid()));
            // A thread's own stack is not read in its first wait.
            others.all(|thread| thread.gil_sum("wait/count") >= 5)
        });
        check(&traced.report.process(target.pid()), list(&said["places"]));
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
    for python in with_holders() {
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

/// Of the time that threads waited, both places are known for nearly all, and the one where the GIL was had longest is the cause.
#[test]
fn incidents() {
    need_root();
    for name in ["udp_echo", "idle_pollers", "system_time"] {
        let program = Program::start(python(), &format!("incidents/{name}"), &["--seconds", "30"]);
        let (pid, truth) = (program.truth.processes[0], &program.truth);
        let traced = trace(pid, 4);
        let process = traced.report.process(pid);
        let waited_ns: u64 = process
            .threads()
            .iter()
            .map(|thread| thread.gil_sum("wait/sum_ns"))
            .sum();
        let both_ns = process.number("waited_at_both_ns");
        let known_ns = sum_ns(list(&process.0["blocked_by"]));
        let share = |ns: u64| 100.0 * ns as f64 / waited_ns as f64;
        println!(
            "{name}: of {waited_ns} ns both in {:.2} %, some holder in {:.2} %, nobody in {:.2} %",
            share(both_ns),
            share(known_ns),
            share(process.number("blocked_by_nobody_ns"))
        );
        let (Some(function), Some(file)) = (&truth.function, &truth.file) else {
            continue;
        };
        // It is what waits that is wrong with pollers.
        let side = match truth.finding.as_str() {
            "idle-pollers" => "waiter_stack",
            _ => "holder_stack",
        };
        let mut at_cause_ns = 0;
        for row in list(&process.0["waited_at"]) {
            let Some(stack) = row[side].as_u64() else {
                continue;
            };
            let frame = &process.0["stacks"][usize::try_from(stack).unwrap()]["frames"][0];
            let line = usize::try_from(frame["line"].as_u64().unwrap()).unwrap();
            if frame["name"] == *function
                && frame["file"] == file.to_str().unwrap()
                && truth.lines.contains(&line)
            {
                at_cause_ns += row["sum_ns"].as_u64().unwrap();
            }
        }
        // On a loaded machine a thread that has been given the GIL may take long to wake up: it is nobody's then.
        // Where 45 threads wait at once, each looks every 5 ms, and more often than stacks are read (docs/report.md, "How many").
        let percent = if truth.finding == "idle-pollers" {
            50
        } else {
            95
        };
        check_sums(&process, percent);
        assert!(
            at_cause_ns * 2 > both_ns,
            "{name}: {at_cause_ns} of {both_ns}"
        );
    }
}
