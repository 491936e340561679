//! Traces processes, or a command from its start, and reports.

use super::{
    failure, launch,
    launch::Launched,
    options::{Options, Source, Subject},
    progress::ProgressLine,
    report,
    signals::{Signals, forward},
};
use crate::{
    interpreter::Interpreter,
    model::WaitSource,
    output::sentence,
    probe::{self, Limits},
    target::Process,
    watch::{self, Session},
};
use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::{
    collections::BTreeSet, ffi::OsString, io::IsTerminal, process::ExitCode, time::Duration,
};
use tokio::{
    io::unix::AsyncFd,
    runtime::Runtime,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

/// How often records are taken from the kernel when it does not ask for it.
const POLL: Duration = Duration::from_millis(20);
/// The same while a program may be becoming a CPython.
const POLL_STARTING: Duration = Duration::from_millis(2);
/// How often the slower things are looked after, and progress is shown.
const REFRESH: Duration = Duration::from_secs(1);
/// Longer than anybody traces; the command line allows a year at most.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Descendants that are looked at with `--children`.
const MAX_DESCENDANTS: usize = 1024;

/// Does it, and says how it went.
pub fn run(options: &Options) -> ExitCode {
    let result = match &options.subject {
        Subject::Processes(pids) => trace_processes(options, pids),
        Subject::Command(command) => trace_command(options, command),
    };
    result.unwrap_or_else(|error| {
        eprintln!("gilscope: {}", sentence(&failure::message(&error)));
        match options.subject {
            Subject::Processes(_) => ExitCode::FAILURE,
            Subject::Command(_) => ExitCode::from(failure::FAILED_TO_RUN),
        }
    })
}

fn trace_processes(options: &Options, pids: &[u32]) -> anyhow::Result<ExitCode> {
    check(options)?;
    more_files();
    let targets = targets(options, pids)?;
    let (runtime, mut signals) = runtime()?;
    let mut session = Session::attach(session_options(options, options.children))?;
    for (process, interpreter) in targets {
        let line = announcement(&process, &interpreter);
        session.follow(process, interpreter)?;
        eprintln!("{line}");
    }
    runtime.block_on(trace(options, &mut session, None, &mut signals))?;
    signals.let_interrupt_end();
    report::write(options, &session.finish())?;
    Ok(ExitCode::SUCCESS)
}

fn trace_command(options: &Options, command: &[OsString]) -> anyhow::Result<ExitCode> {
    check(options)?;
    let mut launched = launch::launch(command)?;
    // The command has its own limit by now.
    more_files();
    let (runtime, mut signals) = runtime()?;
    let mut session = Session::attach(session_options(options, true))?;
    session.follow_from_start(not_yet_itself(&launched, command)?)?;
    launched.go()?;
    let ended = runtime.block_on(trace(options, &mut session, Some(&launched), &mut signals))?;
    report::write(options, &session.finish())?;
    let status = match ended {
        Some(status) => status,
        None => runtime.block_on(outlive(&launched, &mut signals)),
    };
    Ok(failure::of_command(status))
}

/// Each process that is traced takes some open files, and a command may have many; 1,024 is what most shells allow. Where there can be no more, what
/// cannot be opened says so.
fn more_files() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// The command's process, which is a copy of gilscope until it executes the command: one that ends
/// at once may never be seen as anything else.
fn not_yet_itself(launched: &Launched, command: &[OsString]) -> anyhow::Result<Process> {
    let mut process = Process::open(launched.pid.as_raw().unsigned_abs())?;
    let arguments = command.iter().map(|one| one.to_string_lossy().into_owned());
    process.cmdline = arguments.collect();
    process.exe = process.cmdline.first().cloned().unwrap_or_default();
    Ok(process)
}

/// What can be known to fail is known before anything is attached.
fn check(options: &Options) -> anyhow::Result<()> {
    report::check(options)?;
    probe::check_permission()?;
    Ok(())
}

fn session_options(options: &Options, follow_children: bool) -> watch::Options {
    watch::Options {
        limits: Limits {
            stacks: options.stacks,
            ..Limits::default()
        },
        max_threads: options.max_threads,
        max_locks: options.max_locks,
        storms: options.storms,
        follow_children,
        source: match options.source {
            Source::Auto => None,
            Source::Futex => Some(WaitSource::Futex),
            Source::Uprobe => Some(WaitSource::Uprobe),
        },
    }
}

/// The processes asked for, each once, with their Python descendants where those are wanted.
fn targets(options: &Options, pids: &[u32]) -> anyhow::Result<Vec<(Process, Interpreter)>> {
    let mut targets = Vec::new();
    for pid in pids.iter().copied().collect::<BTreeSet<_>>() {
        let process = Process::open(pid)?;
        let interpreter = Interpreter::find(&process)?;
        let descendants = python_descendants(&process);
        if !options.children && !descendants.is_empty() {
            eprintln!(
                "gilscope: process {pid} has {} Python descendant(s), which are not traced: \
                 --children follows them",
                descendants.len()
            );
        }
        targets.push((process, interpreter));
        if options.children {
            targets.extend(descendants);
        }
    }
    let mut seen = BTreeSet::new();
    targets.retain(|(process, _)| seen.insert(process.pid));
    for (process, interpreter) in &targets {
        name_others(process.pid, interpreter);
    }
    Ok(targets)
}

fn name_others(pid: u32, interpreter: &Interpreter) {
    for path in &interpreter.others {
        eprintln!(
            "gilscope: process {pid} has a second CPython, which is not traced: {}",
            sentence(&path.display().to_string())
        );
    }
}

fn python_descendants(process: &Process) -> Vec<(Process, Interpreter)> {
    let mut found = Vec::new();
    let mut queue = process.children().unwrap_or_default();
    let mut looked_at = 0;
    while let Some(pid) = queue.pop()
        && looked_at < MAX_DESCENDANTS
    {
        looked_at += 1;
        if let Ok(child) = Process::open(pid) {
            queue.extend(child.children().unwrap_or_default());
            if let Ok(interpreter) = Interpreter::find(&child) {
                found.push((child, interpreter));
            }
        }
    }
    found
}

fn announcement(process: &Process, interpreter: &Interpreter) -> String {
    format!(
        "gilscope: tracing process {}, CPython {}{}",
        process.pid,
        interpreter.version,
        if std::io::stderr().is_terminal() {
            "; Ctrl-C to finish"
        } else {
            ""
        }
    )
}

/// The event loop, with the signals caught from here on: one that comes while gilscope attaches
/// is answered too.
fn runtime() -> anyhow::Result<(Runtime, Signals)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let signals = {
        let _entered = runtime.enter();
        Signals::catch()?
    };
    Ok((runtime, signals))
}

