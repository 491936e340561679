//! A tracer at work: attached before the target works, looked at afterwards.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::target::Target;
use crate::process;

/// Attaching takes a second or two; more on a busy machine.
const ATTACH: Duration = Duration::from_secs(30);

/// What one traced run was like.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The target's work in a second.
    pub rate: f64,
    /// The tracer's CPU time while the target worked, as a share of a core.
    pub cpu: f64,
    /// The tracer's peak resident memory, in bytes.
    pub memory: u64,
}

/// Ended when dropped.
pub struct Tracer {
    child: Child,
    lines: Receiver<String>,
}

impl Tracer {
    /// Starts `command` and waits until it prints a line with `ready`.
    pub fn start(command: &mut Command, ready: &str) -> Result<Self> {
        let shown = process::shown(command);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {shown}"))?;
        let (sender, lines) = mpsc::channel();
        let mut tracer = Self { child, lines };
        forward(tracer.child.stdout.take(), sender.clone());
        forward(tracer.child.stderr.take(), sender);
        wait_for(&tracer.lines, ready).with_context(|| format!("`{shown}` does not trace"))?;
        Ok(tracer)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints from now on and that has this in it.
    pub fn next_line(&self, word: &str) -> Result<String> {
        self.lines.try_iter().for_each(drop);
        wait_for(&self.lines, word)
    }

    /// Lets the target work to its end.
    pub fn while_working(mut self, mut target: Target) -> Result<Run> {
        let (began, cpu_before) = (Instant::now(), self.cpu_ns()?);
        let rate = target.work_on()?;
        if let Some(status) = self.child.try_wait()? {
            bail!("the tracer ended before the target did: {status}");
        }
        let cpu_ns = self.cpu_ns()?.saturating_sub(cpu_before);
        Ok(Run {
            rate,
            cpu: cpu_ns as f64 / began.elapsed().as_nanos() as f64,
            memory: self.peak_memory()?,
        })
    }

    /// What its threads have run, by the scheduler (`/proc/PID/task/TID/schedstat`, Documentation/scheduler/sched-stats.rst).
    fn cpu_ns(&self) -> Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))
            .context("the tracer has ended")?
        {
            let stat = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            sum += stat
                .split(' ')
                .next()
                .and_then(|first| first.parse::<u64>().ok())
                .unwrap_or(0);
        }
        Ok(sum)
    }

    fn peak_memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        high_water_mark(&status).context("no VmHWM")
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads to the end, so that the tracer never waits for a reader.
fn forward(stream: Option<impl Read + Send + 'static>, lines: Sender<String>) {
    let Some(stream) = stream else { return };
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let _ = lines.send(line);
        }
    });
}

fn wait_for(lines: &Receiver<String>, ready: &str) -> Result<String> {
    let deadline = Instant::now() + ATTACH;
    let mut said = Vec::new();
    while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if line.contains(ready) {
            return Ok(line);
        }
        said.push(line);
    }
    bail!("{}", said.join("; "))
}

/// Bytes, from `/proc/PID/status`, which gives KiB.
fn high_water_mark(status: &str) -> Option<u64> {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    value
        .trim()
        .strip_suffix(" kB")?
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(
            high_water_mark("VmPeak:\t  9 kB\nVmHWM:\t   12345 kB\nVmRSS:\t 1 kB\n"),
            Some(12345 * 1024)
        );
        assert_eq!(high_water_mark("VmRSS:\t 1 kB\n"), None);
    }

    #[test]
    fn a_tracer_that_cannot_attach_is_quoted() {
        let error = Tracer::start(
            Command::new("sh").args(["-c", "echo no such thing >&2; exit 1"]),
            "ready",
        )
        .err()
        .unwrap();
        assert!(format!("{error:#}").contains("no such thing"), "{error:#}");
        assert!(
            Tracer::start(
                Command::new("sh").args(["-c", "echo ready; read line"]),
                "ready"
            )
            .is_ok()
        );
    }
}
