//! One look at a process: what each of its threads is doing, who has what they wait for, and whether they can go on. It reads memory and
//! `/proc`, and attaches nothing.

mod gils;
mod locks;
mod seen;

use self::{
    gils::Gils,
    locks::{Awaited, Locks},
    seen::Seen,
};
use super::{
    WatchError,
    clock::{now_ns, rfc_3339},
};
use crate::{
    analyse,
    interpreter::{Interpreter, ThreadState},
    model::{
        DUMP_SCHEMA, DUMP_SCHEMA_VERSION, Deadlock, Doing, Dump, DumpLock, DumpThread, Owner,
        Resource, system_call,
    },
    target::{Process, RunQueues, SystemCall},
};
use std::{
    collections::HashMap,
    thread,
    time::{Duration, SystemTime},
};

/// Threads whose names are read, as programs may make them hard to find.
const MAX_NAMES: usize = 4_096;
/// How often what may have changed meanwhile is looked at.
const ATTEMPTS: u32 = 3;
/// After so long, where somebody was not there who should be: he may just have begun, or have been woken and had no processor yet.
const SOON: Duration = Duration::from_millis(30);

/// Looks at a process.
///
/// # Errors
/// [`WatchError::Target`] or [`WatchError::Interpreter`] where it cannot be read.
pub fn take(process: &Process, interpreter: &Interpreter) -> Result<Dump, WatchError> {
    let (taken_at, began_ns) = (SystemTime::now(), now_ns());
    let mut look = Look::begin(process, interpreter)?;
    let mut dump = Dump {
        schema: DUMP_SCHEMA,
        schema_version: DUMP_SCHEMA_VERSION,
        gilscope_version: env!("CARGO_PKG_VERSION"),
        taken_at: rfc_3339(taken_at),
        took_ns: 0,
        pid: process.pid,
        ns_pid: process.ns_pid,
        exe: process.exe.clone(),
        cmdline: process.cmdline.clone(),
        python: interpreter.version.to_string(),
        free_threaded: interpreter.free_threaded,
        has_stacks: interpreter.frames().is_some(),
        ..Dump::default()
    };
    dump.threads = look.threads();
    dump.gils = look.gils.told(&look.tids);
    dump.locks = look.locks.told(&look.tids, &dump.threads);
    dump.deadlocks = look.deadlocks(&mut dump);
    look.confirm_gone(&mut dump)?;
    dump.took_ns = now_ns().saturating_sub(began_ns);
    process.check_same()?;
    Ok(dump)
}

/// What is read, and by what.
struct Look<'a> {
    process: &'a Process,
    interpreter: &'a Interpreter,
    seen: Vec<Seen>,
    tids: Tids,
    gils: Gils<'a>,
    locks: Locks<'a>,
    run_queues: RunQueues,
}

fn threads_of(process: &Process) -> Result<Vec<Seen>, WatchError> {
    let threads = process.threads()?.into_iter();
    Ok(threads.filter_map(Seen::of).collect())
}

/// The threads by what the target calls them.
struct Tids {
    by_ns_tid: HashMap<u32, u32>,
    states: HashMap<u32, Vec<ThreadState>>,
}

impl Tids {
    fn new(seen: &[Seen], states: Vec<ThreadState>) -> Tids {
        let ids = seen
            .iter()
            .filter_map(|one| Some((one.ns_tid?, one.thread.tid)));
        let by_ns_tid: HashMap<u32, u32> = ids.collect();
        let mut of: HashMap<u32, Vec<ThreadState>> = HashMap::new();
        for state in states {
            if let Some(tid) = by_ns_tid.get(&state.ns_tid) {
                of.entry(*tid).or_default().push(state);
            }
        }
        Tids {
            by_ns_tid,
            states: of,
        }
    }

    /// The states of a thread.
    fn states(&self, tid: u32) -> &[ThreadState] {
        self.states.get(&tid).map_or(&[], Vec::as_slice)
    }

