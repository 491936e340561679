//! One watched process: what is known of it from `/proc`, and its analysis.

use super::{
    Options, WatchError, begin,
    clock::{cpu_time_ns, now_ns},
    collections::Collections,
    dump,
    host::tick_source,
    locks,
    on_cpu::OnCpu,
    samples::Sampler,
    supported,
};
use crate::{
    analyse,
    collect::{EndedThread, call, gil_totals, thread_totals},
    interpreter::{
        Interpreter, Libc, RecordedStacks,
        layout::{NO_FUNCTION_FROM, Position, has_parking_lot},
    },
    model::{
        Blocking, Event, ExitStatus, FoundBy, Gil, GilInfo, GilLock, GilSamples, HolderSleeps,
        Interval, IntervalKind, LockId, LockTotals, LockWait, Look, ProcessEnd, ProcessReport,
        Sample, StormNews, StormThresholds, ThreadEnd, ThreadFacts, ThreadStart, WaitLoss,
        WaitSource, WaitedAt,
    },
    probe::{Hooks, Library, Probe, fields_of, hooks},
    target::{self, elf::Symbol, process::Stat},
};
use gilscope_common::{
    frames::Stack,
    holder::{Blocked, BlockedKey, NOBODY, SleepKey, Sleeps},
    lock::LockPlace,
    maps::{
        FrameOffsets, SemaphoreOffsets, StackKey, StackTime, Target, Thread, TotalsKey, source,
    },
    records::{LockRecord, NativeRecord, OnCpuRecord},
    wait::{Finished, kind},
};
use std::{collections::HashMap, ops::Range, rc::Rc, sync::Arc};

/// How long a program may take to become a CPython; after that it is looked at less often.
const STARTING_NS: u64 = 2_000_000_000;

/// How many GILs of one process are traced in all: sub-interpreters may come and go for ever, and each is a row.
const MAX_GILS: usize = 4096;

/// How often a thread's name is looked for: C's threads have none.
const NAME_ATTEMPTS: u8 = 5;
/// So much processor time may names take at once, as programs may make them hard to find.
const NAMES_CPU_NS: u64 = 50_000_000;

/// A process that is followed.
pub struct Watched {
    process: target::Process,
    interpreter: Option<Arc<Interpreter>>,
    /// By their ids.
    gils: Vec<WatchedGil>,
    /// Those that found no room, at most at a time.
    gils_not_traced: usize,
    wanted_source: Option<WaitSource>,
    source: WaitSource,
    follow_children: bool,
    /// What is probed in its C library, once it is.
    hooks: Option<Hooks>,
    /// Its C library and where that is loaded, once it is known.
    library: Option<(Rc<Library>, u64)>,
    purposes: locks::Purposes,
    /// Reads its stacks, once there was one.
    stacks: Option<RecordedStacks>,
    sampler: Sampler,
    on_cpu: OnCpu,
    collections: Collections,
    analysis: analyse::Process,
    max_locks: usize,
    storms: StormThresholds,
    origin_ns: u64,
    from_ns: u64,
    /// Its threads by what it calls them itself, where that is something else.
    tids: Tids,
    /// How often each thread's name was looked for; [`NAME_ATTEMPTS`] once it is known.
    names_tried: HashMap<u32, u8>,
    /// The threads that were there at the beginning, as they were.
    at_start: HashMap<u32, Stat>,
    /// When, and how if that is known.
    ended: Option<(u64, Option<ExitStatus>)>,
    /// When its present program began, where gilscope was there.
    program_began_ns: u64,
}

impl Watched {
    /// Begins to follow a process.
    pub fn begin(
        probe: &mut Probe,
        process: target::Process,
        interpreter: Option<Arc<Interpreter>>,
        options: &Options,
        origin_ns: u64,
    ) -> Result<Self, WatchError> {
        let from_ns = now_ns();
        let mut watched = Self {
            analysis: analyse::Process::new(origin_ns, from_ns, options.max_threads),
            max_locks: options.max_locks,
            storms: options.storms,
            process,
            interpreter,
            gils: Vec::new(),
            gils_not_traced: 0,
            wanted_source: options.source,
            source: WaitSource::Futex,
            follow_children: options.follow_children,
            hooks: None,
            library: None,
            purposes: locks::Purposes::default(),
            stacks: None,
            sampler: Sampler::default(),
            on_cpu: OnCpu::default(),
            collections: Collections::default(),
            origin_ns,
            from_ns,
            tids: Tids::default(),
            names_tried: HashMap::new(),
            at_start: HashMap::new(),
            ended: None,
            program_began_ns: from_ns,
        };
        match watched.begin_in_kernel(probe) {
            Ok(()) => {
                watched.look_at_collections(now_ns());
                Ok(watched)
            }
            Err(error) => {
                watched.release(probe);
                Err(error)
            }
        }
    }

