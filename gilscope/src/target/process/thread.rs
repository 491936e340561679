//! One thread of a process, through `/proc/P/task/T`.

use super::error::TargetError;
use super::procfs;
use super::stat::Stat;
use nix::time::{ClockId, clock_gettime};
use std::path::PathBuf;
use std::time::Duration;

/// Longer than any of these files.
const MAX_BYTES: u64 = 64 << 10;

/// A thread. It may end at any moment: then its methods say [`TargetError::Gone`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread {
    pid: u32,
    /// Thread id as gilscope's own `/proc` shows it.
    pub tid: u32,
}

/// The scheduler's own sums (`/proc/P/task/T/schedstat`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedStat {
    /// Running.
    pub on_cpu_ns: u64,
    /// Ready to run, without a processor.
    pub runnable_ns: u64,
}

/// Part of `/proc/P/task/T/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Thread id inside the innermost PID namespace; `None` where the kernel does not tell (before 4.1).
    pub ns_tid: Option<u32>,
    /// How often it has left the processor: while this is the same, it has not run.
    pub switches: u64,
}

/// The system call that a thread is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemCall {
    /// Its number.
    pub number: u64,
    /// Its arguments.
    pub arguments: [u64; 6],
    /// Stack pointer.
    pub stack_pointer: u64,
    /// Address of the instruction behind the call.
    pub instruction: u64,
}

impl SystemCall {
    /// Whether it is `futex`.
    pub fn is_futex(&self) -> bool {
        i64::try_from(self.number) == Ok(libc::SYS_futex)
    }
}

impl Thread {
    pub(super) fn new(pid: u32, tid: u32) -> Thread {
        Thread { pid, tid }
    }

    /// Name (`comm`), state, user and system time.
    pub fn stat(&self) -> Result<Stat, TargetError> {
        let bytes = self.read("stat")?;
        Stat::parse(&bytes).ok_or_else(|| self.malformed("stat"))
    }

    /// For how long it has been there, in ns, or up to a clock tick less. `None` of one that is not there.
    pub fn age_ns(&self) -> Option<u64> {
        let start_ns = self.stat().ok()?.start_ns();
        let now = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?);
        let now_ns = u64::try_from(now.as_nanos()).ok()?;
        Some(now_ns.saturating_sub(start_ns))
    }

    /// Its id in its PID namespace, and its switches.
    pub fn status(&self) -> Result<Status, TargetError> {
        let status = self.read("status")?;
        let switches = ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"]
            .map(|key| procfs::status_numbers::<u64>(&status, key));
        Ok(Status {
            ns_tid: procfs::status_numbers(&status, "NSpid").last().copied(),
            switches: (switches.iter().flatten()).fold(0, |sum, more| sum.wrapping_add(*more)),
        })
    }

    /// Thread id inside the innermost PID namespace; `None` where the kernel does not tell
    /// (before 4.1).
    pub fn ns_tid(&self) -> Result<Option<u32>, TargetError> {
        Ok(self.status()?.ns_tid)
    }

    /// Time on and for the processor.
    pub fn schedstat(&self) -> Result<SchedStat, TargetError> {
        let bytes = self.read("schedstat")?;
        parse_schedstat(&bytes).ok_or_else(|| self.malformed("schedstat"))
    }

    /// The system call that it sleeps in; `None` if it runs, or where the kernel does not tell.
    pub fn system_call(&self) -> Result<Option<SystemCall>, TargetError> {
        Ok(parse_system_call(&self.read("syscall")?))
    }

    /// When it ran last, in ns of its run queue's own time; `None` where the kernel does not tell.
    pub(super) fn ran_at_ns(&self) -> Option<u64> {
        parse_ran_at(&self.read("sched").ok()?)
    }

    fn path(&self, file: &str) -> PathBuf {
        format!("/proc/{}/task/{}/{file}", self.pid, self.tid).into()
    }

    fn read(&self, file: &str) -> Result<Vec<u8>, TargetError> {
        let path = self.path(file);
        procfs::read(&path, MAX_BYTES).map_err(|e| TargetError::from_io(self.pid, path, e))
    }

    fn malformed(&self, file: &str) -> TargetError {
        TargetError::Malformed {
            path: self.path(file),
        }
    }
}

