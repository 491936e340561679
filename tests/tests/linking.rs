//! However CPython is linked and whatever the program is called, its GIL is found by what is mapped.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use gilscope_tests::{
    Python, Running, Traced, Tracer, interpreters,
    kernel::{self, Scheduled},
    need_root, until,
};
use tempfile::TempDir;

/// Busy threads; every CPython runs it.
const SPIN: &str = "
import sys, threading, time
def busy():
    while True: pass
for _ in range(3):
    one = threading.Thread(target=busy)
    one.daemon = True
    one.start()
sys.stdout.write('ready\\n')
sys.stdout.flush()
sys.stdin.read()";

/// An interpreter that is a library.
struct Shared {
    python: Python,
    home: PathBuf,
    library: PathBuf,
}

/// pyenv's; each has its library in `lib`.
fn shared() -> Vec<Shared> {
    let of = |python: Python| {
        let home = python.program().parent()?.parent()?.to_owned();
        let files = fs::read_dir(home.join("lib")).ok()?;
        let mut files = files.filter_map(|file| Some(file.ok()?.path()));
        let library = files.find(|file| file.to_string_lossy().ends_with(".so.1.0"))?;
        Some(Shared {
            python,
            home,
            library,
        })
    };
    let pyenvs = interpreters().into_iter();
    let found: Vec<_> = pyenvs
        .filter(|python| python.name.starts_with("pyenv"))
        .filter_map(of)
        .collect();
    if found.is_empty() {
        println!("skipped: no interpreter with a shared library: pyenv install 3.12");
    }
    found
}

/// Traces it until all of its threads but the first, which sleeps, have had the GIL several times, as the kernel's own figures say.
fn trace(target: &Running, options: &[&str]) -> Traced {
    let pid = target.pid();
    let tracer = Tracer::attach_with(&[pid], options);
    let figures = |tid| Scheduled::of(pid, tid);
    let threads = kernel::threads(pid).into_iter().filter(|&tid| tid != pid);
    let begun: Vec<_> = threads.map(|tid| (tid, figures(tid))).collect();
    let has_waited = |&(tid, begun): &(u32, Scheduled)| {
        let since = figures(tid).since(begun);
        since.on_cpu_ns >= 20_000_000 && since.voluntary >= 8
    };
    until("threads that take turns", || {
        begun.iter().all(has_waited).then_some(())
    });
    tracer.finish()
}

/// Its busy threads waited for a GIL of this version.
fn check(traced: &Traced, target: &Running, version: &str) {
    assert_eq!(traced.ended.status, 0, "{:?}", traced.ended);
    let process = traced.report.process(target.pid());
    assert_eq!(process.0["gils"][0]["python"], version);
    let waiting = process.threads().into_iter();
    let waiting = waiting.filter(|thread| thread.gil_sum("wait/count") > 0);
    assert!(waiting.count() >= 3, "{process:?}");
}

/// A C program that embeds interpreters, built in `folder` under a name that says nothing.
fn embedding(folder: &TempDir) -> PathBuf {
    need_root();
    let program = folder.path().join("stalls");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/hosts/embed.c");
    let mut compile = Command::new("cc");
    compile.arg(source).arg("-o").arg(&program);
    let status = compile.args(["-ldl", "-lpthread"]).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "cc: `apt-get install gcc libc6-dev` has it"
    );
    program
}

#[test]
fn embedded_in_a_program() {
    let folder = tempfile::tempdir().unwrap();
    let program = embedding(&folder);
    for one in shared() {
        println!("{}", one.python.name);
        let mut command = Command::new(&program);
        let target = Running::ready(command.arg(&one.library).arg(&one.home));
        check(&trace(&target, &[]), &target, &one.python.version);
    }
}

/// An interpreter that ends and starts again has its GIL where it was.
#[test]
fn finalised_and_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let program = embedding(&folder);
    for one in shared() {
        println!("{}", one.python.name);
        let mut command = Command::new(&program);
        command.arg("again").arg(&one.library).arg(&one.home);
        let mut target = Running::ready(&mut command);
        let tracer = Tracer::attach(&[target.pid()]);
        for round in 1..=3 {
            target.tell("");
            target.prints(&format!("ended {round} times"));
        }
        let traced = tracer.finish();
        check(&traced, &target, &one.python.version);
        let process = traced.report.process(target.pid());
        // Each time three threads and the first one; all of the ended ones waited.
        assert_eq!(process.thread_count(), 10, "{process:?}");
        let waiting = process.threads().into_iter();
        let waiting = waiting.filter(|thread| thread.gil_sum("wait/count") > 0);
        assert!(waiting.count() >= 7, "{process:?}");
    }
}