    fn begin_in_kernel(&mut self, probe: &mut Probe) -> Result<(), WatchError> {
        if let Some(interpreter) = &self.interpreter {
            self.source = supported::source(interpreter, self.wanted_source)?;
        }
        self.find_gils(probe)?;
        // Uprobes take long to attach, and nothing is measured meanwhile.
        self.from_ns = now_ns();
        self.program_began_ns = self.from_ns;
        self.analysis =
            analyse::Process::new(self.origin_ns, self.from_ns, self.analysis.max_threads())
                .with_max_locks(self.max_locks)
                .with_storms(self.storms);
        // The process before its threads: a futex call in between makes its thread known by itself.
        self.follow(probe)?;
        self.add_threads(probe)
    }

    /// Tells the kernel what it must know of the process.
    fn follow(&mut self, probe: &mut Probe) -> Result<(), WatchError> {
        if self.interpreter.is_some() {
            let modules = target::module::modules(&self.process)?.filter_map(Result::ok);
            self.library = probe.library(modules)?;
        }
        let library = self.library.as_ref();
        let namespace = self.process.pid_namespace;
        let interpreter = self.interpreter.as_ref();
        // musl's is not what its callers return to: it leaves by jumps into others.
        let on_glibc = interpreter.filter(|interpreter| interpreter.libc == Libc::Glibc);
        let mutex_lock = on_glibc.and(mutex_lock(&self.process));
        let code = interpreter.and_then(|interpreter| interpreter.module.code());
        let code = code.unwrap_or_default();
        let target = Target {
            mutex_lock: mutex_lock.map_or(0, |function| function.address),
            mutex_lock_size: mutex_lock.map_or(0, |function| function.size),
            pidns_dev: namespace.dev,
            pidns_ino: match namespace.is_initial() {
                true => 0,
                false => namespace.ino,
            },
            library: library.map_or(0, |(library, bias)| bias.wrapping_add(library.lowest)),
            library_size: library.map_or(0, |(library, _)| library.size),
            library_id: library.map_or(0, |(library, _)| library.id),
            has_parking_lot: self.has_parking_lot().into(),
            python: code.start,
            python_size: code.end.saturating_sub(code.start),
            frames: self.frames().unwrap_or_default(),
            semaphore: self.semaphore().unwrap_or_default(),
            follow_children: self.follow_children.into(),
            source: match self.source {
                WaitSource::Futex => source::FUTEX,
                WaitSource::Uprobe => source::UPROBE,
            },
        };
        probe.follow(self.process.pid, &target)?;
        Ok(())
    }

    fn frames(&self) -> Option<FrameOffsets> {
        let python = self.interpreter.as_ref()?;
        let layout = python.frames()?;
        let pause = layout.pause.zip(python.runtime());
        let gil = &self.gils.iter().find(|known| known.lives)?.gil;
        let small = |offset: u64| u32::try_from(offset).unwrap_or(0);
        let code = layout.in_code;
        let in_code = code.identity_span();
        Some(FrameOffsets {
            last_holder: fields_of(gil).last_holder,
            locked: match gil.lock {
                GilLock::Condvar(_) => fields_of(gil).locked,
                GilLock::Semaphore { .. } => 0,
            },
            thread_id: layout.thread_id,
            frame: layout.frame,
            has_cframe: layout.cframe_frame.is_some().into(),
            cframe_frame: layout.cframe_frame.unwrap_or(0),
            previous: layout.previous,
            code: layout.code,
            state: pause.map_or(0, |(pause, _)| pause.state),
            interpreter: small(layout.interpreter),
            requester: pause.map_or(0, |(pause, _)| pause.requester),
            native_id: match layout.has_native_id {
                true => layout.thread_id + 8,
                false => 0,
            },
            runtime_requester: pause.map_or(0, |(pause, runtime)| {
                runtime.wrapping_add(pause.runtime_requester)
            }),
            instruction: layout.instruction,
            instruction_unused_bits: match layout.position {
                Position::Index { .. } => 32,
                Position::Address { .. } => 0,
            },
            owner: layout.owner.unwrap_or(0),
            owner_mask: layout.owner.map_or(0, |_| 0xff),
            no_function_from: NO_FUNCTION_FROM.into(),
            frame_length: small(layout.frame_span()),
            code_from: small(in_code.start),
            code_length: small(in_code.end - in_code.start),
            file: small(code.file - in_code.start),
            name: small(code.name - in_code.start),
            name_hash: layout.text.hash(),
            first_line: small(code.first_line - in_code.start),
        })
    }

    fn semaphore(&self) -> Option<SemaphoreOffsets> {
        let python = self.interpreter.as_ref()?;
        let layout = python.frames()?;
        let (ticker, check_interval) = python.check_interval().unwrap_or((0, 0));
        Some(SemaphoreOffsets {
            thread_id: layout.thread_id,
            ticks: layout.ticks?,
            frame: layout.frame,
            instruction: layout.instruction,
            ticker,
            check_interval,
        })
    }

