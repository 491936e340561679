//! Whether garbage is collected, and how often it was, read of real interpreters: a program that does nothing else is seen to do so, and one
//! that never does is not; the counts are those that the program itself tells. Needs root, to read another process, and for the interpreters that have a root folder of their own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use gilscope::interpreter::Interpreter;
use gilscope::target::Process;
use gilscope_tests::{Python, Running, interpreters};
use nix::sys::signal::Signal;
use std::{thread, time::Duration};

/// Has a heap on which a collection takes milliseconds, and does nothing but collect until it gets a signal. From then on it works with
/// numbers, which are no garbage.
const SOURCE: &str = "
import gc, signal, sys
def say(line):
    sys.stdout.write(line + '\\n')
    sys.stdout.flush()
class Enough(Exception): pass
def enough(*_): raise Enough
signal.signal(signal.SIGUSR1, enough)
heap = [[] for _ in range(100000)]
def collects():
    try:
        say('collects')
        while True: gc.collect()
    except Enough: say('works')
def works():
    number = 1
    while True: number = (number * 3 + 1) % 1000003
collects()
works()
";
const LOOKS: usize = 100;
/// No divisor of a collection's time.
const BETWEEN: Duration = Duration::from_micros(700);

/// Those that this user can start.
fn startable() -> impl Iterator<Item = Python> {
    let is_root = nix::unistd::geteuid().is_root();
    interpreters().into_iter().filter(move |python| {
        let is_startable = python.root().is_none() || is_root;
        if !is_startable {
            println!("skipped: {}: needs root", python.name);
        }
        is_startable
    })
}

/// Whether it has no `_PyRuntime`: its flag is told by a symbol alone, and its counters lie in no known place.
fn is_old(python: &Python) -> bool {
    let is = |version| python.version.starts_with(version);
    ["2.7.", "3.6."].into_iter().any(is)
}

/// Collects what it is told to, and nothing else, and says what `gc.get_stats` says.
const COUNTING: &str = "
import gc, json, sys
gc.disable()
said = 0
def say():
    global said
    stats = getattr(gc, 'get_stats', lambda: [])()
    sys.stdout.write('%d:' % said + json.dumps([[one['collections'], one.get('duration')] for one in stats]) + '\\n')
    sys.stdout.flush()
    said += 1
say()
for line in iter(sys.stdin.readline, ''):
    for generation in line.split(): gc.collect(int(generation))
    say()
";
const TOLD_TO: [&str; 3] = ["0", "2 2 1 1 1", "0 0 0 0 0 0 0 0 0 0 0 0 0 0 2 2 2 2"];

#[test]
fn they_are_counted_as_python_itself_counts() {
    for python in startable() {
        let mut running = Running::start(&mut python.script(COUNTING));
        running.prints("0:");
        let process = Process::open(running.pid()).unwrap();
        let interpreter = Interpreter::find(&process).unwrap();
        for number in 0..=TOLD_TO.len() {
            let said = running.prints(&format!("{number}:"));
            let found = interpreter.collections(process.memory());
            assert_eq!(found.is_some(), !is_old(&python), "{}", python.name);
            if let Some(found) = found {
                let said: [(u64, Option<f64>); 3] = serde_json::from_str(&said[2..]).unwrap();
                println!("{}: {found:?}", python.name);
                let counts = said.map(|(count, _)| count);
                assert_eq!(found.map(|it| it.count), counts, "{}", python.name);
                for (found, (_, seconds)) in found.iter().zip(said) {
                    assert_eq!(found.sum_ns.is_some(), seconds.is_some());
                    let apart = found.sum_ns.unwrap_or(0) as f64 / 1e9 - seconds.unwrap_or(0.0);
                    assert!(apart.abs() < 1e-6, "{found:?}: {seconds:?} s");
                }
            }
            if let Some(told_to) = TOLD_TO.get(number) {
                running.tell(told_to);
            }
        }
    }
}

#[test]
fn it_is_seen_while_it_lasts_and_at_no_other_time() {
    for python in startable() {
        let running = Running::start(&mut python.script(SOURCE));
        running.prints("collects");
        let process = Process::open(running.pid()).unwrap();
        let memory = process.memory();
        let interpreter = Interpreter::find(&process).unwrap();
        let threads = interpreter.thread_states(memory);
        assert_eq!(threads.len(), 1, "{}", python.name);
        let looks = || {
            let look = || {
                thread::sleep(BETWEEN);
                interpreter.is_collecting(memory, threads[0].address)
            };
            let all = std::iter::repeat_with(look).take(LOOKS);
            all.collect::<Vec<_>>()
        };
        let collects = looks();
        running.signal(Signal::SIGUSR1);
        running.prints("works");
        let works = looks();
        let seen = collects.iter().filter(|it| **it == Some(true)).count();
        println!("{}: {seen} of {LOOKS}", python.name);
        if python.is_stripped && is_old(&python) {
            assert_eq!([collects, works], [[None; LOOKS]; 2], "{}", python.name);
        } else {
            assert!(!collects.contains(&None), "{}", python.name);
            assert!(seen > LOOKS / 2, "{}: {seen}", python.name);
            assert_eq!(works, [Some(false); LOOKS], "{}", python.name);
        }
    }
}
