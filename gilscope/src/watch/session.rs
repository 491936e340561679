//! A run: attaches, follows processes, hands the kernel's records to the analysis of the process
//! that they are about, and makes the report.

use super::{
    Options, WatchError,
    clock::{now_ns, rfc_3339},
    host::host,
    process::Watched,
    supported,
};
use crate::{
    collect::{EndedThread, Record, decode},
    interpreter::Interpreter,
    model::{Loss, Progress, Report, SCHEMA, SCHEMA_VERSION},
    probe::Probe,
    target,
};
use gilscope_common::maps::Thread;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::OwnedFd,
    sync::Arc,
    time::SystemTime,
};

/// A run under way.
pub struct Session {
    probe: Probe,
    options: Options,
    started_at: SystemTime,
    origin_ns: u64,
    processes: BTreeMap<u32, Watched>,
    /// Those among them that were asked for; the rest are children.
    asked_for: BTreeSet<u32>,
    /// Children that have ended; their ids may be used again.
    gone: Vec<Watched>,
    undecoded: u64,
}

impl Session {
    /// Attaches to the kernel.
    ///
    /// # Errors
    /// [`WatchError::Probe`], [`WatchError::PidNamespace`].
    pub fn attach(options: Options) -> Result<Self, WatchError> {
        if target::process::in_initial_pid_namespace() == Some(false) {
            return Err(WatchError::PidNamespace);
        }
        Ok(Self {
            probe: Probe::attach(&options.limits)?,
            options,
            started_at: SystemTime::now(),
            origin_ns: now_ns(),
            processes: BTreeMap::new(),
            asked_for: BTreeSet::new(),
            gone: Vec::new(),
            undecoded: 0,
        })
    }

    /// Follows a live CPython.
    ///
    /// # Errors
    /// [`WatchError`] where its GIL cannot be found or measured.
    pub fn follow(
        &mut self,
        process: target::Process,
        interpreter: Interpreter,
    ) -> Result<(), WatchError> {
        supported::source(&interpreter, self.options.source)?;
        interpreter.gils(process.memory())?;
        self.asked_for.insert(process.pid);
        self.begin(process, Some(interpreter.into()))
    }

    /// Follows a process that is not a CPython yet.
    ///
    /// # Errors
    /// [`WatchError`] where the process is gone.
    pub fn follow_from_start(&mut self, process: target::Process) -> Result<(), WatchError> {
        self.asked_for.insert(process.pid);
        self.begin(process, None)
    }

    fn begin(
        &mut self,
        process: target::Process,
        interpreter: Option<Arc<Interpreter>>,
    ) -> Result<(), WatchError> {
        let pid = process.pid;
        let watched = Watched::begin(
            &mut self.probe,
            process,
            interpreter,
            &self.options,
            self.origin_ns,
        )?;
        self.processes.insert(pid, watched);
        Ok(())
    }