    fn has_parking_lot(&self) -> bool {
        let interpreter = self.interpreter.as_ref();
        interpreter.is_some_and(|interpreter| has_parking_lot(interpreter.version))
    }

    fn add_threads(&mut self, probe: &mut Probe) -> Result<(), WatchError> {
        let python = self.interpreter.as_ref();
        let running = python.map(|python| python.running(self.process.memory()));
        let running = running.unwrap_or_default();
        let states = python.map(|python| python.sole_states(self.process.memory()));
        let states = states.unwrap_or_default();
        for thread in self.process.threads()? {
            // One that has ended meanwhile is none of ours.
            let Ok(stat) = thread.stat() else { continue };
            let now_ns = now_ns();
            let gils = self.gils.iter().map(|watched| &watched.gil);
            let locks = locks::Locks {
                library: self.library.as_ref().map(|(library, _)| &**library),
                load_bias: self.library.as_ref().map_or(0, |(_, bias)| *bias),
                has_parking_lot: self.has_parking_lot(),
            };
            let functions = self.ns_tid(&thread).and_then(|tid| running.get(&tid));
            let functions = functions.copied().unwrap_or((0, 0));
            let memory = self.process.memory();
            let lock = || locks.asleep_on(memory, &thread, functions, now_ns);
            let mut begun = begin::thread(self.process.pid, &thread, &stat, gils, lock, now_ns);
            begun.ns_tid = self.ns_tid(&thread).unwrap_or(0);
            // It may wait for long before it has a GIL and tells it itself.
            begun.wait.tstate = states.get(&begun.ns_tid).copied().unwrap_or(0);
            probe.add_thread(&begun)?;
            self.analysis.apply(Event::ThreadStart(ThreadStart {
                pid: self.process.pid,
                tid: thread.tid,
                at_ns: self.from_ns,
            }));
            self.at_start.insert(thread.tid, stat);
        }
        Ok(())
    }

    /// The same while the process is followed: the first GIL leads to its threads' functions.
    pub fn find_more_gils(&mut self, probe: &mut Probe) -> Result<usize, WatchError> {
        let new = self.find_gils(probe)?;
        if new > 0 {
            self.follow(probe)?;
        }
        Ok(new)
    }

    /// Looks for GILs that were not there before; those of sub-interpreters come and go. Answers
    /// how many are new.
    fn find_gils(&mut self, probe: &mut Probe) -> Result<usize, WatchError> {
        let Some(interpreter) = &self.interpreter else {
            return Ok(0);
        };
        let python = Python {
            version: interpreter.version.to_string(),
            free_threaded: interpreter.free_threaded,
            found_by: interpreter.found_by,
        };
        let gils = interpreter.gils(self.process.memory())?;
        let has_condvars = |gil: &Gil| matches!(gil.lock, GilLock::Condvar(_));
        if self.source == WaitSource::Uprobe
            && self.hooks.is_none()
            && gils.iter().any(has_condvars)
        {
            let modules = target::module::modules(&self.process)?.filter_map(Result::ok);
            let hooks = hooks(modules)?;
            probe.attach_condvars(self.process.pid, &hooks)?;
            self.hooks = Some(hooks);
        }
        self.forget_destroyed(probe, &gils);
        let (before, mut not_traced) = (self.gils.len(), 0);
        for gil in gils {
            if let Some(known) = self.gils.iter_mut().find(|known| known.is(&gil)) {
                known.info.interpreters.clone_from(&gil.interpreters);
                // A free-threaded build switches it on for an extension that needs it (`Python/ceval_gil.c`, 3.13:
                // `_PyEval_EnableGILPermanent`).
                if gil.enabled && !known.gil.enabled {
                    if !watch(probe, self.process.pid, known.info.id, &gil, self.source) {
                        not_traced += 1;
                        continue;
                    }
                    known.info.enabled = true;
                    known.info.measured_from_ns = now_ns().saturating_sub(self.origin_ns);
                    known.gil = gil;
                }
                continue;
            }
            let id = u32::try_from(self.gils.len()).unwrap_or(u32::MAX);
            let has_room = self.gils.len() < MAX_GILS
                && (!gil.enabled || watch(probe, self.process.pid, id, &gil, self.source));
            if !has_room {
                not_traced += 1;
                continue;
            }
            let info = GilInfo {
                measured_from_ns: now_ns().saturating_sub(self.origin_ns),
                ..gil_info(id, &gil, &python, source_of(&gil, self.source))
            };
            // Threads may have waited for it before it was known.
            self.analysis.forget_locks(&words_in(&gil));
            self.gils.push(WatchedGil {
                gil,
                info,
                lives: true,
            });
        }
        if not_traced > 0 && self.gils_not_traced == 0 {
            let pid = self.process.pid;
            log::warn!(
                "process {pid} has more GILs than there is room for: {not_traced} are not traced"
            );
        }
        self.gils_not_traced = self.gils_not_traced.max(not_traced);
        Ok(self.gils.len() - before)
    }

