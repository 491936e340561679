//! Processes end, are replaced, fork and start threads while they are traced, and the report says
//! what was seen.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, process::Command, thread, time::Duration};

use gilscope_tests::{
    DEADLINE, Running, Traced, Tracer, gilscope, kernel, need_root, python, run, until,
};
use nix::sys::signal::Signal;

/// Prints `ready` and does the rest after a line from us.
fn waiting(then: &str) -> Running {
    start(&format!("say('ready'); sys.stdin.readline()\n{then}"))
}

fn start(source: &str) -> Running {
    Running::ready(&mut python().script(&with_prelude(source)))
}

/// `spin(seconds)` keeps three threads busy.
fn with_prelude(source: &str) -> String {
    let prelude = "\
import os, sys, threading, time
def say(line): print(line, flush=True)
def busy(until):
    while time.monotonic() < until: sum(range(1000))
def spin(seconds):
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=busy, args=(until,)) for _ in range(3)]
    for one in threads: one.start()
    for one in threads: one.join()
";
    format!("{prelude}{source}")
}

fn succeeded(traced: &Traced) {
    assert_eq!(traced.ended.status, 0, "{:?}", traced.ended);
}

#[test]
fn a_target_that_ends_by_itself() {
    let mut target = waiting("spin(0.3); sys.exit(7)");
    let tracer = Tracer::attach(&[target.pid()]);
    target.tell("go");
    let traced = tracer.end();
    succeeded(&traced);
    let process = traced.report.only_process();
    assert_eq!(process.exit_status(), Some(7));
    assert_eq!(process.thread_count(), 4);
    assert!(process.gil_wait().number("count") > 0);
    assert!(process.number("ended/at_ns") <= traced.report.number("duration_ns"));
    assert!(traced.ended.stdout.contains("It ended with status 7"));
    for thread in process.threads() {
        let (from, to) = (thread.number("started_at_ns"), thread.number("ended_at_ns"));
        assert!(
            from <= to && to <= process.number("ended/at_ns"),
            "{thread:?}"
        );
    }
    assert_eq!(target.end().status, 7);
}

#[test]
fn a_target_that_is_killed() {
    let mut target = waiting("spin(60)");
    let tracer = Tracer::attach(&[target.pid()]);
    target.tell("go");
    until("busy threads", || {
        (kernel::threads(target.pid()).len() == 4).then_some(())
    });
    target.signal(Signal::SIGKILL);
    let traced = tracer.end();
    succeeded(&traced);
    let process = traced.report.only_process();
    assert_eq!(process.exit_status(), Some(128 + 9));
    assert_eq!(process.thread_count(), 4);
    assert!(traced.ended.stdout.contains("It ended by signal 9"));
}

#[test]
fn a_process_that_is_no_more_or_never_was() {
    need_root();
    let gone = Running::start(&mut Command::new("true"));
    let pid = gone.pid();
    gone.end();
    // The highest number that any kernel gives out: PID_MAX_LIMIT - 1.
    for pid in [pid, (1 << 22) - 1] {
        let ended = run(&["--pid", &pid.to_string()]);
        assert_eq!((ended.status, ended.stdout.as_str()), (1, ""), "{ended:?}");
        assert!(
            ended.stderr.contains(&format!("no process {pid}")),
            "{ended:?}"
        );
    }
}

/// Whenever it dies, there is a report or a sentence, and an end.
#[test]
fn a_target_that_dies_as_it_is_attached_to() {
    need_root();
    for milliseconds in (0..600).step_by(60) {
        let target = start(
            "say('ready'); threading.Thread(target=spin, args=(60,)).start(); time.sleep(60)",
        );
        let pid = target.pid().to_string();
        let mut command = Command::new(gilscope());
        let tracer = Running::start(command.args(["--pid", &pid]));
        thread::sleep(Duration::from_millis(milliseconds));
        drop(target);
        let ended = tracer.end();
        let sentence = ["no process", "has ended", "zombie"]
            .iter()
            .any(|part| ended.stderr.contains(part));
        let reported = ended.status == 0 && ended.stdout.contains("It ended by signal 9");
        assert!(
            reported || (ended.status == 1 && sentence),
            "{milliseconds} ms: {ended:?}"
        );
    }
}

#[test]
fn a_target_that_becomes_another_program() {
    let mut target = waiting("spin(0.3); os.execv('/bin/sleep', ['sleep', '60'])");
    let pid = target.pid();
    let tracer = Tracer::attach(&[pid]);
    target.tell("go");
    until("sleep", || is_named(pid, "sleep"));
    kernel::idle_threads(pid);
    let traced = tracer.finish();
    succeeded(&traced);
    let process = traced.report.process(pid);
    assert!(process.0["ended"].is_null());
    assert_eq!(process.0["cmdline"], serde_json::json!(["sleep", "60"]));
    assert!(process.gil_wait().number("count") > 0);
    assert_eq!(process.thread_count(), 4);
}

fn is_named(pid: u32, name: &str) -> Option<()> {
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (comm.trim_end() == name).then_some(())
}

