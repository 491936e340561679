//! `gilscope dump`: the functions, files and lines are those that Python itself tells, on every version and build; deadlocks are named, and slow
//! programs are none.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use gilscope_tests::{
    Ended, Python, Running, builds, environment_with, kernel, need_root, python, run, until,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

const STACKS: &str = include_str!("../workloads/stacks.py");
const DEADLOCKS: &str = include_str!("../workloads/deadlocks.py");
/// As many functions of one thread are told.
const MAX_FRAMES: usize = 1024;

fn script(python: &Python, source: &str, arguments: &[&str]) -> Command {
    // 2.7 takes its arguments as bytes; an ASCII locale would have 3.6 refuse these.
    let mut command = python.script("import sys; exec(sys.argv.pop(1))");
    command
        .env("LC_ALL", "C.UTF-8")
        .env("PYTHONWARNINGS", "ignore");
    command.arg(source).args(arguments);
    command
}

fn dump(pid: u32) -> Value {
    let ended = run(&["dump", "--json", "--pid", &pid.to_string()]);
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    let dump: Value = serde_json::from_str(&ended.stdout).unwrap();
    let schema: Value = serde_json::from_str(include_str!("../../docs/dump.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<_> = validator
        .iter_errors(&dump)
        .map(|e| e.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}: {dump:#}");
    dump
}

fn dump_as_text(pid: u32) -> Ended {
    let ended = run(&["dump", "--pid", &pid.to_string()]);
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    ended
}

fn thread(dump: &Value, tid: u64) -> &Value {
    let mut threads = dump["threads"].as_array().unwrap().iter();
    let found = threads.find(|thread| thread["tid"] == tid);
    found.unwrap_or_else(|| panic!("no thread {tid} in {dump:#}"))
}

/// A thread's functions, as the workload tells them.
fn functions(thread: &Value) -> Vec<Value> {
    let stacks = thread["stacks"].as_array().unwrap();
    assert_eq!(stacks.len(), 1, "{thread:#}");
    assert_eq!(stacks[0]["unreadable"], 0, "{thread:#}");
    assert_eq!(stacks[0]["consistent"], true, "{thread:#}");
    let frames = stacks[0]["frames"].as_array().unwrap().iter();
    frames
        .map(|frame| {
            json!([
                frame["name"],
                frame["file"],
                frame["line"],
                frame["qualified_name"]
            ])
        })
        .collect()
}

#[test]
fn functions_files_and_lines_are_python_s_own() {
    need_root();
    for python in builds() {
        println!("{} ({})", python.name, python.version);
        let target = Running::start(&mut script(&python, STACKS, &[]));
        let told: Value = serde_json::from_str(&target.prints("functions")).unwrap();
        let told: BTreeMap<u64, Vec<Value>> =
            serde_json::from_value(told["functions"].clone()).unwrap();
        assert!(told.len() >= 9, "{told:?}");
        // The main thread has still to read.
        kernel::idle_threads(target.pid());
        let dump = dump(target.pid());
        for (tid, expected) in &told {
            let thread = thread(&dump, *tid);
            let is_cut = expected.len() > MAX_FRAMES;
            assert_eq!(thread["stacks"][0]["truncated"], is_cut);
            let shown = expected.len().min(MAX_FRAMES);
            assert_eq!(functions(thread), expected[..shown], "{}", python.name);
            // All of them want one lock.
            assert_eq!(thread["doing"]["what"], "waits-for-lock", "{thread:#}");
        }
        assert_eq!(dump["locks"].as_array().unwrap().len(), 1, "{dump:#}");
        assert_eq!(dump["locks"][0]["owner"], Value::Null);
        assert_eq!(dump["gils"][0]["holder"], Value::Null, "{dump:#}");
        let main = thread(&dump, target.pid().into());
        assert_eq!(main["doing"]["name"], "read", "{main:#}");
        assert!(functions(main).len() >= 2, "{main:#}");
    }
}

/// What py-spy says of each thread: its functions as above, the innermost first.
fn py_spy_s(program: &Path, pid: u32) -> Result<BTreeMap<u64, Vec<Value>>, String> {
    let mut command = Command::new(program);
    command.args(["dump", "--json", "--full-filenames", "--pid"]);
    let ended = Running::start(command.arg(pid.to_string())).end();
    if ended.status != 0 {
        return Err(ended.stderr);
    }
    let threads: Vec<Value> = serde_json::from_str(&ended.stdout).unwrap();
    let threads = threads.iter().map(|thread| {
        let frames = thread["frames"].as_array().unwrap().iter();
        let frames = frames.map(|it| json!([it["name"], it["filename"], it["line"]]));
        (thread["os_thread_id"].as_u64().unwrap(), frames.collect())
    });
    Ok(threads.collect())
}

/// The functions and files are the same. The lines too, but where py-spy's differs from Python's own: it takes a line table's large steps for small
/// ones.
#[test]
fn py_spy_says_the_same() {
    need_root();
    let bin = match environment_with("py-spy==0.4.3", Path::new(env!("CARGO_TARGET_TMPDIR"))) {
        Ok(bin) => bin,
        Err(reason) => {
            println!("skipped: PyPI's py-spy cannot be had: {reason}");
            return;
        }
    };
    let mut judged = Vec::new();
    for python in builds() {
        let target = Running::start(&mut script(&python, STACKS, &[]));
        let told: Value = serde_json::from_str(&target.prints("functions")).unwrap();
        kernel::idle_threads(target.pid());
        let py_spy_s = match py_spy_s(&bin.join("py-spy"), target.pid()) {
            Ok(threads) => threads,
            Err(reason) => {
                let reason = reason.lines().next().unwrap_or_default();
                println!("skipped: py-spy cannot read {}: {reason}", python.name);
                continue;
            }
        };
        let dump = dump(target.pid());
        let (mut lines, mut other_lines) = (0, 0);
        for (tid, theirs) in &py_spy_s {
            let ours = functions(thread(&dump, *tid));
            assert_eq!(ours.len(), theirs.len().min(MAX_FRAMES), "{}", python.name);
            let python_s = &told["functions"][tid.to_string()];
            for (at, (our, their)) in ours.iter().zip(theirs).enumerate() {
                // Qualified from 3.11 on.
                let has_name = [&our[0], &our[3]].contains(&&their[0]);
                assert!(has_name && our[1] == their[1], "{our} {their}");
                lines += 1;
                if our[2] != their[2] {
                    other_lines += 1;
                    assert_eq!(our[2], python_s[at][2], "{our} {their}");
                }
            }
        }
        println!(
            "{}: {} threads, {lines} lines, {other_lines} of them not Python's own in py-spy's",
            python.name,
            py_spy_s.len()
        );
        judged.push(python.version);
    }
    let minors = judged.iter().filter_map(|version| version.rsplit_once('.'));
    let minors: BTreeSet<_> = minors.map(|(minor, _)| minor).collect();
    assert!(minors.contains(&"2.7") && minors.len() >= 8, "{minors:?}");
}

/// A process that its parent may not have the time to end.
struct Child(u32);

impl Drop for Child {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0.try_into().unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
}

fn start(python: &Python, way: &str) -> (Running, Value) {
    let target = Running::start(&mut script(python, DEADLOCKS, &[way]));
    let told = serde_json::from_str(&target.prints("{")).unwrap();
    (target, told)
}

fn deadlock(pid: u32) -> Option<Value> {
    let dump = dump(pid);
    (dump["deadlocks"] != json!([])).then_some(dump)
}

/// One deadlock, of these threads. The circle begins at the lowest id, which need not be the first thread's: ids start over.
fn one_of(told: &Value, inferred: bool) -> Value {
    let mut threads = told["threads"].as_array().unwrap().clone();
    let lowest = (0..threads.len()).min_by_key(|&at| threads[at].as_u64());
    threads.rotate_left(lowest.unwrap());
    json!([{"threads": threads, "inferred": inferred}])
}

/// The lock that each thread of a circle waits for, and the thread that has it.
fn awaited<'a>(dump: &'a Value, told: &'a Value) -> Vec<(&'a Value, &'a Value)> {
    let tids = told["threads"].as_array().unwrap();
    let next = tids.iter().cycle().skip(1);
    let lock = |tid: &Value| {
        let id = &thread(dump, tid.as_u64().unwrap())["doing"]["lock_id"];
        &dump["locks"][usize::try_from(id.as_u64().unwrap()).unwrap()]
    };
    tids.iter().map(lock).zip(next).collect()
}

#[test]
fn a_circle_of_rlocks_is_a_deadlock() {
    need_root();
    for python in builds() {
        println!("{} ({})", python.name, python.version);
        let (target, told) = start(&python, "circle");
        let dump = until("the deadlock", || deadlock(target.pid()));
        assert_eq!(dump["deadlocks"], one_of(&told, false));
        for (lock, next) in awaited(&dump, &told) {
            let expected = (&json!(true), &json!({ "thread": next }));
            assert_eq!((&lock["rlock"], &lock["owner"]), expected, "{dump:#}");
        }
        let text = dump_as_text(target.pid()).stdout;
        assert!(
            text.contains("DEADLOCK: 3 threads wait for each other"),
            "{text}"
        );
    }
}

/// A plain lock does not tell who has it, but a function that is inside a `with` on it does. A free-threaded build too.
#[test]
fn a_circle_of_plain_locks_is_inferred() {
    need_root();
    for python in builds() {
        println!("{} ({})", python.name, python.version);
        let (target, told) = start(&python, "plain");
        let dump = until("the deadlock", || deadlock(target.pid()));
        assert_eq!(dump["deadlocks"], one_of(&told, true), "{dump:#}");
        for (lock, next) in awaited(&dump, &told) {
            let expected = (&json!(false), &Value::Null, &json!([next]));
            let has = (&lock["rlock"], &lock["owner"], &lock["inferred_owners"]);
            assert_eq!(has, expected, "{dump:#}");
        }
        let text = dump_as_text(target.pid()).stdout;
        assert!(text.contains("DEADLOCK (inferred"), "{text}");
    }
}

#[test]
fn who_wants_the_plain_lock_that_it_has() {
    need_root();
    for python in builds() {
        println!("{} ({})", python.name, python.version);
        let (target, told) = start(&python, "own");
        let dump = until("the deadlock", || deadlock(target.pid()));
        assert_eq!(dump["deadlocks"], one_of(&told, true), "{dump:#}");
        assert_eq!(dump["locks"][0]["inferred_owners"], told["threads"]);
    }
}

/// Beside the test's own clock, where the kernel tells.
#[test]
fn since_when_a_thread_sleeps() {
    need_root();
    let before = Instant::now();
    let (target, told) = start(python(), "circle");
    until("the deadlock", || deadlock(target.pid()));
    let slept = Instant::now();
    std::thread::sleep(Duration::from_secs(2));
    let (least, dump) = (slept.elapsed(), dump(target.pid()));
    let most = before.elapsed() + Duration::from_millis(100);
    let asleep_ns = &thread(&dump, told["threads"][0].as_u64().unwrap())["asleep_ns"];
    if !Path::new("/proc/self/sched").exists() {
        println!("skipped: this kernel has no /proc/PID/sched (CONFIG_SCHED_DEBUG)");
        assert_eq!(asleep_ns, &Value::Null);
        return;
    }
    let asleep = Duration::from_nanos(asleep_ns.as_u64().unwrap());
    // What a hypervisor took of the processor is missing.
    assert!(least / 2 <= asleep && asleep <= most, "{asleep:?}");
    let text = dump_as_text(target.pid()).stdout;
    assert!(text.contains(" s so far\n"), "{text}");
}

fn has_ctypes(python: &Python) -> bool {
    let output = python.script("import ctypes").output();
    output.is_ok_and(|output| output.status.success())
}

/// One has a mutex of C's, and the other the GIL.
#[test]
fn the_gil_may_be_a_part_of_it() {
    need_root();
    for python in builds().iter().filter(|python| has_ctypes(python)) {
        println!("{} ({})", python.name, python.version);
        let (target, told) = start(python, "mutex");
        let dump = until("the deadlock", || deadlock(target.pid()));
        assert_eq!(dump["deadlocks"], one_of(&told, false));
        assert_eq!(dump["gils"][0]["holder"], told["threads"][1], "{dump:#}");
        assert_eq!(dump["locks"][0]["kind"], "mutex", "{dump:#}");
    }
}

#[test]
fn a_lock_that_was_left_behind_by_fork() {
    need_root();
    for python in builds() {
        println!("{} ({})", python.name, python.version);
        let (_target, told) = start(&python, "fork");
        let child = Child(u32::try_from(told["child"].as_u64().unwrap()).unwrap());
        let is_stuck = || Some(dump(child.0)).filter(|dump| dump["locks"] != json!([]));
        let dump = until("the child to be stuck", is_stuck);
        assert_eq!(dump["locks"][0]["owner"], "left-behind-by-fork", "{dump:#}");
        assert_eq!(dump["deadlocks"], json!([]));
        let text = dump_as_text(child.0).stdout;
        assert!(text.contains("STUCK: an RLock"), "{text}");
    }
}

/// CPython calls a thread by its stack's address, which glibc gives again: who has the owner's id now need not be the owner.
#[test]
fn a_lock_that_was_left_behind_by_one_whose_id_another_has() {
    need_root();
    let mut judged = 0;
    for python in builds() {
        println!("{} ({})", python.name, python.version);
        let (_target, told) = start(&python, "reused");
        let child = Child(u32::try_from(told["child"].as_u64().unwrap()).unwrap());
        let dump = dump(child.0);
        let main = thread(&dump, child.0.into());
        assert_eq!(main["doing"]["what"], "waits-for-lock", "{dump:#}");
        if told["reusing"] == json!([]) {
            println!("its C library gave no stack again");
        } else if main["asleep_ns"].is_null() {
            println!("skipped: this kernel does not tell since when a thread sleeps");
            continue;
        } else {
            judged += 1;
        }
        assert_eq!(dump["locks"][0]["owner"], "left-behind-by-fork", "{dump:#}");
    }
    println!("{judged} judged");
    let tells = Path::new("/proc/self/sched").exists();
    assert!(judged > 0 || !tells, "no C library gave a stack again");
}

/// A young thread may well have a lock that others had waited for before it began.
#[test]
fn who_took_a_lock_from_under_those_that_waited_has_it() {
    need_root();
    for python in builds() {
        println!("{} ({})", python.name, python.version);
        let (_target, told) = start(&python, "handed");
        let child = Child(u32::try_from(told["child"].as_u64().unwrap()).unwrap());
        let dump = dump(child.0);
        let owner = json!({ "thread": told["owner"] });
        assert_eq!(dump["locks"][0]["owner"], owner, "{dump:#}");
    }
}

/// `Condition.wait` lets go of a lock that the thread is inside a `with` on, and waits for it at last: not for what it has itself.
#[test]
fn who_waits_for_a_lock_again_does_not_have_it() {
    need_root();
    for python in builds() {
        println!("{} ({})", python.name, python.version);
        let (target, told) = start(&python, "again");
        let tid = told["threads"][0].as_u64().unwrap();
        let dump = until("the thread to wait again", || {
            let dump = dump(target.pid());
            let waits = thread(&dump, tid)["doing"]["what"] == "waits-for-lock";
            let stacks = &thread(&dump, tid)["stacks"];
            let is_again = stacks.to_string().contains("_acquire_restore");
            (waits && (is_again || stacks == &json!([]))).then_some(dump)
        });
        assert_eq!(dump["deadlocks"], json!([]), "{dump:#}");
        for lock in dump["locks"].as_array().unwrap() {
            let inferred = lock["inferred_owners"].as_array().unwrap();
            assert!(!inferred.contains(&json!(tid)), "{dump:#}");
        }
    }
}

/// A container's threads have other ids inside.
#[test]
fn a_pid_namespace() {
    need_root();
    let python = python();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    command
        .arg(python.program())
        .args(["-c", DEADLOCKS, "circle"]);
    let target = Running::start(&mut command);
    let told: Value = serde_json::from_str(&target.prints("{")).unwrap();
    let children = format!("/proc/{0}/task/{0}/children", target.pid());
    let child = std::fs::read_to_string(children).unwrap();
    let child = child.trim().parse().unwrap();
    let dump = until("the deadlock", || deadlock(child));
    assert_eq!((&dump["pid"], &dump["ns_pid"]), (&json!(child), &json!(1)));
    let tids = dump["deadlocks"][0]["threads"].as_array().unwrap().iter();
    let mut ns_tids: Vec<_> = tids
        .map(|tid| &thread(&dump, tid.as_u64().unwrap())["ns_tid"])
        .collect();
    // From the lowest id outside.
    let first = ns_tids.iter().position(|tid| **tid == told["threads"][0]);
    ns_tids.rotate_left(first.unwrap());
    assert_eq!(json!(ns_tids), told["threads"]);
}

#[test]
fn who_is_slow_is_in_no_deadlock() {
    need_root();
    for python in builds() {
        println!("{} ({})", python.name, python.version);
        let (target, told) = start(&python, "slow");
        for _ in 0..10 {
            let dump = dump(target.pid());
            assert_eq!(dump["deadlocks"], json!([]), "{dump:#}");
            for tid in told["threads"].as_array().unwrap() {
                let thread = thread(&dump, tid.as_u64().unwrap());
                assert_ne!(thread["stacks"], json!([]), "{thread:#}");
            }
        }
    }
}

#[test]
fn what_cannot_be_shown_is_said() {
    need_root();
    let cases = [
        (1 << 22, "no process 4194304"),
        (std::process::id(), "is not Python"),
    ];
    for (pid, why) in cases {
        let ended = run(&["dump", "--pid", &pid.to_string()]);
        assert_eq!((ended.status, ended.stdout.as_str()), (1, ""));
        assert!(ended.stderr.contains(why), "{ended:?}");
    }
    let target = Running::start(
        &mut python().script("import sys; print('on', flush=True); sys.stdin.read()"),
    );
    target.prints("on");
    kernel::idle_threads(target.pid());
    let text = dump_as_text(target.pid()).stdout;
    assert!(
        text.contains("is in read, for ") && text.contains("<module> (<string>:1)"),
        "{text}"
    );
}