    /// A GIL goes with the sub-interpreter that owns it, and its memory may become anything, such as the next one's.
    fn forget_destroyed(&mut self, probe: &mut Probe, now: &[Gil]) {
        for known in self.gils.iter_mut().filter(|known| known.lives) {
            if !now.iter().any(|gil| known.is(gil)) {
                known.lives = false;
                probe.unwatch(self.process.pid, known.info.id, &known.gil, self.source);
            }
        }
    }

    /// The process has replaced its program: what was known of its interpreter is no longer true.
    pub fn replaced(&mut self, probe: &mut Probe, at_ns: u64) {
        self.forget_destroyed(probe, &[]);
        self.end_all_but_the_first(at_ns);
        self.interpreter = None;
        self.program_began_ns = now_ns();
        self.hooks = None;
        self.library = None;
        self.purposes = locks::Purposes::default();
        self.stacks = None;
        self.sampler = Sampler::default();
        self.on_cpu = OnCpu::default();
        self.collections = Collections::default();
        self.names_tried.clear();
        self.tids = Tids::default();
        // One that is ending has no arguments any more.
        if let Ok(process) = target::Process::open(self.process.pid)
            && !process.cmdline.is_empty()
        {
            self.process = process;
        }
    }

    /// A new program begins with one thread. If another than the first replaced the old one, it took
    /// over the first one's id (`de_thread`, fs/exec.c), and nobody says that its own is gone.
    fn end_all_but_the_first(&mut self, at_ns: u64) {
        let pid = self.process.pid;
        for tid in self
            .analysis
            .live_ids()
            .filter(|tid| *tid != pid)
            .collect::<Vec<_>>()
        {
            self.analysis.apply(Event::ThreadEnd(ThreadEnd {
                pid,
                tid,
                at_ns,
                os_name: None,
            }));
        }
    }

    /// Its interpreter, which a process that it forks has too.
    pub fn interpreter(&self) -> Option<Arc<Interpreter>> {
        self.interpreter.clone()
    }

    /// Whether its interpreter is not known (yet).
    pub fn lacks_interpreter(&self) -> bool {
        self.interpreter.is_none() && self.ended.is_none()
    }

    /// Whether it may be a CPython that is just starting, and should be looked at often: its GIL is
    /// to be found before it has a second thread that could wait.
    pub fn is_starting(&self) -> bool {
        self.lacks_interpreter() && now_ns().saturating_sub(self.program_began_ns) < STARTING_NS
    }

    /// Looks for the interpreter of a process that has just started, or replaced its program.
    pub fn find_interpreter(&mut self, probe: &mut Probe) -> Result<(), WatchError> {
        let interpreter = Interpreter::find(&self.process)?;
        self.source = supported::source(&interpreter, self.wanted_source)?;
        // It may not have made its GIL yet.
        interpreter.gils(self.process.memory())?;
        self.interpreter = Some(interpreter.into());
        self.follow(probe)?;
        self.find_more_gils(probe)?;
        Ok(())
    }

    /// Takes what the kernel saw.
    pub fn interval(&mut self, interval: Interval) {
        self.analysis.apply(Event::Interval(interval));
    }

    /// A wait for another lock has finished.
    pub fn lock(&mut self, record: &LockRecord) {
        let wait = LockWait {
            tid: record.header.tid,
            lock: self.lock_id(&record.place),
            slept_ns: record.slept_ns,
            cut_at_start: record.cut_at_start != 0,
        };
        // From before it was known, or what the uprobes do not see.
        let is_gil =
            |known: &WatchedGil| known.lives && words_in(&known.gil).contains(&wait.lock.address);
        if !self.gils.iter().any(is_gil) {
            self.analysis.apply(Event::Lock(wait));
        }
    }

    fn lock_id(&mut self, place: &LockPlace) -> LockId {
        let (memory, python) = (self.process.memory(), self.interpreter.as_deref());
        self.purposes.lock(place, memory, python)
    }

    /// A thread has begun.
    pub fn thread_started(&mut self, probe: &mut Probe, tid: u32, at_ns: u64) {
        let pid = self.process.pid;
        // When a thread replaces the program, all end before the one with the first one's id begins.
        self.ended = None;
        self.tids.began(&self.process, tid);
        self.analysis
            .apply(Event::ThreadStart(ThreadStart { pid, tid, at_ns }));
        // An old CPython makes its GIL with its second thread, and after a fork anew.
        if self.live_threads() == 2
            && let Err(error) = self.find_more_gils(probe)
        {
            log::debug!("process {pid}: {error}");
        }
    }

