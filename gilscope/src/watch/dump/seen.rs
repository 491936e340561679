//! What the kernel tells of a thread.

use crate::target::{SystemCall, Thread};

/// A thread, as it was at one moment.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) thread: Thread,
    pub(super) ns_tid: Option<u32>,
    pub(super) os_name: String,
    pub(super) state: char,
    pub(super) call: Option<SystemCall>,
    switches: u64,
}

impl Seen {
    /// A thread now; `None` of one that has ended.
    pub(super) fn of(thread: Thread) -> Option<Seen> {
        // Before the system call, so that none is missing that came after it.
        let status = thread.status().ok()?;
        let call = thread.system_call().ok().flatten();
        let stat = thread.stat().ok().filter(|stat| !stat.is_zombie())?;
        Some(Seen {
            thread,
            ns_tid: status.ns_tid,
            os_name: stat.comm,
            state: stat.state,
            call,
            switches: status.switches,
        })
    }

    /// Whether it has slept in this system call until now.
    pub(super) fn sleeps_still(&self) -> bool {
        let call = self.thread.system_call().ok().flatten();
        // After the system call: it would have had to leave the processor to sleep in it again.
        let status = self.thread.status();
        self.call.is_some()
            && self.call == call
            && status.is_ok_and(|status| status.switches == self.switches)
    }
}
