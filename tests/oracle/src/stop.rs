//! When to stop: time, a signal, stdin, or the targets' end.

use std::{
    io,
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::SignalFd,
    },
    unistd::Pid,
};

/// The reader's pace. The eBPF side wakes nobody, to cost the target nothing; 64 MB hold far more than 5 ms of records.
const PACE_MS: u8 = 5;

/// The reasons to stop, and the pause between two looks at them.
pub struct Stop {
    duration: Option<Duration>,
    deadline: Option<Instant>,
    stdin: bool,
    signals: SignalFd,
    pids: Vec<Pid>,
}

impl Stop {
    /// Blocks SIGINT and SIGTERM, to be seen by [`Stop::pause`].
    pub fn new(duration: Option<Duration>, stdin: bool, pids: &[u32]) -> anyhow::Result<Self> {
        let mask = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
        mask.thread_block()?;
        let pids = pids
            .iter()
            .map(|&pid| i32::try_from(pid).map(Pid::from_raw))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            duration,
            deadline: None,
            stdin,
            signals: SignalFd::new(&mask)?,
            pids,
        })
    }

    /// The clock runs from now.
    pub fn start(&mut self) {
        self.deadline = self
            .duration
            .and_then(|duration| Instant::now().checked_add(duration));
    }

    /// Waits a moment; true if it is time to stop.
    pub fn pause(&self) -> anyhow::Result<bool> {
        let stdin = io::stdin();
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if self.stdin {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        let ready = poll(&mut fds, PollTimeout::from(PACE_MS))?;
        if ready > 0 {
            return Ok(true);
        }
        let over = self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline);
        Ok(over || self.pids.iter().all(|&pid| kill(pid, None).is_err()))
    }
}
