//! The signals that gilscope gets: they end the tracing, or are handed on to the command.

use super::launch::Launched;
use anyhow::Context;
use nix::sys::signal;
use tokio::signal::unix::{self, SignalKind};

/// Signals that end the tracing, or are a command's.
pub struct Signals {
    has_asked: bool,
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
    quit: unix::Signal,
    user_1: unix::Signal,
    user_2: unix::Signal,
    child: unix::Signal,
}

impl Signals {
    /// Catches them from now on; within a runtime.
    pub fn catch() -> anyhow::Result<Self> {
        let catch = |kind| unix::signal(kind).context("cannot catch signals");
        Ok(Self {
            has_asked: false,
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            hang_up: catch(SignalKind::hangup())?,
            quit: catch(SignalKind::quit())?,
            user_1: catch(SignalKind::user_defined1())?,
            user_2: catch(SignalKind::user_defined2())?,
            child: catch(SignalKind::child())?,
        })
    }

    /// The next that asks to end.
    pub async fn next(&mut self) -> signal::Signal {
        let signal = tokio::select! {
            _ = self.interrupt.recv() => signal::Signal::SIGINT,
            _ = self.terminate.recv() => signal::Signal::SIGTERM,
            _ = self.hang_up.recv() => signal::Signal::SIGHUP,
            _ = self.quit.recv() => signal::Signal::SIGQUIT,
            _ = self.user_1.recv() => signal::Signal::SIGUSR1,
            _ = self.user_2.recv() => signal::Signal::SIGUSR2,
            _ = self.child.recv() => signal::Signal::SIGCHLD,
        };
        self.has_asked |= signal != signal::Signal::SIGCHLD;
        signal
    }

    /// The report is being made. An interrupt that asks for that changes nothing; one that comes after another ends gilscope at once.
    pub fn let_interrupt_end(&self) {
        let (handler, flags) = if self.has_asked {
            (signal::SigHandler::SigDfl, signal::SaFlags::empty())
        } else {
            (
                signal::SigHandler::Handler(is_heard),
                signal::SaFlags::SA_RESETHAND,
            )
        };
        let action = signal::SigAction::new(handler, flags, signal::SigSet::empty());
        // SAFETY: the handler does nothing, so it may run at any time.
        let done = unsafe { signal::sigaction(signal::Signal::SIGINT, &action) };
        if let Err(error) = done {
            log::debug!("interrupts stay caught: {error}");
        }
    }
}

extern "C" fn is_heard(_: libc::c_int) {}

/// The terminal sends an interrupt to the command too; what came from elsewhere is handed on.
pub fn forward(signal: signal::Signal, command: &Launched) {
    let from_terminal = signal == signal::Signal::SIGINT && is_in_foreground();
    if !from_terminal {
        command.signal(signal);
    }
}

fn is_in_foreground() -> bool {
    std::fs::File::open("/dev/tty")
        .ok()
        .and_then(|terminal| nix::unistd::tcgetpgrp(terminal).ok())
        .is_some_and(|group| group == nix::unistd::getpgrp())
}
