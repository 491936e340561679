//! gilscope at work.

use std::{ffi::OsStr, fs, process::Command, thread, time::Duration};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{Ended, Report, Running, gilscope, need_root};

/// A gilscope that traces.
pub struct Tracer {
    running: Running,
    folder: TempDir,
}

/// What it did.
#[derive(Debug)]
pub struct Traced {
    /// Exit status and output.
    pub ended: Ended,
    /// The JSON report.
    pub report: Report,
}

impl Tracer {
    /// Attaches to processes; when this returns, what they do is seen.
    pub fn attach(pids: &[u32]) -> Self {
        Self::attach_with(pids, &[])
    }

    /// The same with further options.
    pub fn attach_with(pids: &[u32], options: &[&str]) -> Self {
        let mut arguments: Vec<String> = options.iter().map(|&one| one.to_owned()).collect();
        for pid in pids {
            arguments.extend(["--pid".to_owned(), pid.to_string()]);
        }
        let tracer = Self::start(&arguments);
        for pid in pids {
            tracer.running.complains(&format!("tracing process {pid},"));
        }
        tracer
    }

    /// Traces a process for so long.
    pub fn trace(pid: u32, length: Duration) -> Traced {
        let tracer = Self::attach(&[pid]);
        thread::sleep(length);
        tracer.finish()
    }

    /// Runs a command.
    pub fn launch<A: AsRef<OsStr>>(options: &[&str], command: &[A]) -> Self {
        let options = options.iter().map(OsStr::new).chain([OsStr::new("--")]);
        let command = command.iter().map(AsRef::as_ref);
        Self::start(&options.chain(command).collect::<Vec<_>>())
    }

    fn start<A: AsRef<OsStr>>(arguments: &[A]) -> Self {
        need_root();
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(gilscope());
        command.arg("--json").arg(folder.path().join("report.json"));
        // Whoever runs the tests by sudo is not who runs gilscope.
        command.env_remove("SUDO_UID").env_remove("SUDO_GID");
        let running = Running::start(command.args(arguments));
        Self { running, folder }
    }

    /// gilscope itself.
    pub fn running(&mut self) -> &mut Running {
        &mut self.running
    }

    /// Asks for the report.
    pub fn finish(self) -> Traced {
        self.running.signal(Signal::SIGINT);
        self.end()
    }

    /// Waits for the report.
    ///
    /// # Panics
    /// If there is none.
    pub fn end(self) -> Traced {
        let ended = self.running.end();
        let report = fs::read_to_string(self.folder.path().join("report.json"));
        let report = report.unwrap_or_else(|error| panic!("no report: {error}: {ended:?}"));
        Traced {
            report: Report::read(&report),
            ended,
        }
    }

    /// Waits for a gilscope that cannot or need not report.
    pub fn fail(self) -> Ended {
        self.running.end()
    }
}

/// Runs gilscope with these arguments to its end.
pub fn run<A: AsRef<OsStr>>(arguments: &[A]) -> Ended {
    let mut command = Command::new(gilscope());
    // Help is wrapped to the width that this names.
    command.env_remove("COLUMNS");
    Running::start(command.args(arguments)).end()
}