    /// A thread has ended: its figures are final.
    pub fn thread_ended(&mut self, probe: &mut Probe, ended: &EndedThread) {
        let thread = &ended.thread;
        self.count(probe, thread, thread.ended_ns);
        for key in self.totals_keys(thread) {
            probe.remove_totals(&key);
        }
        self.analysis.apply(Event::ThreadEnd(ThreadEnd {
            pid: self.process.pid,
            tid: thread.tid,
            at_ns: thread.ended_ns,
            os_name: ended.os_name.clone(),
        }));
        self.at_start.remove(&thread.tid);
        self.names_tried.remove(&thread.tid);
        if self.analysis.live_threads() == 0 {
            self.ended = Some((thread.ended_ns, ended.status));
        }
    }

    /// Takes what the kernel has counted so far of a thread that waited and one that had the GIL.
    pub fn blocked(&mut self, key: &BlockedKey, blocked: &Blocked) {
        let Some(holder) = self.holder(key.holder) else {
            return;
        };
        self.analysis.apply(Event::Blocking(Blocking {
            waiter: key.tid,
            started_ns: key.started_ns,
            gil_id: key.gil_id,
            holder,
            parts: blocked.parts,
            sum_ns: blocked.sum_ns,
            max_ns: blocked.longest_ns(),
            on_cpu_ns: blocked.on_cpu_ns,
            runnable_ns: blocked.runnable_ns,
            asleep_ns: blocked.asleep_ns,
        }));
    }

    /// Takes how a holder has slept so far while a thread waited.
    pub fn holder_sleeps(&mut self, key: &SleepKey, sleeps: &Sleeps) {
        let Some(holder) = self.tid(key.pair.holder) else {
            return;
        };
        self.analysis.apply(Event::HolderSleeps(HolderSleeps {
            waiter: key.pair.tid,
            started_ns: key.pair.started_ns,
            gil_id: key.pair.gil_id,
            holder,
            call: call(key.call),
            count: sleeps.count,
            sum_ns: sleeps.sum_ns,
        }));
    }

    /// Takes a Python stack that the kernel has read: its functions are looked up now, while they are there.
    pub fn stack(&mut self, stack: &Stack) {
        if self.stacks.is_none() {
            let interpreter = self.interpreter.as_ref();
            self.stacks = interpreter.and_then(|it| it.recorded_stacks(self.process.memory()));
        }
        if let Some(stacks) = &mut self.stacks {
            let read = stacks.read(stack);
            self.analysis.apply(Event::Stack(stack.id, read));
        }
    }

    /// Takes how much longer one stack has waited for another since it was told last.
    pub fn stack_time(&mut self, key: &StackKey, more: &StackTime) {
        let Some(holder) = self.holder(key.holder_tid) else {
            return;
        };
        self.analysis.apply(Event::WaitedAt(WaitedAt {
            gil_id: key.gil_id,
            holder,
            waiter_stack: key.waiter,
            holder_stack: key.holder,
            count: more.count,
            sum_ns: more.sum_ns,
        }));
    }

    /// More may be spent on its stacks. To be called about once a second.
    pub fn renew_stacks(&mut self) {
        if let Some(stacks) = &mut self.stacks {
            stacks.renew();
        }
        self.sampler.renew();
    }

    /// Learns what the program calls its threads. To be called about once a second.
    pub fn name_threads(&mut self) {
        let Some(interpreter) = self.interpreter.clone().filter(|_| self.ended.is_none()) else {
            return;
        };
        let (memory, began_ns) = (self.process.memory(), cpu_time_ns());
        for state in interpreter.thread_states(memory) {
            let Some(tid) = self.tid(state.ns_tid) else {
                continue;
            };
            let tried = self.names_tried.entry(tid).or_default();
            if *tried >= NAME_ATTEMPTS {
                continue;
            }
            if cpu_time_ns().saturating_sub(began_ns) > NAMES_CPU_NS {
                break;
            }
            *tried += 1;
            let name = interpreter.thread_name(memory, &state);
            if name.is_some() {
                *tried = NAME_ATTEMPTS;
                let facts = ThreadFacts {
                    name,
                    ..ThreadFacts::default()
                };
                self.analysis.apply(Event::ThreadFacts(tid, facts));
            }
        }
    }

    fn look_at_collections(&mut self, at_ns: u64) {
        if let Some(interpreter) = self.interpreter.as_ref().filter(|_| self.ended.is_none()) {
            let memory = self.process.memory();
            self.collections.look(interpreter, memory, at_ns);
        }
    }

