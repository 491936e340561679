//! The tools that are compared, and how each is attached.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    futex,
    target::{self, Target},
    tracer::Tracer,
};
use crate::{assets, process, workspace};

/// A tracer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Tool {
    /// gilscope by its futex tracepoints
    Futex,
    /// The same with --no-stacks
    FutexNoStacks,
    /// Programs that do nothing, on the two futex tracepoints: what no tracer by them can be below
    FutexNothing,
    /// The same on the scheduler's tracepoints too: all hooks of gilscope's that are called often
    AllNothing,
    /// gilscope by its uprobes
    Uprobe,
    /// bpftrace: entry and return of take_gil and drop_gil
    TakeGil,
    /// bpftrace: entry and return of pthread_cond_timedwait
    CondTimedwait,
    /// py-spy record --gil
    PySpy,
}

impl Tool {
    /// All, in the order of the table.
    pub const ALL: [Self; 8] = [
        Self::Futex,
        Self::FutexNoStacks,
        Self::FutexNothing,
        Self::AllNothing,
        Self::Uprobe,
        Self::TakeGil,
        Self::CondTimedwait,
        Self::PySpy,
    ];

    /// Its name in the table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Futex => "gilscope --source futex",
            Self::FutexNoStacks => "gilscope --source futex --no-stacks",
            Self::FutexNothing => "empty programs on the futex tracepoints",
            Self::AllNothing => "empty programs on futex and scheduler tracepoints",
            Self::Uprobe => "gilscope --source uprobe",
            Self::TakeGil => "bpftrace, take_gil and drop_gil",
            Self::CondTimedwait => "bpftrace, pthread_cond_timedwait",
            Self::PySpy => "py-spy record --gil",
        }
    }

    /// Gets what can be got; an error says what is missing and how to get it.
    pub fn prepare(self, python: &Path) -> Result<()> {
        match self {
            Self::Futex | Self::FutexNoStacks | Self::Uprobe => {
                process::run(process::cargo().args(["build", "--release", "--package", "gilscope"]))
            }
            Self::FutexNothing | Self::AllNothing => process::run(process::cargo().args([
                "build",
                "--release",
                "--package",
                "gil-oracle",
                "--bin",
                "nothing",
            ])),
            Self::TakeGil | Self::CondTimedwait => {
                ensure!(
                    process::which("bpftrace").is_some(),
                    "not here: apt-get install bpftrace"
                );
                Ok(())
            }
            Self::PySpy => assets::make_py_spy(python).context("not here: pip install py-spy"),
        }
    }

    /// Attaches it to the target; it traces when this returns.
    pub fn attach(self, target: &Target) -> Result<Tracer> {
        let pid = target.pid().to_string();
        match self {
            Self::Futex => gilscope(&pid, &["--source", "futex"]),
            Self::FutexNoStacks => gilscope(&pid, &["--source", "futex", "--no-stacks"]),
            Self::Uprobe => gilscope(&pid, &["--source", "uprobe"]),
            Self::FutexNothing => nothing("futex"),
            Self::AllNothing => nothing("all"),
            Self::TakeGil => bpftrace(&pid, &gil_probes(&target.interpreter()?)?),
            Self::CondTimedwait => bpftrace(&pid, &[probe(&pthread(target)?, COND_TIMEDWAIT)]),
            Self::PySpy => {
                let mut py_spy = Command::new(assets::py_spy()?);
                py_spy.args([
                    "record",
                    "--gil",
                    "--format",
                    "raw",
                    "--output",
                    "/dev/null",
                    "--pid",
                    &pid,
                ]);
                Tracer::start(&mut py_spy, "Sampling process")
            }
        }
    }
}

fn gilscope(pid: &str, options: &[&str]) -> Result<Tracer> {
    let mut command = Command::new(workspace::gilscope());
    command.args(["--quiet", "--pid", pid]).args(options);
    Tracer::start(&mut command, "tracing process")
}

fn nothing(on: &str) -> Result<Tracer> {
    let program = workspace::target().join("release/nothing");
    Tracer::start(Command::new(program).args(["--on", on]), "ready")
}

/// The default version, which programs use: by its plain name bpftrace 0.17 attaches to `@GLIBC_2.2.5`, which nobody calls.
const COND_TIMEDWAIT: &str = "pthread_cond_timedwait@@GLIBC_2.3.2";

/// glibc before 2.34 has it in libpthread.
fn pthread(target: &Target) -> Result<PathBuf> {
    let separate = target.module("libpthread")?;
    separate
        .or(target.module("libc.so")?)
        .or(target.module("libc-2")?)
        .context("the target has no glibc")
}

fn gil_probes(interpreter: &Path) -> Result<Vec<String>> {
    let mut probes = Vec::new();
    for function in ["take_gil", "drop_gil"] {
        let symbols = target::symbols(interpreter, function)?;
        if symbols.is_empty() {
            bail!(
                "{} has no symbol {function}: choose an unstripped interpreter by --python",
                interpreter.display()
            );
        }
        probes.extend(symbols.iter().map(|symbol| probe(interpreter, symbol)));
    }
    Ok(probes)
}

/// What one writes to time a function: a histogram of its calls' lengths, per thread.
fn probe(file: &Path, symbol: &str) -> String {
    let at = format!("{}:\"{symbol}\"", file.display());
    format!(
        "uprobe:{at} {{ @start[tid] = nsecs; }} \
         uretprobe:{at} /@start[tid]/ {{ @[tid] = hist(nsecs - @start[tid]); delete(@start[tid]); }} "
    )
}

/// bpftrace attaches its probes in their order: when the last one fires, all are there.
fn bpftrace(pid: &str, probes: &[String]) -> Result<Tracer> {
    let program = format!(
        "{} interval:ms:100 {{ printf(\"attached\\n\"); }}",
        probes.concat()
    );
    Tracer::start(
        futex::bpftrace().args(["-p", pid, "-e", &program]),
        "attached",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_times_a_call_and_quotes_its_symbol() {
        let probe = probe(Path::new("/lib/libc.so.6"), COND_TIMEDWAIT);
        assert!(
            probe.starts_with("uprobe:/lib/libc.so.6:\"pthread_cond_timedwait@@GLIBC_2.3.2\" {"),
            "{probe}"
        );
        assert!(
            probe.contains(
                "uretprobe:/lib/libc.so.6:\"pthread_cond_timedwait@@GLIBC_2.3.2\" /@start[tid]/"
            ),
            "{probe}"
        );
    }
}
