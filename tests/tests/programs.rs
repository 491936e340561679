//! The programs that the findings are judged by are what they say: each shows its symptom, and its near miss does not.
//!
//! Nothing is traced here. Figures are compared between the two only: a loaded machine changes both.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, thread, time::Duration};

use Symptom::{Fewer, More};
use gilscope_tests::{HEALTHY, Program, Python, python, python_2_7, python_with_packages};
use nix::sys::signal::Signal;
use serde_json::Value;

/// How long each runs.
const SECONDS: f64 = 0.5;
/// How far a program and its near miss are apart at least. Most are by ten times and more.
const APART: f64 = 2.0;

/// Which figure of the result shows what is wrong.
#[derive(Clone, Copy, Debug)]
enum Symptom {
    More(&'static str),
    Fewer(&'static str),
}

const FINDINGS: [(&str, &str, Symptom); 7] = [
    ("asleep", "asleep-with-gil", More("beats_p50_ms")),
    ("deadlock", "deadlock", Fewer("ops")),
    ("gc_pauses", "gc-pauses", More("pauses_p50_ms")),
    ("gil_bound", "gil-bound", More("user")),
    ("native_code", "native-holds-gil", More("beats_p50_ms")),
    ("oversubscribed", "oversubscribed", More("waited")),
    ("tight_loop", "tight-loop", More("user")),
];
const INCIDENTS: [(&str, &str, Symptom); 4] = [
    ("highcpu", "tight-loop", More("user")),
    ("idle_pollers", "idle-pollers", More("voluntary")),
    ("logging_fork", "deadlock", Fewer("ops")),
    ("udp_echo", "convoy", More("more_switches_an_echo")),
];
/// The same program, but the new GIL has another weakness.
const ON_2: (&str, &str, Symptom) = ("system_time", "gil-thrash", More("system"));
const ON_3: (&str, &str, Symptom) = ("system_time", "convoy", More("voluntary"));

/// The truth's lines are those that are marked in the file.
fn check_cause(program: &Program) {
    let truth = &program.truth;
    let Some(file) = &truth.file else { return };
    let text = fs::read_to_string(file).unwrap();
    let marked = |line: &&str| line.contains("# The cause");
    let marks = text.lines().filter(marked).count();
    let found = truth
        .lines
        .iter()
        .map(|line| text.lines().nth(line - 1).unwrap());
    assert!(
        marks > 0 && found.filter(marked).count() == marks,
        "{truth:?}"
    );
}

/// Runs it, and asks it to end; then its near miss, which ends by itself. Two figures: the one that is to be more, and the other.
fn run(python: &Python, name: &str, (_, finding, symptom): (&str, &str, Symptom)) -> (f64, f64) {
    let program = Program::start(python, name, &["--seconds", "30"]);
    assert_eq!(program.truth.finding, finding, "{name}");
    check_cause(&program);
    thread::sleep(Duration::from_secs_f64(SECONDS));
    program.running.signal(Signal::SIGTERM);
    let result = program.end();
    let near = Program::start(
        python,
        name,
        &["--near-miss", "--seconds", &SECONDS.to_string()],
    );
    assert_eq!(near.truth.finding, "healthy", "{name}");
    assert_eq!(near.truth.near.as_deref(), Some(finding), "{name}");
    let near = near.end();
    let figure = |result: &Value, field: &str| result[field].as_f64().unwrap();
    match symptom {
        More(field) => (figure(&result, field), figure(&near, field)),
        Fewer(field) => (figure(&near, field), figure(&result, field)),
    }
}

/// A shared machine may stop for as long as a program runs, but hardly three times.
fn check(python: &Python, folder: &str, program: (&str, &str, Symptom)) {
    let name = format!("{folder}/{}", program.0);
    let is_shown = |_| {
        let (more, less) = run(python, &name, program);
        let symptom = program.2;
        println!("{}: {name}: {symptom:?}: {more} to {less}", python.name);
        more > APART * less
    };
    assert!((0..3).any(is_shown), "{}: {name}", python.name);
}

#[test]
fn findings_and_near_misses() {
    for finding in FINDINGS {
        check(python(), "findings", finding);
    }
}

#[test]
fn incidents() {
    for incident in [&INCIDENTS[..], &[ON_3]].concat() {
        check(python(), "incidents", incident);
    }
}

/// Four of the five were seen there.
#[test]
fn incidents_where_they_were() {
    let Some(old) = python_2_7() else { return };
    for incident in [&INCIDENTS[..], &[ON_2]].concat() {
        check(&old, "incidents", incident);
    }
}

/// Real packages that do what is asked of them, nearly on time.
#[test]
fn healthy_ones() {
    let Some(python) = python_with_packages() else {
        println!("skipped: no packages from PyPI: cargo xtask assets pypi");
        return;
    };
    for name in HEALTHY {
        let name = format!("healthy/{name}");
        // A shared machine may stop for as long, but hardly three times.
        let is_on_time = |_| {
            let program = Program::start(&python, &name, &["--seconds", "1"]);
            assert_eq!(program.truth.finding, "healthy", "{name}");
            let result = program.end();
            println!("{name}: {result}");
            let figure = |field: &str| result.get(field).and_then(Value::as_f64);
            assert!(
                figure("failed").is_none_or(|failed| failed == 0.0),
                "{name}: {result}"
            );
            let done = figure("ops").unwrap();
            // What was due, of those that say.
            done > 0.0 && 2.0 * done > figure("due").unwrap_or(0.0)
        };
        assert!((0..3).any(is_on_time), "{name}");
    }
}
