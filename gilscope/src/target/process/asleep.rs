//! For how long a thread has been off the processor. The kernel notes when a thread ran last, in its run queue's own time (`se.exec_start` in
//! `/proc/P/task/T/sched`), which stands still while a hypervisor takes the processor away. How far that is from now, gilscope learns from its own
//! thread, on the same processor.

use super::thread::{Thread, own_ran_at_ns};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The present thread.
const OWN: Pid = Pid::from_raw(0);
/// It runs again after so long, so that the kernel notes the time anew.
const NAP: Duration = Duration::from_micros(50);

/// The run queues' times.
#[derive(Debug, Default)]
pub struct RunQueues {
    /// Of each processor: when it was looked at, and its time then.
    times: HashMap<u32, Option<(Instant, u64)>>,
}

impl RunQueues {
    /// For how long a thread that sleeps has done so, in ns, up to a fraction of a millisecond; what a hypervisor took of the processor is not in it.
    /// `None` where the kernel does not tell (`CONFIG_SCHED_DEBUG`, before 6.15), or does not let gilscope run on that processor.
    pub fn asleep_ns(&mut self, thread: &Thread) -> Option<u64> {
        let cpu = thread.stat().ok()?.cpu;
        let ran_at_ns = thread.ran_at_ns()?;
        let time = *self.times.entry(cpu).or_insert_with(|| time_of(cpu));
        let (looked_at, ns) = time?;
        let since_ns = u64::try_from(looked_at.elapsed().as_nanos()).ok()?;
        Some(ns.checked_add(since_ns)?.saturating_sub(ran_at_ns))
    }
}

fn time_of(cpu: u32) -> Option<(Instant, u64)> {
    let before = sched_getaffinity(OWN).ok()?;
    let mut only = CpuSet::new();
    only.set(usize::try_from(cpu).ok()?).ok()?;
    sched_setaffinity(OWN, &only).ok()?;
    std::thread::sleep(NAP);
    let time = own_ran_at_ns().map(|ns| (Instant::now(), ns));
    // What was allowed is allowed still.
    let _ = sched_setaffinity(OWN, &before);
    time
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::target::Process;
    use std::sync::mpsc::channel;

    /// Beside the time that passes here.
    #[test]
    fn a_thread_sleeps_as_long_as_it_does() {
        let (wake, woken) = channel::<()>();
        let sleeper = std::thread::spawn(move || woken.recv());
        let own = nix::unistd::gettid().as_raw();
        let me = Process::open(std::process::id()).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let began = Instant::now();
        let mut queues = RunQueues::default();
        // Threads of other tests come and go; of those that are there all the time most sleep.
        let others = me.threads().unwrap();
        let others: Vec<_> = others
            .into_iter()
            .filter(|one| i64::from(one.tid) != i64::from(own))
            .filter_map(|one| {
                let switches = one.status().ok()?.switches;
                let sleeps = one.stat().ok()?.state == 'S';
                Some((one, switches, queues.asleep_ns(&one).filter(|_| sleeps)?))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        let mut judged = 0;
        for (thread, switches, before_ns) in others {
            let now_ns = queues.asleep_ns(&thread);
            let is_same = thread.status().is_ok_and(|now| now.switches == switches);
            if let Some(now_ns) = now_ns.filter(|_| is_same) {
                let grown = Duration::from_nanos(now_ns.saturating_sub(before_ns));
                // What a hypervisor takes is missing.
                let (least, most) = (Duration::from_millis(100), began.elapsed());
                assert!(least <= grown && grown <= most, "{grown:?} {most:?}");
                judged += 1;
            }
        }
        assert!(judged > 0, "the one above at least");
        drop(wake);
        let _ = sleeper.join();
    }
}