    /// Looks who has its GILs.
    pub fn sample(&mut self, at_ns: u64) {
        if self.ended.is_some() {
            return;
        }
        let Some(interpreter) = self.interpreter.clone() else {
            return;
        };
        self.look_at_collections(at_ns);
        let gils = self.gils.iter().filter(|it| it.lives && it.gil.enabled);
        let gils: Vec<_> = gils.map(|it| (it.info.id, it.gil.clone())).collect();
        for (gil_id, gil) in gils {
            let tid = |ns_tid| self.tids.of(&self.process, ns_tid);
            let seen = self.sampler.look(&self.process, &interpreter, &gil, tid);
            self.analysis.apply(Event::Sample(Sample {
                at_ns,
                gil_id,
                seen,
            }));
        }
    }

    /// A holder as the kernel tells it: a thread, or nobody; `None` where it is no thread that is known.
    fn holder(&mut self, ns_tid: u32) -> Option<Option<u32>> {
        match ns_tid {
            NOBODY => Some(None),
            ns_tid => self.tid(ns_tid).map(Some),
        }
    }

    /// The thread with this id in the process's PID namespace.
    fn tid(&mut self, ns_tid: u32) -> Option<u32> {
        self.tids.of(&self.process, ns_tid)
    }

    /// Takes what the kernel has counted so far of a thread that lives, of what a look is about.
    pub fn glance(&mut self, probe: &Probe, thread: &Thread, now_ns: u64) {
        // What is said of one that is not known yet might be taken for an older one's.
        if self.analysis.is_live(thread.tid) {
            self.count_waits(probe, thread, now_ns);
        }
    }

    /// A look: all its threads have been glanced at.
    pub fn look(&mut self, at_ns: u64, events_lost: u64) {
        let stat = (self.ended.is_none()).then(|| self.process.stat().ok());
        self.analysis.apply(Event::Look(Look {
            at_ns,
            system_ns: stat.flatten().map(|stat| stat.system_ns),
            events_lost,
        }));
    }

    /// Storms that have begun, or are over, since this was asked last.
    pub fn news(&mut self) -> Vec<StormNews> {
        self.analysis.news()
    }

    /// Takes what the kernel counted of a thread up to `now_ns`.
    fn count(&mut self, probe: &Probe, thread: &Thread, now_ns: u64) {
        let open = locks::open(&thread.lock, now_ns);
        let totals = LockTotals {
            waits: thread.lock.totals.waits,
            sum_ns: thread.lock.totals.sum_ns,
            open: open.map(|(ns, cut)| (self.lock_id(&thread.lock.place), ns, cut)),
        };
        self.analysis.apply(Event::LockTotals(thread.tid, totals));
        self.count_waits(probe, thread, now_ns);
    }

    /// The same without its waits for locks.
    fn count_waits(&mut self, probe: &Probe, thread: &Thread, now_ns: u64) {
        let totals = thread_totals(thread, now_ns);
        self.analysis.apply(Event::ThreadTotals(thread.tid, totals));
        for key in self.totals_keys(thread) {
            if let Some(totals) = probe.totals(&key) {
                let totals = gil_totals(&totals, Some(thread), key.gil_id, now_ns);
                self.analysis
                    .apply(Event::GilTotals(thread.tid, key.gil_id, totals));
            }
        }
    }

    fn totals_keys(&self, thread: &Thread) -> impl Iterator<Item = TotalsKey> + use<> {
        let (started_ns, tid) = (thread.started_ns, thread.tid);
        (0..self.gils.len() as u32).map(move |gil_id| TotalsKey {
            started_ns,
            tid,
            gil_id,
        })
    }

    /// Takes the last figures of a thread that lives as tracing ends. The kernel must stand still.
    pub fn thread_lives_on(&mut self, probe: &mut Probe, mut thread: Thread, now_ns: u64) {
        // A wait whose last sleep is over is over, though nothing has proved it yet.
        if thread.wait.is_no_longer_seen() {
            let finished = thread.wait.finished;
            probe.add_to_totals(&thread, &finished);
            if finished.cut_at_start == 0 {
                self.interval(interval(&thread, &finished));
            }
        }
        if thread.lock.is_no_longer_seen() {
            self.lock(&locks::finished(&thread));
        }
        self.count(probe, &thread, now_ns);
        let facts = self.facts(thread.tid);
        self.analysis.apply(Event::ThreadFacts(thread.tid, facts));
    }

    /// One of its threads, which has a GIL, was on the CPU; in native code with its stack.
    pub fn on_cpu(&mut self, record: &OnCpuRecord, native: Option<&NativeRecord>) {
        if let Some(interpreter) = &self.interpreter {
            self.on_cpu.add(&self.process, interpreter, record, native);
        }
    }

    /// A thread's id inside the innermost PID namespace.
    fn ns_tid(&self, thread: &target::Thread) -> Option<u32> {
        if self.process.ns_pid == self.process.pid {
            Some(thread.tid)
        } else {
            thread.ns_tid().ok().flatten()
        }
    }