/// Its new GIL is another one, even where it lies at the same address.
#[test]
fn a_target_that_becomes_another_python() {
    let source = with_prelude(
        "say('ready'); sys.stdin.readline(); spin(0.3)
if len(sys.argv) < 3: os.execv(sys.executable, [sys.executable, '-c', sys.argv[1], 'again', 'again'])
say('done'); sys.stdin.read()",
    );
    for (changer, arguments) in [("setarch", &["--addr-no-randomize"][..]), ("env", &[])] {
        let mut command = Command::new(changer);
        command
            .args(arguments)
            .arg(python().program())
            .args(["-c", &source, &source]);
        let mut target = Running::ready(&mut command);
        let pid = target.pid();
        let tracer = Tracer::attach(&[pid]);
        target.tell("go");
        until("the second start", || {
            let cmdline = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
            cmdline.ends_with("again\0again\0").then_some(())
        });
        target.tell("go");
        target.prints("done");
        let traced = tracer.finish();
        succeeded(&traced);
        let process = traced.report.only_process();
        assert_eq!(
            process.0["gils"].as_array().unwrap().len(),
            2,
            "{process:?}"
        );
        let waited_for = |id: u64| {
            let threads = process.threads().into_iter();
            let rows = threads.flat_map(|thread| thread.0["gil"].as_array().unwrap().clone());
            rows.filter(|row| row["gil_id"] == id && row["wait"]["count"] != 0)
                .count()
        };
        assert!(waited_for(0) >= 2 && waited_for(1) >= 2, "{process:?}");
    }
}

#[test]
fn a_thread_that_replaces_the_program() {
    let mut target = waiting(
        "threading.Thread(target=os.execv, args=('/bin/sleep', ['sleep', '60'])).start(); spin(60)",
    );
    let pid = target.pid();
    let tracer = Tracer::attach(&[pid]);
    target.tell("go");
    until("sleep", || is_named(pid, "sleep"));
    kernel::idle_threads(pid);
    let traced = tracer.finish();
    succeeded(&traced);
    let process = traced.report.only_process();
    assert!(process.0["ended"].is_null(), "{process:?}");
    let alive = process
        .threads()
        .into_iter()
        .filter(|thread| thread.0["ended_at_ns"].is_null());
    let alive: Vec<_> = alive.map(|thread| thread.number("tid")).collect();
    assert_eq!(alive, [u64::from(pid)], "{process:?}");
}

const FORKS: &str = "
pid = os.fork()
if pid == 0:
    spin(0.3)
    os._exit(5)
os.waitpid(pid, 0)
say('child %d' % pid)
sys.stdin.read()";

#[test]
fn a_child_is_not_its_parent() {
    let mut target = waiting(FORKS);
    let tracer = Tracer::attach(&[target.pid()]);
    target.tell("go");
    target.prints("child ");
    let traced = tracer.finish();
    succeeded(&traced);
    let process = traced.report.only_process();
    assert_eq!(process.pid(), target.pid());
    assert_eq!(process.thread_count(), 1);
    assert_eq!(process.gil_wait().number("count"), 0);
}

#[test]
fn a_child_is_followed_where_that_is_asked_for() {
    let mut target = waiting(FORKS);
    let tracer = Tracer::attach_with(&[target.pid()], &["--children"]);
    target.tell("go");
    let child = target.prints("child ")["child ".len()..].parse().unwrap();
    let traced = tracer.finish();
    succeeded(&traced);
    assert_eq!(traced.report.processes().len(), 2);
    let parent = traced.report.process(target.pid());
    assert_eq!(
        (parent.thread_count(), parent.gil_wait().number("count")),
        (1, 0)
    );
    assert!(parent.0["ended"].is_null());
    let process = traced.report.process(child);
    assert_eq!(process.thread_count(), 4);
    assert!(process.gil_wait().number("count") > 0, "{process:?}");
    assert_eq!(process.exit_status(), Some(5));
}

/// More GILs than a small table of futex words has room for.
#[test]
fn many_children_at_one_time() {
    let mut target = waiting(
        "
reader, writer = os.pipe()
for _ in range(60):
    if os.fork() == 0: os.close(writer); os.read(reader, 1); os._exit(0)
say('forked'); sys.stdin.read(); os.close(writer)
for _ in range(60): os.wait()",
    );
    let mut tracer = Tracer::attach_with(&[target.pid()], &["--children", "-v"]);
    target.tell("go");
    target.prints("forked");
    tracer.running().complains_often(" is followed", 60);
    target.hang_up();
    let traced = tracer.end();
    succeeded(&traced);
    assert_eq!(traced.report.processes().len(), 61);
    assert_eq!(traced.report.number("loss/events_lost"), 0);
    for process in traced.report.processes() {
        assert_eq!(process.exit_status(), Some(0), "{process:?}");
        assert_eq!(
            process.0["gils"].as_array().unwrap().len(),
            1,
            "{process:?}"
        );
    }
}