/// Takes records until it is time to report. Answers how the command ended, if it has.
async fn trace(
    options: &Options,
    session: &mut Session,
    command: Option<&Launched>,
    signals: &mut Signals,
) -> anyhow::Result<Option<nix::sys::wait::WaitStatus>> {
    let ring = session
        .ring_fd()
        // SAFETY: the descriptor is owned, so it stays open and the same until it is dropped.
        .and_then(|fd| unsafe { AsyncFd::register(fd) }.map_err(Into::into))
        .context("cannot poll the ring buffer")?;
    let end = sleep_until(Instant::now() + options.duration.unwrap_or(FOREVER));
    tokio::pin!(end);
    let mut refresh = interval(REFRESH);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kernel_log = options.kernel_log.then(|| session.kernel_log()).flatten();
    let mut progress = ProgressLine::new(options);
    let mut next_look = Instant::now();
    let mut next_sample = Instant::now();
    loop {
        tokio::select! {
            () = sleep(if session.is_starting() { POLL_STARTING } else { POLL }) => session.poll(),
            ready = ring.readable() => {
                session.poll();
                ready.context("cannot poll the ring buffer")?.clear_ready();
            }
            () = sleep_until(next_look) => {
                next_look = Instant::now() + session.look();
                progress.tell(session.news());
            }
            () = sleep_until(next_sample) => next_sample = Instant::now() + session.sample(),
            _ = refresh.tick() => {
                session.refresh();
                progress.show(session);
                if let Some(log) = &mut kernel_log {
                    log.flush();
                }
            }
            () = &mut end => break,
            signal = signals.next() => match (signal, command) {
                (nix::sys::signal::Signal::SIGCHLD, _) => {}
                (signal, Some(command)) => forward(signal, command),
                (_, None) => break,
            },
        }
        if let Some(status) = command.and_then(Launched::ended) {
            progress.clear();
            return Ok(Some(status));
        }
        if command.is_none() && session.is_over() {
            break;
        }
    }
    progress.clear();
    Ok(None)
}

/// Waits for the command, which runs on after the report.
async fn outlive(command: &Launched, signals: &mut Signals) -> nix::sys::wait::WaitStatus {
    loop {
        if let Some(status) = command.ended() {
            return status;
        }
        match signals.next().await {
            nix::sys::signal::Signal::SIGCHLD => {}
            signal => forward(signal, command),
        }
    }
}