fn parse_schedstat(bytes: &[u8]) -> Option<SchedStat> {
    let mut numbers = std::str::from_utf8(bytes).ok()?.split_ascii_whitespace();
    Some(SchedStat {
        on_cpu_ns: numbers.next()?.parse().ok()?,
        runnable_ns: numbers.next()?.parse().ok()?,
    })
}

/// The same of the present thread.
pub(super) fn own_ran_at_ns() -> Option<u64> {
    parse_ran_at(&procfs::read("/proc/thread-self/sched", MAX_BYTES).ok()?)
}

/// `se.exec_start   :   68213655.255719`, in milliseconds (`kernel/sched/debug.c`: `proc_sched_show_task`). The first line has the thread's name, which
/// cannot hold a line's end.
fn parse_ran_at(bytes: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(bytes);
    let mut values = text.lines().skip(1).filter_map(|line| line.split_once(':'));
    let (_, value) = values.find(|(name, _)| name.trim() == "se.exec_start")?;
    let (ms, ns) = value.trim().split_once('.')?;
    let ns: u64 = ns.parse().ok().filter(|_| ns.len() == 6)?;
    ms.parse::<u64>()
        .ok()?
        .checked_mul(1_000_000)?
        .checked_add(ns)
}

/// `202 0x7f… 0x89 …`: number and six arguments, then stack pointer and address (`fs/proc/base.c`:
/// `proc_pid_syscall`); else `running` or `-1 …`.
fn parse_system_call(bytes: &[u8]) -> Option<SystemCall> {
    let mut words = std::str::from_utf8(bytes).ok()?.split_ascii_whitespace();
    let number = words.next()?.parse().ok()?;
    let mut next = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        *argument = next()?;
    }
    Some(SystemCall {
        number,
        arguments,
        stack_pointer: next()?,
        instruction: next()?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn schedstat_needs_two_numbers() {
        let parsed = parse_schedstat(b"12 34 5\n").unwrap();
        assert_eq!((parsed.on_cpu_ns, parsed.runnable_ns), (12, 34));
        assert_eq!(parse_schedstat(b"12"), None);
        assert_eq!(parse_schedstat(b""), None);
    }

    #[test]
    fn when_it_ran_is_one_of_many_lines() {
        let text = "se.exec_start : 1.000000 (7, #threads: 1)\n----\nse.exec_start        :      68213655.255719\nnr_switches : 9\n";
        assert_eq!(parse_ran_at(text.as_bytes()), Some(68_213_655_255_719));
        for other in [
            "",
            "a\nse.exec_start : 12\n",
            "a\nse.exec_start : 1.5\n",
            "a\nse.exec_start : -1.000000\n",
        ] {
            assert_eq!(parse_ran_at(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_thread_is_as_old_as_it_is() {
        let process = crate::target::Process::open(std::process::id()).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let began = std::time::Instant::now();
        let other = std::thread::spawn(move || {
            tell.send(nix::unistd::gettid()).unwrap();
            std::thread::sleep(Duration::from_millis(300));
        });
        let tid = told.recv().unwrap().as_raw().unsigned_abs();
        std::thread::sleep(Duration::from_millis(100));
        let age = Duration::from_nanos(process.thread(tid).age_ns().unwrap());
        // It may have begun up to a tick later than the kernel tells.
        let most = began.elapsed() + Duration::from_millis(10);
        assert!(Duration::from_millis(100) <= age && age <= most, "{age:?}");
        other.join().unwrap();
        assert_eq!(process.thread(tid).age_ns(), None);
    }

    #[test]
    fn a_system_call_has_a_number_and_six_arguments() {
        let line = b"202 0x7f01 0x189 0x0 0x7f02 0x0 0xffffffff 0x7f03 0x7f04\n";
        let call = parse_system_call(line).unwrap();
        assert_eq!(call.number, 202);
        assert_eq!(call.arguments, [0x7f01, 0x189, 0, 0x7f02, 0, 0xffff_ffff]);
        assert_eq!((call.stack_pointer, call.instruction), (0x7f03, 0x7f04));
        for other in ["running\n", "-1 0x7ffd 0x7f\n", "", "202 0x1"] {
            assert_eq!(parse_system_call(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_thread_that_is_not_there_is_gone() {
        let thread = Thread::new(std::process::id(), 1 << 30);
        assert!(matches!(thread.stat(), Err(TargetError::Gone { .. })));
    }
}