/// A prefork master: the children are there before gilscope is.
#[test]
fn children_that_are_there_already() {
    let mut target = start(
        "
children = [os.fork() or (spin(60), os._exit(0)) for _ in range(2)]
say('ready'); sys.stdin.read()
for pid in children: os.kill(pid, 9); os.waitpid(pid, 0)",
    );
    let alone = Tracer::attach(&[target.pid()]).finish();
    assert_eq!(alone.report.processes().len(), 1);
    assert!(
        alone.ended.stderr.contains("2 Python descendant(s)"),
        "{:?}",
        alone.ended
    );
    assert!(
        alone.ended.stderr.contains("--children"),
        "{:?}",
        alone.ended
    );
    let together = Tracer::attach_with(&[target.pid()], &["--children"]).finish();
    assert_eq!(together.report.processes().len(), 3);
    target.hang_up();
    assert_eq!(target.end().status, 0);
}

#[test]
fn threads_that_start_later() {
    let mut target = waiting("spin(0.3); say('done'); sys.stdin.read()");
    let tracer = Tracer::attach(&[target.pid()]);
    target.tell("go");
    target.prints("done");
    let traced = tracer.finish();
    succeeded(&traced);
    let process = traced.report.only_process();
    assert_eq!(process.thread_count(), 4);
    for thread in process.threads() {
        let is_main = thread.number("tid") == u64::from(target.pid());
        assert_eq!(thread.0["ended_at_ns"].is_null(), is_main, "{thread:?}");
        if !is_main {
            let (from, to) = (thread.number("started_at_ns"), thread.number("ended_at_ns"));
            assert!(0 < from && from < to && to - from == thread.number("observed_ns"));
            assert!(thread.gil_sum("wait/count") > 0, "{thread:?}");
        }
    }
}

/// Thread ids are used again; each thread is a row of its own all the same.
#[test]
fn many_short_threads() {
    let mut target = waiting(
        "
for _ in range(2000):
    one = threading.Thread(target=len, args=((),)); one.start(); one.join()
say('done'); sys.stdin.read()",
    );
    let tracer = Tracer::attach(&[target.pid()]);
    target.tell("go");
    target.prints("done");
    let traced = tracer.finish();
    succeeded(&traced);
    assert_eq!(traced.report.number("loss/events_lost"), 0);
    let process = traced.report.only_process();
    assert_eq!(process.thread_count(), 2001);
    let threads = process.threads();
    let rows = threads
        .iter()
        .map(|thread| (thread.number("tid"), thread.number("started_at_ns")));
    assert_eq!(rows.collect::<BTreeSet<_>>().len(), 2001);
}

#[test]
fn one_thread_never_waits() {
    let target = start("say('ready'); busy(time.monotonic() + 60)");
    let traced = Tracer::attach_with(&[target.pid()], &["--duration", "0.3"]).end();
    succeeded(&traced);
    let process = traced.report.only_process();
    assert_eq!(process.thread_count(), 1);
    assert_eq!(process.gil_wait().number("count"), 0);
    assert_eq!(process.number("contended_ns"), 0);
    assert!(process.thread(target.pid()).number("cpu/on_cpu_ns") > 0);
    assert!(traced.ended.stdout.contains("No thread waited for the GIL"));
}

#[test]
fn two_processes_in_one_report() {
    let targets = [(); 2].map(|()| start("say('ready'); spin(60)"));
    let pids = targets.each_ref().map(Running::pid);
    let traced = Tracer::attach_with(&pids, &["--duration", "0.5"]).end();
    succeeded(&traced);
    assert_eq!(traced.report.processes().len(), 2);
    for pid in pids {
        let process = traced.report.process(pid);
        assert_eq!(process.thread_count(), 4);
        assert!(process.gil_wait().number("count") > 0);
        assert!(traced.ended.stdout.contains(&format!("Process {pid}:")));
    }
}

/// The one that lives on is traced on.
#[test]
fn one_of_two_processes_ends() {
    let (mut first, mut second) = (waiting("sys.exit(3)"), waiting("spin(0.3); sys.exit(4)"));
    let tracer = Tracer::attach(&[first.pid(), second.pid()]);
    first.tell("go");
    let pid = first.pid();
    assert_eq!(first.end().status, 3);
    second.tell("go");
    let traced = tracer.end();
    succeeded(&traced);
    assert_eq!(traced.report.process(pid).exit_status(), Some(3));
    let process = traced.report.process(second.pid());
    assert_eq!(process.exit_status(), Some(4));
    assert!(process.gil_wait().number("count") > 0);
}

#[test]
fn the_same_process_twice_is_one() {
    let target = start("say('ready'); spin(60)");
    let pid = target.pid();
    let traced = Tracer::attach_with(&[pid, pid], &["--duration", "0.3"]).end();
    succeeded(&traced);
    assert_eq!(traced.report.only_process().pid(), pid);
}

/// What was asked for is what is observed, and not much is spent beyond it.
#[test]
fn the_duration_is_kept() {
    let target = start("say('ready'); spin(60)");
    let traced = Tracer::attach_with(&[target.pid()], &["--duration", "700ms"]).end();
    succeeded(&traced);
    let observed = Duration::from_nanos(traced.report.only_process().number("observed_ns"));
    assert!(observed >= Duration::from_millis(700), "{observed:?}");
    assert!(observed < DEADLINE / 30, "{observed:?}");
}
