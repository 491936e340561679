//! Finds the GIL of real interpreters and checks it against what the kernel says of a thread that
//! waits for it: the address of its futex. That holds for stripped builds too, and owes nothing to
//! gilscope's own tables. Needs root, to read another process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use gilscope::interpreter::layout::GIL_VARIABLES;
use gilscope::interpreter::{Interpreter, InterpreterError};
use gilscope::model::{CondvarLock, FoundBy, Gil, GilLock};
use gilscope::target::{Elf, Process, TargetError};
use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Two threads that want the GIL all the time; the main thread waits for neither.
const SPIN: &str = "
import sys, threading, time
def spin():
    while True: pass
for _ in range(2):
    thread = threading.Thread(target=spin)
    thread.daemon = True
    thread.start()
sys.stdout.write('ready\\n')
sys.stdout.flush()
while True: time.sleep(60)
";
/// One thread that waits for nothing but its input.
const IDLE: &str = "import sys; print('ready'); sys.stdout.flush(); sys.stdin.readline()";
/// What is awaited here comes within milliseconds; a loaded machine may take longer.
const DEADLINE: Duration = Duration::from_secs(60);

/// A process that ends with the test.
struct Target {
    child: Child,
    first_line: String,
}

impl Target {
    /// Starts it and waits for its first line.
    fn start(command: &mut Command) -> Target {
        let child = command.stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let mut first_line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut first_line).unwrap();
        assert!(!first_line.is_empty(), "{command:?} said nothing");
        Target { child, first_line }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn process(&self) -> Process {
        Process::open(self.pid()).unwrap()
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.pid().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The interpreters that pyenv has, of these minor versions.
fn pyenv(minors: &[&str]) -> Vec<PathBuf> {
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let root = root.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv")));
    let versions = root.unwrap_or_default().join("versions");
    let is_wanted = |name: &str| minors.iter().any(|m| name.starts_with(&format!("{m}.")));
    let mut found: Vec<PathBuf> = std::fs::read_dir(&versions)
        .map(|dir| dir.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    found.retain(|path| is_wanted(&path.file_name().unwrap().to_string_lossy()));
    found.sort();
    if found.is_empty() {
        println!(
            "skipped: {} has no CPython {minors:?}; `pyenv install` gets one",
            versions.display()
        );
    }
    found
}

const ALL: &[&str] = &[
    "2.7", "3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13",
];

/// Those that export `_PyRuntime`.
const WITH_RUNTIME: &[&str] = ALL.split_at(2).1;

fn version_of(home: &Path) -> String {
    home.file_name().unwrap().to_string_lossy().into_owned()
}

fn python(home: &Path) -> Command {
    let mut command = Command::new(home.join("bin/python"));
    command.arg("-c");
    command
}

/// The shared library that `home/bin/python` is a stub for.
fn libpython(home: &Path) -> PathBuf {
    let files = std::fs::read_dir(home.join("lib")).unwrap();
    let is_it = |p: &PathBuf| p.to_string_lossy().ends_with(".so.1.0");
    files
        .map(|f| f.unwrap().path())
        .find(is_it)
        .expect("a build with --enable-shared")
}

/// Makes a copy of a libpython that has no symbols but the dynamic ones.
fn strip(home: &Path, copy: &Path) {
    let mut strip = Command::new("strip");
    strip.arg(libpython(home)).arg("-o").arg(copy);
    assert!(
        strip.status().is_ok_and(|status| status.success()),
        "strip: `apt-get install binutils` has it"
    );
}

/// Addresses that the threads other than the main one sleep on now: `(uaddr, timed)`.
fn futexes(process: &Process) -> Vec<(u64, bool)> {
    let threads = process.threads().unwrap();
    let others = threads.iter().filter(|t| t.tid != process.pid);
    let waiting = |tid: u32| {
        let path = format!("/proc/{}/task/{tid}/syscall", process.pid);
        let text = std::fs::read_to_string(path).ok()?;
        let mut words = text.split_whitespace();
        let is_futex = words.next() == Some("202");
        let args: Vec<u64> = words
            .filter_map(|w| u64::from_str_radix(w.strip_prefix("0x")?, 16).ok())
            .collect();
        is_futex.then(|| (args[0], args[3] != 0))
    };
    others.filter_map(|t| waiting(t.tid)).collect()
}

/// Two spinning threads sleep on nothing but this GIL, and they take turns to hold it.
fn assert_is_the_gil(process: &Process, gil: &Gil) {
    match &gil.lock {
        GilLock::Condvar(lock) => assert_is_the_condvar(process, lock),
        GilLock::Semaphore { current_thread } => {
            assert_is_the_semaphore(process, gil.address, *current_thread);
        }
    }
}

fn assert_is_the_semaphore(process: &Process, semaphore: u64, current_thread: u64) {
    let memory = process.memory();
    let (mut sleeps, mut holders) = (0, HashSet::new());
    let start = Instant::now();
    while sleeps < 20 || holders.len() < 2 {
        assert!(
            start.elapsed() < DEADLINE,
            "{sleeps} sleeps, holders {holders:x?}"
        );
        for (address, _) in futexes(process) {
            assert_eq!(address, semaphore, "{address:#x} is not it");
            sleeps += 1;
        }
        holders.extend(memory.read_u64(current_thread).ok().filter(|one| *one != 0));
    }
}

fn assert_is_the_condvar(process: &Process, gil: &CondvarLock) {
    let memory = process.memory();
    let (mut timed, mut holders) = (0, HashSet::new());
    let start = Instant::now();
    while timed < 20 || holders.len() < 2 {
        assert!(
            start.elapsed() < DEADLINE,
            "{timed} timed waits, holders {holders:x?}: {gil:x?}"
        );
        for (address, is_timed) in futexes(process) {
            // `pthread_cond_t` has 48 bytes, `pthread_mutex_t` 40.
            let parts = [
                (gil.cond, 48),
                (gil.mutex, 40),
                (gil.switch_cond, 48),
                (gil.switch_mutex, 40),
            ];
            assert!(
                parts
                    .iter()
                    .any(|(start, size)| (*start..start + size).contains(&address)),
                "{address:#x} is not in {gil:x?}"
            );
            if is_timed {
                // The signal words of any glibc: 32, 36 or 40, 44.
                let within = address - gil.cond;
                assert!([32, 36, 40, 44].contains(&within), "cond+{within}");
                timed += 1;
            }
        }
        if memory.read_i32(gil.locked) == Ok(1) {
            holders.insert(memory.read_u64(gil.last_holder).unwrap());
        }
    }
}

/// Finds it, says what it found, and checks it.
fn find_and_check(target: &Target, version: &str) -> Interpreter {
    find_and_check_by(target, version, false)
}

fn find_and_check_by(target: &Target, version: &str, is_stripped: bool) -> Interpreter {
    let process = target.process();
    let found = Interpreter::find(&process).unwrap_or_else(|e| panic!("{version}: {e}"));
    assert_eq!(found.version.to_string(), version);
    let found_by = match (found.version.major, found.version.minor) {
        (3, 13..) => FoundBy::DebugOffsets,
        (3, 7..) => FoundBy::RuntimeSymbol,
        _ if is_stripped => FoundBy::MachineCode,
        _ => FoundBy::StaticSymbols,
    };
    assert_eq!(found.found_by, found_by);
    assert!(!found.free_threaded && found.others.is_empty());
    let gils = found.gils(process.memory()).unwrap();
    assert_eq!(gils.len(), 1);
    assert!(gils[0].enabled);
    assert_eq!(gils[0].interpreters, [0]);
    assert_is_the_gil(&process, &gils[0]);
    println!(
        "{version}: GIL at {:#x} in {}",
        gils[0].address,
        found.module.path.display()
    );
    found
}

#[test]
fn every_pyenv_interpreter() {
    for home in pyenv(ALL) {
        let target = Target::start(python(&home).arg(SPIN));
        find_and_check(&target, &version_of(&home));
    }
}

/// Whatever a starting process looks like, it is "too early" and never anything else, until its GIL is
/// there. How often it is too early is for the scheduler to say.
#[test]
fn from_the_first_moment_on() {
    for home in pyenv(ALL) {
        for _ in 0..5 {
            let script = "import sys; sys.stdin.readline()";
            let mut command = python(&home);
            let child = command.arg(script).stdin(Stdio::piped()).spawn().unwrap();
            let target = Target {
                child,
                first_line: String::new(),
            };
            let start = Instant::now();
            let found = loop {
                match Interpreter::find(&target.process()) {
                    Ok(found) => break found,
                    Err(error) => assert!(error.may_be_too_early(), "{error}"),
                }
                assert!(start.elapsed() < DEADLINE, "never found");
            };
            assert_eq!(found.version.to_string(), version_of(&home));
        }
    }
}

#[test]
fn a_second_libpython_that_never_starts() {
    let homes = pyenv(ALL);
    // Two that are both older than 3.7, too.
    let old = pyenv(&["2.7", "3.6"]);
    let old = old
        .iter()
        .zip(old.iter().rev())
        .filter(|(one, other)| one != other);
    let pairs = homes.iter().zip(homes.iter().cycle().skip(2));
    for (home, other) in pairs.chain(old) {
        let load = format!("import ctypes; ctypes.CDLL({:?})", libpython(other));
        let target = Target::start(python(home).arg(format!("{load}\n{SPIN}")));
        find_and_check(&target, &version_of(home));
    }
}

#[test]
fn stripped_and_deleted_libraries() {
    for home in pyenv(WITH_RUNTIME) {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("renamed-(deleted).so");
        strip(&home, &copy);
        // It has the soname that the stub asks for, so it is loaded instead.
        let target = Target::start(python(&home).arg(SPIN).env("LD_PRELOAD", &copy));
        std::fs::remove_file(&copy).unwrap();
        let found = find_and_check(&target, &version_of(&home));
        assert_eq!(
            found.module.path,
            PathBuf::from(format!("{} (deleted)", copy.display()))
        );
        // What a probe is attached to leads to the mapped inode all the same.
        let attached = std::fs::read(found.module.attach_path()).unwrap();
        assert_eq!(attached.get(..4), Some(&b"\x7fELF"[..]));
        // Another file in its place changes nothing.
        std::fs::write(&copy, b"not a library").unwrap();
        find_and_check(&target, &version_of(&home));
    }
}

#[test]
fn sub_interpreters_are_grouped_by_their_gil() {
    let create = [
        (
            "3.11",
            "import _xxsubinterpreters as i; a = i.create(isolated=True); b = i.create(isolated=False)",
        ),
        (
            "3.12",
            "import _xxsubinterpreters as i; a = i.create(isolated=True); b = i.create(isolated=False)",
        ),
        (
            "3.13",
            "import _interpreters as i; a = i.create('isolated'); b = i.create('legacy')",
        ),
    ];
    for (minor, create) in create {
        for home in pyenv(&[minor]) {
            let script = format!("{create}; print(int(a), int(b), flush=True); input()");
            let target = Target::start(python(&home).arg(script).stdin(Stdio::piped()));
            let ids: Vec<i64> = target
                .first_line
                .split_whitespace()
                .map(|n| n.parse().unwrap())
                .collect();
            let process = target.process();
            let found = Interpreter::find(&process).unwrap();
            let gils = found.gils(process.memory()).unwrap();
            let groups: Vec<_> = gils.iter().map(|g| g.interpreters.clone()).collect();
            println!("{minor}: {groups:?}");
            if minor == "3.11" {
                assert_eq!(groups, [vec![0, ids[0], ids[1]]]);
            } else {
                assert_eq!(groups, [vec![0, ids[1]], vec![ids[0]]]);
            }
        }
    }
}

#[test]
fn what_is_not_supported_says_so() {
    let cat = Target::start(
        Command::new("sh")
            .args(["-c", "echo ready; exec cat"])
            .stdin(Stdio::piped()),
    );
    let start = Instant::now();
    // The shell may not have become `cat` yet; neither is Python.
    let error = Interpreter::find(&cat.process()).unwrap_err();
    assert!(
        matches!(error, InterpreterError::NotPython { .. }),
        "{error} after {:?}",
        start.elapsed()
    );
}

/// Without symbols the code tells where the GIL of those without `_PyRuntime` is: where the symbols of the original say.
#[test]
fn a_stripped_old_one() {
    for home in pyenv(&["2.7", "3.6"]) {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("stripped.so");
        strip(&home, &copy);
        let target = Target::start(python(&home).arg(SPIN).env("LD_PRELOAD", &copy));
        let found = find_and_check_by(&target, &version_of(&home), true);
        assert_eq!(found.module.path, copy);
        let gil = &found.gils(target.process().memory()).unwrap()[0];
        let GilLock::Condvar(lock) = &gil.lock else {
            continue;
        };
        let original = std::fs::File::open(libpython(&home)).unwrap();
        let named = Elf::static_addresses(&original, GIL_VARIABLES).unwrap();
        let [_, named @ ..] = named.expect("an original with symbols");
        let found_at = [
            lock.last_holder,
            lock.locked,
            lock.switch_number,
            lock.cond,
            lock.mutex,
            lock.switch_cond,
            lock.switch_mutex,
        ];
        let linked = found_at.map(|address| address - found.module.load_bias);
        assert_eq!(linked, named, "{linked:x?}, {named:x?}");
    }
}

/// Each of these is needed, so that no single one is believed.
#[test]
fn code_that_does_not_tell() {
    for home in pyenv(&["3.6"]) {
        for function in [
            "PyEval_AcquireLock",
            "PyEval_ReleaseLock",
            "PyEval_ThreadsInitialized",
            "_PyEval_GetSwitchInterval",
        ] {
            let dir = tempfile::tempdir().unwrap();
            let copy = dir.path().join("stripped.so");
            strip(&home, &copy);
            overwrite(&copy, function, &[0xc3]);
            let target = Target::start(
                python(&home)
                    .arg(IDLE)
                    .stdin(Stdio::piped())
                    .env("LD_PRELOAD", &copy),
            );
            let error = Interpreter::find(&target.process()).unwrap_err();
            assert!(
                matches!(error, InterpreterError::Stripped { .. }),
                "{function}: {error}"
            );
        }
    }
}

/// Puts other code at a function's beginning.
fn overwrite(file: &Path, function: &str, code: &[u8]) {
    let options = std::fs::File::options().read(true).write(true).open(file);
    let file = options.unwrap();
    let elf = Elf::read(&file).unwrap();
    let address = elf.symbol(function).expect(function).address;
    file.write_all_at(code, elf.file_offset(address).unwrap())
        .unwrap();
}

/// 2.7 makes its GIL with its second thread.
#[test]
fn no_gil_before_there_are_threads() {
    for home in pyenv(&["2.7"]) {
        let target = Target::start(python(&home).arg(IDLE).stdin(Stdio::piped()));
        let process = target.process();
        let found = Interpreter::find(&process).unwrap();
        assert_eq!(found.gils(process.memory()).unwrap(), []);
    }
}

#[test]
fn a_process_that_ends() {
    for home in pyenv(ALL).into_iter().take(1) {
        let mut target = Target::start(python(&home).arg(SPIN));
        let process = target.process();
        let found = Interpreter::find(&process).unwrap();
        target.child.kill().unwrap();
        target.child.wait().unwrap();
        assert!(found.gils(process.memory()).is_err());
        let error = Interpreter::find(&process).unwrap_err();
        assert!(
            matches!(error, InterpreterError::Target(TargetError::Gone { .. })),
            "{error}"
        );
    }
}

fn condvar(gil: &Gil) -> &CondvarLock {
    match &gil.lock {
        GilLock::Condvar(lock) => lock,
        GilLock::Semaphore { .. } => panic!("{gil:x?}"),
    }
}

/// Overwrites a stopped process's words and looks again.
fn with_words(
    home: &Path,
    words: impl Fn(&Interpreter, &Gil) -> Vec<(u64, u64)>,
) -> InterpreterError {
    let target = Target::start(python(home).arg(SPIN));
    let process = target.process();
    let found = Interpreter::find(&process).unwrap();
    target.signal(nix::sys::signal::Signal::SIGSTOP);
    let start = Instant::now();
    while !process
        .threads()
        .unwrap()
        .iter()
        .all(|t| t.stat().unwrap().state == 'T')
    {
        assert!(start.elapsed() < DEADLINE, "does not stop");
        std::thread::yield_now();
    }
    let gil = &found.gils(process.memory()).unwrap()[0];
    let memory = std::fs::File::options()
        .write(true)
        .open(format!("/proc/{}/mem", process.pid))
        .unwrap();
    for (address, word) in words(&found, gil) {
        memory.write_all_at(&word.to_le_bytes(), address).unwrap();
    }
    Interpreter::find(&process).expect_err("garbage was believed")
}

#[test]
fn a_runtime_of_garbage_is_refused() {
    for home in pyenv(&["3.11", "3.12", "3.13"]) {
        let head = |found: &Interpreter| match found.version.minor {
            13 => 632,
            _ => 40,
        };
        for pointer in [8, u64::MAX, 0x4141_4141_4141_4141] {
            let error = with_words(&home, |found, _| {
                vec![(found.runtime().unwrap() + head(found), pointer)]
            });
            assert!(
                matches!(error, InterpreterError::Unrecognised { .. }),
                "{error}"
            );
        }
        // The only interpreter is its own successor: `next` is its first word, in 3.13 not.
        let error = with_words(&home, |found, gil| {
            let (interpreter, next) = match found.version.minor {
                13 => (gil.address - 7752, 7264),
                12 => (gil.address - 1040, 0),
                _ => return vec![(gil.address, u64::MAX)],
            };
            vec![(interpreter + next, interpreter)]
        });
        let expected = ["twice", "interval"];
        assert!(
            expected.iter().any(|e| error.to_string().contains(e)),
            "{error}"
        );
        let error = with_words(&home, |_, gil| vec![(condvar(gil).locked, 7)]);
        assert!(error.to_string().contains("has locked = 7"), "{error}");
        let error = with_words(&home, |_, gil| {
            vec![
                (condvar(gil).locked, 1),
                (condvar(gil).last_holder, gil.address),
            ]
        });
        assert!(
            error.to_string().contains("which belongs to none"),
            "{error}"
        );
        let error = with_words(&home, |_, gil| vec![(gil.address, u64::MAX)]);
        assert!(error.to_string().contains("interval"), "{error}");
        // What a caller may wait for is told apart.
        for words in [
            (|found: &Interpreter, _: &Gil| {
                vec![(
                    found.runtime().unwrap() + if found.version.minor == 13 { 632 } else { 40 },
                    0,
                )]
            }) as fn(&Interpreter, &Gil) -> Vec<(u64, u64)>,
            |_, gil| vec![(condvar(gil).locked, u64::from(u32::MAX))],
        ] {
            let error = with_words(&home, words);
            assert!(
                matches!(error, InterpreterError::NotInitialised { .. }),
                "{error}"
            );
        }
    }
}