    fn facts(&self, tid: u32) -> ThreadFacts {
        let thread = self.process.thread(tid);
        let ns_tid = self.ns_tid(&thread);
        let Ok(stat) = thread.stat() else {
            return ThreadFacts {
                ns_tid,
                ..ThreadFacts::default()
            };
        };
        let before = self.at_start.get(&tid);
        let since = |now: u64, read: fn(&Stat) -> u64| now.saturating_sub(before.map_or(0, read));
        ThreadFacts {
            ns_tid,
            name: None,
            user_ns: Some(since(stat.user_ns, |stat| stat.user_ns)),
            system_ns: Some(since(stat.system_ns, |stat| stat.system_ns)),
            split: Some(tick_source()),
            os_name: Some(stat.comm),
        }
    }

    /// Its waits so far: count, sum and time contended.
    pub fn so_far(&self) -> (u64, u64, u64) {
        let recorded = self.analysis.recorded();
        (
            recorded.count,
            recorded.sum_ns,
            self.analysis.contended_ns(),
        )
    }

    /// Threads that live.
    pub fn live_threads(&self) -> usize {
        self.analysis.live_threads()
    }

    /// Whether the kernel has told of its end, and nothing more is to come.
    pub fn is_gone(&self) -> bool {
        let told = matches!(self.ended, Some((_, Some(_))));
        told && !self.process.is_alive()
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Gives back what the kernel holds for a process that has ended, and the files that its end makes needless.
    pub fn release(&mut self, probe: &mut Probe) {
        self.on_cpu.is_over();
        (self.interpreter, self.hooks, self.library, self.stacks) = (None, None, None, None);
        probe.unfollow(self.process.pid);
        for known in self.gils.iter().filter(|known| known.lives) {
            probe.unwatch(self.process.pid, known.info.id, &known.gil, self.source);
        }
    }

    /// Whether it has anything to do with a GIL: most children of a shell, and those of Python's
    /// `subprocess`, never do.
    pub fn is_of_interest(&self) -> bool {
        self.interpreter.is_some() || self.analysis.has_waits()
    }

    /// It has ended without a word from the kernel.
    pub fn check_alive(&mut self) {
        if self.ended.is_none() && !self.process.is_alive() {
            log::debug!("process {} is gone", self.process.pid);
            self.ended = Some((now_ns(), None));
        }
    }

    /// Its part of the report.
    pub fn finish(
        mut self,
        end_ns: u64,
        events_lost: u64,
        cpus: u32,
        has_clocks: bool,
    ) -> (ProcessReport, WaitLoss) {
        let ended = self.ended.map(|(at_ns, status)| ProcessEnd {
            at_ns: at_ns.saturating_sub(self.origin_ns),
            status,
        });
        let is_alive = self.ended.is_none();
        let interpreter = self.interpreter.as_ref().filter(|_| is_alive);
        // One that ends just now has no more to say.
        let dump = interpreter.and_then(|it| dump::take(&self.process, it).ok());
        self.look_at_collections(end_ns);
        let end_ns = self.ended.map_or(end_ns, |(at_ns, _)| at_ns);
        self.analysis.apply(Event::Look(Look {
            at_ns: end_ns,
            system_ns: None,
            events_lost,
        }));
        let findings = self.analysis.finish(end_ns);
        let observed_ns = end_ns.saturating_sub(self.from_ns);
        let is_semaphore = |known: &WatchedGil| matches!(known.gil.lock, GilLock::Semaphore { .. });
        let is_semaphore = self.gils.iter().any(is_semaphore);
        let gils = self.gils.iter().filter(|known| known.info.enabled);
        let (on_cpu_samples, native_at) = self.on_cpu.finish();
        let what_if = findings.what_if(observed_ns, gils.count(), cpus);
        let mut report = ProcessReport {
            pid: self.process.pid,
            ns_pid: self.process.ns_pid,
            exe: self.process.exe,
            cmdline: self.process.cmdline,
            container: None,
            observed_ns,
            ended,
            findings: Vec::new(),
            gils: self.gils.into_iter().map(|known| known.info).collect(),
            gils_not_traced: self.gils_not_traced as u64,
            gil_wait: findings.gil_wait,
            contended_ns: findings.contended_ns,
            threads: findings.threads,
            other_threads: findings.other_threads,
            blocked_by: findings.blocked_by,
            blocked_by_nobody_ns: findings.blocked_by_nobody_ns,
            blocked_by_unknown_ns: findings.blocked_by_unknown_ns,
            asleep_with_gil: findings.asleep_with_gil,
            waits_after: findings.waits_after,
            waited_at: findings.waited_at,
            waited_at_both_ns: findings.waited_at_both_ns,
            other_waited_at: findings.other_waited_at,
            gil_samples: GilSamples::default(),
            held_at: Vec::new(),
            on_cpu_samples: has_clocks.then_some(on_cpu_samples),
            native_at,
            collections: self.collections.finish(self.origin_ns),
            stacks: findings.stacks,
            locks: findings.locks,
            other_locks: findings.other_locks,
            lock_loss: findings.lock_loss,
            storms: findings.storms,
            other_storms: findings.other_storms,
            what_if,
        };
        analyse::judge(&mut report, &findings.samples, is_semaphore, dump.as_ref());
        (report, findings.loss)
    }
}

/// Begins to measure the waits for a GIL, if there is room for it.
fn watch(probe: &mut Probe, pid: u32, gil_id: u32, gil: &Gil, source: WaitSource) -> bool {
    let watched = probe.watch(pid, gil_id, gil, source);
    if let Err(error) = &watched {
        log::debug!("process {pid}: {error}");
        probe.unwatch(pid, gil_id, gil, source);
    }
    watched.is_ok()
}

/// The C library's function by which CPython locks a mutex. Before glibc 2.34 libc has a forwarder of
/// this name, and the function is in libpthread.
fn mutex_lock(process: &target::Process) -> Option<Symbol> {
    let modules = target::module::modules(process).ok()?;
    let defining = modules
        .filter_map(Result::ok)
        .filter_map(|module| module.symbol("pthread_mutex_lock"));
    defining.max_by_key(|function| function.size)
}

fn interval(thread: &Thread, finished: &Finished) -> Interval {
    Interval {
        pid: thread.tgid,
        tid: thread.tid,
        gil_id: finished.gil_id,
        kind: match finished.kind {
            kind::WAIT => IntervalKind::Wait,
            _ => IntervalKind::Yield,
        },
        start_ns: finished.start_ns,
        end_ns: finished.end_ns,
        after: call(finished.after),
    }
}

/// Threads by what the process calls them itself, where that is something else.
#[derive(Default)]
struct Tids(HashMap<u32, u32>);

impl Tids {
    /// A thread has begun, and may have an id that another had.
    fn began(&mut self, process: &target::Process, tid: u32) {
        if process.ns_pid != process.pid
            && let Ok(Some(ns_tid)) = process.thread(tid).ns_tid()
        {
            self.0.insert(ns_tid, tid);
        }
    }