    /// The thread that has such a state.
    fn with(&self, is: impl Fn(&ThreadState) -> bool) -> Option<u32> {
        let mut all = self.states.iter();
        all.find(|(_, states)| states.iter().any(&is))
            .map(|(tid, _)| *tid)
    }
}

impl<'a> Look<'a> {
    fn begin(process: &'a Process, interpreter: &'a Interpreter) -> Result<Look<'a>, WatchError> {
        let gils = Gils::find(process, interpreter)?;
        let mut seen = threads_of(process)?;
        seen.sort_by_key(|one| one.thread.tid);
        let tids = Tids::new(&seen, interpreter.thread_states(process.memory()));
        Ok(Look {
            process,
            interpreter,
            seen,
            tids,
            gils,
            locks: Locks::new(process, interpreter),
            run_queues: RunQueues::default(),
        })
    }

    fn threads(&mut self) -> Vec<DumpThread> {
        let mut stacks = self.interpreter.stacks(self.process.memory());
        let mut all = Vec::with_capacity(self.seen.len());
        for at in 0..self.seen.len() {
            let doing = self.doing(at);
            let asleep_ns = self.asleep_ns(at, doing);
            let seen = &self.seen[at];
            let states = self.tids.states(seen.thread.tid).iter();
            let names = at < MAX_NAMES;
            let memory = self.process.memory();
            let name = || (states.clone()).find_map(|it| self.interpreter.thread_name(memory, it));
            let stacks = stacks.iter_mut();
            let read = stacks.flat_map(|stacks| states.clone().map(|state| stacks.read(state)));
            all.push(DumpThread {
                tid: seen.thread.tid,
                ns_tid: seen.ns_tid,
                name: names.then(name).flatten(),
                os_name: seen.os_name.clone(),
                state: seen.state,
                doing,
                asleep_ns,
                stacks: read
                    .filter(|stack| !stack.frames.is_empty() || stack.unreadable > 0)
                    .collect(),
            });
        }
        all
    }

    /// What a thread is doing. What it sleeps for is told by its stack, and is believed if it has slept until that was read; else it is looked
    /// at again.
    fn doing(&mut self, at: usize) -> Doing {
        for _ in 0..ATTEMPTS {
            let seen = &self.seen[at];
            if let Some(gil_id) = self.gils.awaited(seen) {
                return Doing::WaitsForGil { gil_id };
            }
            if let Some(call) = seen.call {
                let states = self.tids.states(seen.thread.tid);
                let lock = self.locks.awaited(&call, states);
                if seen.sleeps_still() {
                    return self.asleep(&call, lock);
                }
            }
            if let Some(now) = Seen::of(seen.thread) {
                self.seen[at] = now;
            }
        }
        match (self.seen[at].call, self.seen[at].state) {
            (Some(_), _) | (None, 'R') => Doing::Running,
            (None, 'T' | 't') => Doing::Stopped,
            (None, _) => Doing::Unknown,
        }
    }

    fn asleep(&mut self, call: &SystemCall, lock: Option<Awaited>) -> Doing {
        match lock {
            Some(lock) => Doing::WaitsForLock {
                lock_id: self.locks.number(lock),
                timed: call.arguments[3] != 0,
            },
            None => Doing::SystemCall {
                number: call.number,
                name: system_call(call.number),
            },
        }
    }

    /// For how long a thread has slept in what it does. Who waits for a GIL wakes up again and again to ask for it.
    fn asleep_ns(&mut self, at: usize, doing: Doing) -> Option<u64> {
        match doing {
            Doing::WaitsForLock { .. } | Doing::SystemCall { .. } => {
                self.run_queues.asleep_ns(&self.seen[at].thread)
            }
            _ => None,
        }
    }

    /// The circles of waiting threads that are there at one moment: when it was read who has what.
    fn deadlocks(&mut self, dump: &mut Dump) -> Vec<Deadlock> {
        let mut circles = analyse::circles(dump);
        for _ in 0..ATTEMPTS {
            if circles.is_empty() {
                break;
            }
            self.look_again(dump, &circles);
            circles = analyse::circles(dump);
            if circles.iter().all(|circle| self.is_still(dump, circle)) {
                return circles;
            }
        }
        circles.retain(|circle| self.is_still(dump, circle));
        circles
    }

    /// Who has a lock and is no thread of the process is believed to be gone if that is so each time, among the threads that there are by then, and
    /// those that wait have slept on. Else it is not known.
    fn confirm_gone(&mut self, dump: &mut Dump) -> Result<(), WatchError> {
        for _ in 0..ATTEMPTS {
            let is_gone = |lock: &DumpLock| !matches!(lock.owner, None | Some(Owner::Thread(_)));
            if !dump.locks.iter().any(is_gone) {
                break;
            }
            thread::sleep(SOON);
            let states = self.interpreter.thread_states(self.process.memory());
            self.tids = Tids::new(&threads_of(self.process)?, states);
            let now = self.locks.told(&self.tids, &dump.threads);
            for (lock, now) in dump.locks.iter_mut().zip(now) {
                if is_gone(lock) {
                    let seen = dump.threads.iter().zip(&self.seen);
                    let mut waits = seen.filter(|(thread, _)| thread.doing.waits_for(lock.id));
                    let sleep_on = waits.all(|(_, seen)| seen.sleeps_still());
                    lock.owner = now.owner.filter(|_| sleep_on);
                }
            }
        }
        Ok(())
    }

    /// Looks again at the threads of these circles, and then at who has what. Those that wait for a GIL come last: they wake up all the time
    /// to ask for it, but while the one that has it sleeps, they cannot go on.
    fn look_again(&mut self, dump: &mut Dump, circles: &[Deadlock]) {
        let is_in = |tid| circles.iter().any(|circle| circle.threads.contains(&tid));
        let mut order: Vec<usize> = (0..dump.threads.len()).collect();
        order.retain(|at| is_in(dump.threads[*at].tid));
        order.sort_by_key(|at| matches!(dump.threads[*at].doing, Doing::WaitsForGil { .. }));
        for at in order {
            if let Some(now) = Seen::of(self.seen[at].thread) {
                self.seen[at] = now;
            }
            let doing = self.doing(at);
            dump.threads[at].doing = doing;
            dump.threads[at].asleep_ns = self.asleep_ns(at, doing);
        }
        dump.gils = self.gils.told(&self.tids);
        dump.locks = self.locks.told(&self.tids, &dump.threads);
    }

    /// Whether none of a circle's threads has gone on since it was looked at: those that wait for a lock have slept all the time, and so has who
    /// has a GIL that another waits for.
    fn is_still(&self, dump: &Dump, circle: &Deadlock) -> bool {
        let wants = |tid: &u32| {
            let at = dump.threads.iter().position(|thread| thread.tid == *tid)?;
            Some((&self.seen[at], dump.wants(&dump.threads[at])?))
        };
        let all: Vec<_> = circle.threads.iter().map(wants).collect();
        let awaits_gil = |one: &Option<(&Seen, Resource)>| match one {
            Some((seen, Resource::Gil(id))) => {
                let now = Seen::of(seen.thread);
                now.is_some_and(|now| self.gils.awaited(&now) == Some(*id))
            }
            _ => true,
        };
        let sleeps = |one: &Option<(&Seen, Resource)>| match one {
            Some((seen, Resource::Lock(_))) => seen.sleeps_still(),
            Some((_, Resource::Gil(_))) => true,
            None => false,
        };
        // Who has a GIL waits for none.
        let is_gil = |at: usize| matches!(all[at % all.len()], Some((_, Resource::Gil(_))));
        let is_possible = (0..all.len()).all(|at| !(is_gil(at) && is_gil(at + 1)));
        is_possible && all.iter().all(awaits_gil) && all.iter().all(sleeps)
    }
}
