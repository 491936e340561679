//! How busy a workload's lock is: its futex calls in a second, counted in the kernel.

use std::{process::Command, time::Instant};

use anyhow::{Context as _, Result};

use super::{target::Target, tracer::Tracer};

/// bpftrace, line by line. It wants a tracefs at its usual place, which not every machine has mounted: a
/// private mount does.
pub fn bpftrace() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", WITH_TRACEFS, "sh"]);
    command.args(["bpftrace", "-B", "line"]);
    command
}

const WITH_TRACEFS: &str = "mount -t tracefs tracefs /sys/kernel/tracing; exec \"$@\"";

/// Lets the target work, and counts.
pub fn calls_per_second(mut target: Target) -> Result<f64> {
    let program = format!(
        "tracepoint:syscalls:sys_enter_futex /pid == {}/ {{ @calls = count(); }} interval:ms:100 {{ print(@calls); }}",
        target.pid()
    );
    let tracer = Tracer::start(bpftrace().args(["-e", &program]), "@calls: ")?;
    let began = Instant::now();
    target.work_on()?;
    let seconds = began.elapsed().as_secs_f64();
    let line = tracer.next_line("@calls: ")?;
    let calls: f64 = line
        .trim_start_matches("@calls: ")
        .trim()
        .parse()
        .with_context(|| format!("not a count: {line}"))?;
    Ok(calls / seconds)
}