    /// Sends what the programs in the kernel have to say about themselves to the log.
    pub fn kernel_log(&mut self) -> Option<aya_log::EbpfLogger<&'static dyn log::Log>> {
        self.probe
            .log()
            .map_err(|error| log::warn!("no messages from the kernel's side: {error}"))
            .ok()
    }

    /// Takes what has come from the kernel. To be called every few milliseconds, and when
    /// [`Session::ring_fd`] becomes readable.
    pub fn poll(&mut self) {
        let mut records = Vec::new();
        let undecoded = &mut self.undecoded;
        self.probe.drain(|bytes| match decode(bytes) {
            Ok(record) => records.push(record),
            Err(error) => {
                log::error!("{error}: this is a bug in gilscope");
                *undecoded += 1;
            }
        });
        for record in records {
            self.take(record);
        }
        self.find_interpreters();
        self.release_ended();
    }

    /// Makes room for more children: those that ended give back what the kernel holds for them, and
    /// are forgotten if they had nothing to do with a GIL.
    fn release_ended(&mut self) {
        let is_gone =
            |pid: &u32, process: &Watched| !self.asked_for.contains(pid) && process.is_gone();
        let ended = self
            .processes
            .iter()
            .filter(|(pid, process)| is_gone(pid, process));
        for pid in ended.map(|(pid, _)| *pid).collect::<Vec<_>>() {
            if let Some(process) = self.processes.remove(&pid) {
                process.release(&mut self.probe);
                self.gone
                    .extend(process.is_of_interest().then_some(process));
            }
        }
    }

    fn take(&mut self, record: Record) {
        match record {
            Record::Interval(interval) => {
                if let Some(process) = self.processes.get_mut(&interval.pid) {
                    process.interval(interval);
                }
            }
            Record::Lock(record) => {
                if let Some(process) = self.processes.get_mut(&record.header.tgid) {
                    process.lock(&record);
                }
            }
            Record::ThreadStart(pid, tid, at_ns) => {
                if let Some(process) = self.processes.get_mut(&pid) {
                    process.thread_started(&mut self.probe, tid, at_ns);
                }
            }
            Record::ThreadEnd(ended) => self.thread_ended(&ended),
            Record::Exec(pid, at_ns) => {
                if let Some(process) = self.processes.get_mut(&pid) {
                    process.replaced(&mut self.probe, at_ns);
                }
            }
            Record::Fork(parent, child, _) => self.forked(parent, child),
        }
    }

    fn thread_ended(&mut self, ended: &EndedThread) {
        if let Some(process) = self.processes.get_mut(&ended.thread.tgid) {
            process.thread_ended(&mut self.probe, ended);
        }
    }

    fn forked(&mut self, parent: u32, child: u32) {
        let followed = target::Process::open(child)
            .map_err(WatchError::from)
            .and_then(|process| self.begin_forked(parent, process));
        match followed {
            Ok(()) => log::info!("child {child} of process {parent} is followed"),
            Err(error) => {
                self.probe.unfollow(child);
                log::info!("child {child} of process {parent} is not followed: {error}");
            }
        }
    }

    /// A copy of its parent until it executes something: its GIL lies where the parent's does, and
    /// is known before it can be waited for. Whether that is so is checked like any other's.
    fn begin_forked(&mut self, parent: u32, process: target::Process) -> Result<(), WatchError> {
        let parents = self.processes.get(&parent).and_then(Watched::interpreter);
        if let Some(interpreter) = parents
            && self.begin(process.clone(), Some(interpreter)).is_ok()
        {
            return Ok(());
        }
        self.begin(process, None)
    }

    fn find_interpreters(&mut self) {
        for (pid, process) in &mut self.processes {
            if !process.lacks_interpreter() {
                continue;
            }
            match process.find_interpreter(&mut self.probe) {
                Ok(()) => log::debug!("found the interpreter of process {pid}"),
                Err(WatchError::Interpreter(error)) if error.may_be_too_early() => {
                    log::trace!("process {pid}: {error}");
                }
                Err(error) => log::debug!("process {pid}: {error}"),
            }
        }
    }

    /// Looks after what the kernel does not tell: new sub-interpreters, processes that are gone.
    /// To be called about once a second.
    pub fn refresh(&mut self) {
        for (pid, process) in &mut self.processes {
            process.check_alive();
            match process.find_more_gils(&mut self.probe) {
                Ok(0) => {}
                Ok(new) => log::info!("process {pid}: {new} more GIL(s), of sub-interpreters"),
                Err(error) => log::debug!("process {pid}: {error}"),
            }
        }
    }

    /// What has been seen so far.
    pub fn progress(&self) -> Progress {
        let start = Progress {
            elapsed_ns: now_ns().saturating_sub(self.origin_ns),
            events_lost: self.probe.counters().map_or(0, |lost| lost.records_lost),
            ..Progress::default()
        };
        self.processes.values().fold(start, |sum, process| {
            let (waits, waited_ns, contended_ns) = process.so_far();
            Progress {
                threads: sum.threads + process.live_threads() as u64,
                waits: sum.waits + waits,
                waited_ns: sum.waited_ns + waited_ns,
                contended_ns: sum.contended_ns.max(contended_ns),
                ..sum
            }
        })
    }

    /// Whether there is nobody left to follow.
    pub fn is_over(&self) -> bool {
        self.processes.values().all(Watched::has_ended)
    }

    /// Whether a process may just be becoming a CPython: [`Session::poll`] should be called every
    /// millisecond or two.
    pub fn is_starting(&self) -> bool {
        self.processes.values().any(Watched::is_starting)
    }

    /// Becomes readable when the kernel has much to tell.
    ///
    /// # Errors
    /// Where no more descriptors can be had.
    pub fn ring_fd(&self) -> io::Result<OwnedFd> {
        self.probe.ring_fd()
    }

    /// Detaches and reports.
    pub fn finish(mut self) -> Report {
        if let Err(error) = self.probe.stop() {
            log::warn!("{error}");
        }
        let end_ns = now_ns();
        let missed = self.probe.missed();
        self.probe.detach();
        self.poll();
        for thread in self.probe.threads() {
            self.last_of(thread, end_ns);
        }
        let counters = self.probe.counters().unwrap_or_default();
        let mut loss = Loss {
            events_lost: counters.records_lost
                + counters.entries_lost
                + counters.reads_failed
                + self.undecoded
                + missed,
            ..Loss::default()
        };
        if loss.events_lost > 0 {
            log::info!(
                "lost: {} records, {} entries, {} reads; {missed} events left out by the kernel",
                counters.records_lost,
                counters.entries_lost,
                counters.reads_failed
            );
        }
        let mut processes = Vec::new();
        for process in self.gone.into_iter().chain(self.processes.into_values()) {
            let (report, lost) = process.finish(end_ns);
            loss.waits_lost += lost.waits_lost;
            loss.wait_lost_ns += lost.wait_lost_ns;
            processes.push(report);
        }
        Report {
            schema: SCHEMA,
            schema_version: SCHEMA_VERSION,
            gilscope_version: env!("CARGO_PKG_VERSION"),
            started_at: rfc_3339(self.started_at),
            duration_ns: end_ns.saturating_sub(self.origin_ns),
            host: host(),
            loss,
            processes,
        }
    }

    fn last_of(&mut self, thread: Thread, end_ns: u64) {
        let Some(process) = self.processes.get_mut(&thread.tgid) else {
            return;
        };
        if thread.ended_ns == 0 {
            process.thread_lives_on(&mut self.probe, thread, end_ns);
        } else {
            // Its record was lost, its figures were not.
            let ended = EndedThread {
                thread,
                os_name: None,
                status: None,
            };
            process.thread_ended(&mut self.probe, &ended);
        }
    }
}
