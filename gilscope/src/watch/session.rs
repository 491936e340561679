//! A run: attaches, follows processes, hands the kernel's records to the analysis of the process
//! that they are about, and makes the report.

use super::{
    Options, WatchError,
    clock::{cpu_time_ns, now_ns, rfc_3339},
    host::host,
    process::Watched,
    supported,
};
use crate::{
    collect::{EndedThread, Record, decode},
    interpreter::Interpreter,
    model::{Loss, Progress, Report, SCHEMA, SCHEMA_VERSION, StackReads, StormNews},
    probe::Probe,
    target,
};
use gilscope_common::maps::{Counters, StackKey, StackTime, Thread};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    io,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// How often the threads are looked at, and who has a GIL.
const LOOK: Duration = Duration::from_millis(100);
/// A look may take no more than one part in so many of a processor: of very many threads there are fewer.
const LOOK_PART: u32 = 100;

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
    /// What the kernel has said last of which stack waited for which.
    stack_times: HashMap<StackKey, StackTime>,
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
            probe: Probe::attach(&options.limits, options.source)?,
            options,
            started_at: SystemTime::now(),
            origin_ns: now_ns(),
            processes: BTreeMap::new(),
            asked_for: BTreeSet::new(),
            gone: Vec::new(),
            stack_times: HashMap::new(),
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
        self.find_interpreters(Watched::is_starting);
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
            if let Some(mut process) = self.processes.remove(&pid) {
                let is_of_interest = process.is_of_interest();
                process.release(&mut self.probe);
                self.gone.extend(is_of_interest.then_some(process));
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
            Record::Stack(stack) => {
                if let Some(process) = self.processes.get_mut(&stack.header.tgid) {
                    process.stack(&stack);
                }
            }
            Record::OnCpu(record) => {
                if let Some(process) = self.processes.get_mut(&record.header.tgid) {
                    process.on_cpu(&record, None);
                }
            }
            Record::Native(record) => {
                if let Some(process) = self.processes.get_mut(&record.on_cpu.header.tgid) {
                    process.on_cpu(&record.on_cpu, Some(&record));
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

    fn find_interpreters(&mut self, is_due: fn(&Watched) -> bool) {
        for (pid, process) in &mut self.processes {
            if !is_due(process) {
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
        self.find_interpreters(Watched::lacks_interpreter);
        for (pid, process) in &mut self.processes {
            process.check_alive();
            process.renew_stacks();
            process.name_threads();
            match process.find_more_gils(&mut self.probe) {
                Ok(0) => {}
                Ok(new) => log::info!("process {pid}: {new} more GIL(s), of sub-interpreters"),
                Err(error) => log::debug!("process {pid}: {error}"),
            }
        }
    }

    /// Looks at what the kernel has counted, for storms. Answers when to look again.
    pub fn look(&mut self) -> Duration {
        // What has happened until now, and then what it has come to.
        self.poll();
        let began_ns = cpu_time_ns();
        let (now_ns, threads) = (now_ns(), self.probe.threads());
        for thread in threads.iter().filter(|thread| thread.ended_ns == 0) {
            if let Some(process) = self.processes.get_mut(&thread.tgid) {
                process.glance(&self.probe, thread, now_ns);
            }
        }
        self.take_blocked(&threads);
        self.take_stack_times();
        let events_lost = lost(&self.probe.counters().unwrap_or_default());
        for process in self.processes.values_mut() {
            process.look(now_ns, events_lost);
        }
        let used = Duration::from_nanos(cpu_time_ns().saturating_sub(began_ns));
        LOOK.max(used * LOOK_PART)
    }

    /// Looks who has the GILs. Answers when to look again.
    pub fn sample(&mut self) -> Duration {
        let began_ns = cpu_time_ns();
        for process in self.processes.values_mut() {
            process.sample(now_ns());
        }
        let used = Duration::from_nanos(cpu_time_ns().saturating_sub(began_ns));
        LOOK.max(used * LOOK_PART)
    }

    /// Storms that have begun, or are over, since this was asked last, and the process of each.
    pub fn news(&mut self) -> Vec<(u32, StormNews)> {
        let all = self.processes.iter_mut();
        let news = all.flat_map(|(pid, process)| process.news().into_iter().map(|one| (*pid, one)));
        news.collect()
    }

    /// Takes who had a GIL while who waited, and how it slept. What is said of a waiter that is gone is final.
    fn take_blocked(&mut self, threads: &[Thread]) {
        let live: HashSet<_> = (threads.iter())
            .filter(|thread| thread.ended_ns == 0)
            .map(|thread| (thread.tid, thread.started_ns))
            .collect();
        for (key, blocked) in self.probe.blocked() {
            if let Some(process) = self.processes.get_mut(&key.tgid) {
                process.blocked(&key, &blocked);
            }
            if !live.contains(&(key.tid, key.started_ns)) {
                self.probe.remove_blocked(&key);
            }
        }
        for (key, sleeps) in self.probe.sleeps() {
            if let Some(process) = self.processes.get_mut(&key.pair.tgid) {
                process.holder_sleeps(&key, &sleeps);
            }
            if !live.contains(&(key.pair.tid, key.pair.started_ns)) {
                self.probe.remove_sleeps(&key);
            }
        }
    }

    /// Takes which stack waited for which since the last time. What has not grown makes room for others.
    fn take_stack_times(&mut self) {
        let times = self.probe.stack_times();
        // Each stack was sent before its time was counted.
        self.poll();
        let mut told = HashMap::with_capacity(times.len());
        for (key, time) in times {
            let before = self.stack_times.get(&key).copied().unwrap_or_default();
            let more = StackTime {
                count: time.count.saturating_sub(before.count),
                sum_ns: time.sum_ns.saturating_sub(before.sum_ns),
            };
            if more.sum_ns == 0 {
                self.probe.remove_stack_time(&key);
                continue;
            }
            if let Some(process) = self.processes.get_mut(&key.tgid) {
                process.stack_time(&key, &more);
            }
            told.insert(key, time);
        }
        self.stack_times = told;
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
        self.processes.values_mut().for_each(Watched::name_threads);
        // Detaching takes the kernel up to a second.
        self.look();
        if let Err(error) = self.probe.stop() {
            log::warn!("{error}");
        }
        let end_ns = now_ns();
        let missed = self.probe.missed();
        self.probe.detach();
        self.poll();
        self.take_stack_times();
        let threads = self.probe.threads();
        self.take_blocked(&threads);
        for thread in threads {
            self.last_of(thread, end_ns);
        }
        let counters = self.probe.counters().unwrap_or_default();
        let mut loss = Loss {
            events_lost: lost(&counters) + self.undecoded + missed,
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
        let has_clocks = self.probe.has_clocks();
        let (mut processes, host) = (Vec::new(), host());
        for process in self.gone.into_iter().chain(self.processes.into_values()) {
            let (report, lost) = process.finish(end_ns, lost(&counters), host.cpus, has_clocks);
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
            host,
            loss,
            stack_reads: StackReads {
                read: counters.stacks,
                moved: counters.stacks_moved,
                lost: counters.stacks_lost,
                refused: counters.stacks_refused,
            },
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

/// Records that the kernel could not send.
fn lost(counters: &Counters) -> u64 {
    counters.records_lost + counters.entries_lost + counters.reads_failed
}