    /// The thread of this process with this id in its PID namespace.
    fn of(&mut self, process: &target::Process, ns_tid: u32) -> Option<u32> {
        if process.ns_pid == process.pid {
            return Some(ns_tid);
        }
        if !self.0.contains_key(&ns_tid) {
            let threads = process.threads().ok()?;
            let known = threads
                .iter()
                .filter_map(|thread| Some((thread.ns_tid().ok()??, thread.tid)));
            self.0.extend(known);
        }
        self.0.get(&ns_tid).copied()
    }
}

/// A GIL that is, or was, measured.
struct WatchedGil {
    gil: Gil,
    /// What the report says of it.
    info: GilInfo,
    /// Its interpreter has not been destroyed, nor the program replaced, as far as is known.
    lives: bool,
}

impl WatchedGil {
    /// Whether it is this one, and not another's in the same place.
    fn is(&self, gil: &Gil) -> bool {
        self.lives && self.gil.address == gil.address && self.gil.owner == gil.owner
    }
}

/// Where its futex words are.
fn words_in(gil: &Gil) -> Range<u64> {
    match &gil.lock {
        // The mutex of the forced switch comes last (`struct _gil_runtime_state`); before 3.7 they are variables in any order.
        GilLock::Condvar(lock) => {
            let words = [lock.cond, lock.mutex, lock.switch_cond, lock.switch_mutex];
            let first = words.iter().copied().min().unwrap_or(0);
            let last = words.iter().copied().max().unwrap_or(0);
            first..last.saturating_add(48)
        }
        GilLock::Semaphore { .. } => gil.address..gil.address.saturating_add(1),
    }
}

/// What every GIL of an interpreter has in common.
struct Python {
    version: String,
    free_threaded: bool,
    found_by: FoundBy,
}

/// What its waits are measured by: a semaphore is its own futex word, on every C library.
fn source_of(gil: &Gil, wanted: WaitSource) -> WaitSource {
    match gil.lock {
        GilLock::Condvar(_) => wanted,
        GilLock::Semaphore { .. } => WaitSource::Futex,
    }
}

fn gil_info(id: u32, gil: &Gil, python: &Python, source: WaitSource) -> GilInfo {
    GilInfo {
        id,
        address: format!("{:#x}", gil.address),
        interpreters: gil.interpreters.clone(),
        python: python.version.clone(),
        free_threaded: python.free_threaded,
        enabled: gil.enabled,
        found_by: python.found_by,
        source,
        measured_from_ns: 0,
    }
}