/// Of two that both run the first by address is traced, and the other is named.
#[test]
fn two_in_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let program = embedding(&folder);
    let all = shared();
    let neighbours = all
        .windows(2)
        .filter_map(|pair| Some((pair.first()?, pair.last()?)));
    // An old one, which has its GIL elsewhere, beside the newest, loaded before it and after it.
    let first_and_last = all.first().zip(all.last());
    let last_and_first = all.last().zip(all.first());
    for (one, other) in neighbours.chain(first_and_last).chain(last_and_first) {
        println!("{}, {}", one.python.name, other.python.name);
        let mut command = Command::new(&program);
        let target = Running::ready(command.args(arguments([one, other])));
        let traced = trace(&target, &[]);
        let version = traced_version([one, other], &traced.ended.stderr);
        check(&traced, &target, version);
    }
}

/// A process whose parent was asked for is no different.
#[test]
fn two_in_a_descendant() {
    let folder = tempfile::tempdir().unwrap();
    let program = embedding(&folder);
    let all = shared();
    let Some(pair) = all.last_chunk::<2>() else {
        println!("skipped: two interpreters with shared libraries: pyenv install 3.11 3.12");
        return;
    };
    let mut command = pair[0]
        .python
        .script("import subprocess, sys; subprocess.run(sys.argv[1:])");
    let target = Running::ready(command.arg(&program).args(arguments(pair.each_ref())));
    let tracer = Tracer::attach_with(&[target.pid()], &["--children"]);
    thread::sleep(Duration::from_millis(600));
    let traced = tracer.finish();
    assert_eq!(traced.ended.status, 0, "{:?}", traced.ended);
    traced_version(pair.each_ref(), &traced.ended.stderr);
}

/// What makes the embedding program run these.
fn arguments(pair: [&Shared; 2]) -> [&Path; 4] {
    let [one, other] = pair;
    [&one.library, &one.home, &other.library, &other.home]
}

/// The version of the one that is traced, as just one of them is named as the one that is not.
fn traced_version<'a>(pair: [&'a Shared; 2], complaint: &str) -> &'a str {
    let is_untraced = pair.map(|one| {
        let path = one.library.display();
        complaint.contains(&format!(
            "has a second CPython, which is not traced: {path}\n"
        ))
    });
    let [one, other] = pair;
    match is_untraced {
        [false, true] => &one.python.version,
        [true, false] => &other.python.version,
        _ => panic!("which one is not traced? {complaint}"),
    }
}

/// The program that the kernel started is the loader.
#[test]
fn run_through_the_loader() {
    need_root();
    for one in shared() {
        println!("{}", one.python.name);
        let mut command = Command::new("/lib64/ld-linux-x86-64.so.2");
        command.arg("--library-path").arg(one.home.join("lib"));
        command.arg(one.python.program()).args(["-c", SPIN]);
        let target = Running::ready(&mut command);
        check(&trace(&target, &[]), &target, &one.python.version);
    }
}

/// The loader inside another root, of an interpreter without a library of its own.
#[test]
fn a_static_one_through_the_loader() {
    need_root();
    for python in interpreters() {
        let Some(root) = python.root() else { continue };
        println!("{}", python.name);
        let mut command = Command::new("chroot");
        command.arg(root).arg("/lib64/ld-linux-x86-64.so.2");
        command.arg(python.program()).args(["-c", SPIN]);
        let target = Running::ready(&mut command);
        check(&trace(&target, &[]), &target, &python.version);
    }
}

/// What an upgrade does to a program that runs: the same path is another file, and the mapped one is gone.
fn replace(file: &Path) {
    let new = file.with_extension("new");
    fs::write(&new, b"not what was there").unwrap();
    fs::rename(&new, file).unwrap();
}

/// Both sources read the files that are mapped, not those of the same name; each version by one of them, and the newest by both.
#[test]
fn upgraded_while_it_runs() {
    need_root();
    let all = shared();
    for (index, one) in all.iter().enumerate() {
        println!("{}", one.python.name);
        let sources = match index {
            _ if index + 1 == all.len() => &["futex", "uprobe"][..],
            _ if index % 2 == 0 => &["uprobe"],
            _ => &["futex"],
        };
        for source in sources {
            let folder = tempfile::tempdir().unwrap();
            let libc = folder.path().join("libc.so.6");
            let copies = [
                (
                    one.library.clone(),
                    folder.path().join(one.library.file_name().unwrap()),
                ),
                (mapped_libc(), libc),
            ];
            for (file, copy) in &copies {
                fs::copy(file, copy).unwrap();
            }
            let mut command = Command::new("/lib64/ld-linux-x86-64.so.2");
            command.arg("--library-path").arg(folder.path());
            command.arg(one.python.program()).args(["-c", SPIN]);
            command.env("PYTHONHOME", &one.home);
            let target = Running::ready(&mut command);
            copies.iter().for_each(|(_, copy)| replace(copy));
            check(
                &trace(&target, &["--source", source]),
                &target,
                &one.python.version,
            );
        }
    }
}

/// The C library of this process, which is the machine's.
fn mapped_libc() -> PathBuf {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let path = maps
        .lines()
        .find(|line| line.ends_with("/libc.so.6"))
        .unwrap();
    Path::new("/").join(path.split_once('/').unwrap().1)
}
