//! One run of a workload under both tracers.
//!
//! The workload pauses before it runs and after (`--hold`): both tracers attach in the first pause and detach in the
//! second, so both see the whole run, and no wait is under way at either end.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::kernel;

use super::{
    Comparison, Python,
    child::{Child, Stream},
    python::workspace,
};

/// Longer than any step of a run takes on a busy machine, besides the run's own length.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs at most until one is without loss. Uretprobes that do not fire are the oracle's most common
/// loss, in some 1 of 200 runs.
const ATTEMPTS: u32 = 3;

/// The two tracers' programs.
#[derive(Clone, Debug)]
pub struct Programs {
    /// What is judged.
    pub gilscope: PathBuf,
    /// What it is judged by.
    pub oracle: PathBuf,
}

impl Programs {
    /// Runs `workload` for so long under both and compares them. A run in which one of them says
    /// that it lost something judges nobody, so it is repeated; so is one that breaks a bound and in which the machine itself, being
    /// a virtual one, was made to stand still: it may have done so between the two tracers' programs at one instant; and one that single events break
    /// ([`Comparison::is_broken_by_single_events`]). What is wrong in each run fails. Needs root.
    ///
    /// CPython 2.7 releases its GIL so often that the oracle's probes there change what the waits are: who had it is judged by a run of its own.
    pub fn compare(&self, python: &Python, workload: &str, seconds: f64) -> Result<Comparison> {
        let one = |holders| {
            try_compare(self, python, workload, seconds, holders)
                .with_context(|| format!("{}, {workload}", python.name))
        };
        let run = || {
            let before_ms = kernel::stolen_ms()?;
            let mut compared = one(!python.has_semaphore())?;
            if python.has_semaphore() {
                compared.holders = one(true)?.holders;
            }
            anyhow::Ok((compared, kernel::stolen_ms()?.saturating_sub(before_ms)))
        };
        let (mut compared, mut stolen_ms) = run()?;
        for _ in 1..ATTEMPTS {
            // What was lost is among what is broken.
            let reasons = match stolen_ms {
                // It tells ten milliseconds, and no less: a single event may be such a moment.
                0 if compared.is_broken_by_single_events() => compared.broken(),
                0 => compared.lost().to_vec(),
                _ => compared.broken(),
            };
            if reasons.is_empty() {
                break;
            }
            let reasons = reasons.join("; ");
            eprintln!(
                "{}, {workload}: {reasons}; the machine stood still for {stolen_ms} ms: once more",
                python.name
            );
            (compared, stolen_ms) = run()?;
        }
        Ok(compared)
    }

    fn oracle(&self, python: &Python, pid: u32, json: &Path, holders: bool) -> Command {
        let mut command = Command::new(&self.oracle);
        command.args(["--futex-view", "--until-stdin-closes", "--pid"]);
        command.arg(pid.to_string()).arg("--json").arg(json);
        if holders {
            command.arg("--holders");
        }
        if let Some(file) = &python.debug_file {
            command.arg("--debug-file").arg(file);
        }
        command
    }

    fn gilscope(&self, pid: u32, json: &Path) -> Command {
        let mut command = Command::new(&self.gilscope);
        command.args(["--quiet", "--pid"]).arg(pid.to_string());
        command.arg("--json").arg(json).stdout(Stdio::null());
        command
    }
}

fn try_compare(
    programs: &Programs,
    python: &Python,
    workload: &str,
    seconds: f64,
    holders: bool,
) -> Result<Comparison> {
    let patience = PATIENCE.saturating_add(Duration::try_from_secs_f64(seconds)?);
    let folder = tempfile::tempdir()?;
    let (truth, said) = (folder.path().join("oracle"), folder.path().join("gilscope"));
    let scripts = Scripts::seen_from(python)?;

    let mut target = scripts.command(python, workload)?;
    target
        .arg("--hold")
        .arg("--seconds")
        .arg(seconds.to_string());
    let mut target = Child::start(&mut target, Stream::Stdout, patience)?;
    target.line("idle")?;
    let mut oracle = Child::start(
        &mut programs.oracle(python, target.pid(), &truth, holders),
        Stream::Stdout,
        patience,
    )?;
    oracle.line("ready")?;
    let mut gilscope = Child::start(
        &mut programs.gilscope(target.pid(), &said),
        Stream::Stderr,
        patience,
    )?;
    gilscope.line("tracing process")?;

    target.say_line()?;
    target.line("rate")?;
    gilscope.signal(Signal::SIGINT)?;
    gilscope.end()?;
    oracle.say_line()?;
    oracle.end()?;
    target.end()?;
    Comparison::new(&python.name, workload, &fs::read(truth)?, &fs::read(said)?)
}

/// The workloads' scripts, where the interpreter sees them.
struct Scripts {
    /// As seen from this program's root.
    folder: PathBuf,
    /// Holds the copy inside the interpreter's own root.
    _copy: Option<TempDir>,
}

impl Scripts {
    fn seen_from(python: &Python) -> Result<Self> {
        let original = workspace().join("tests/workloads");
        let Some(root) = &python.root else {
            return Ok(Self {
                folder: original,
                _copy: None,
            });
        };
        let copy = tempfile::tempdir_in(root.join("tmp"))?;
        for entry in fs::read_dir(original)? {
            let entry = entry?;
            if entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "py")
            {
                fs::copy(entry.path(), copy.path().join(entry.file_name()))?;
            }
        }
        Ok(Self {
            folder: copy.path().to_path_buf(),
            _copy: Some(copy),
        })
    }

    fn command(&self, python: &Python, workload: &str) -> Result<Command> {
        let executable = python.python.as_ref().context("it is not here")?;
        let script = self.folder.join(format!("{workload}.py"));
        let mut command = match &python.root {
            None => Command::new(executable),
            Some(root) => {
                let mut chroot = Command::new("chroot");
                chroot.arg(root).arg(executable);
                chroot
            }
        };
        let seen = match &python.root {
            None => script,
            Some(root) => Path::new("/").join(script.strip_prefix(root)?),
        };
        command.arg(seen).env("PYTHONDONTWRITEBYTECODE", "1");
        // Other builds do not know it.
        command.env("PYTHON_GIL", "1");
        Ok(command)
    }
}
