//! Threads that wait for each other in a circle.

use crate::model::{Deadlock, Dump, DumpThread};
use std::collections::{HashMap, HashSet};

/// Every circle of threads, each of which waits for what the next one has. It may be made of different moments: who asks has to find out
/// whether it is still there.
pub fn circles(dump: &Dump) -> Vec<Deadlock> {
    let awaited = |thread| dump.holder(dump.wants(thread)?);
    let threads = dump.threads.iter();
    let next: HashMap<u32, u32> = threads
        .filter_map(|thread| Some((thread.tid, awaited(thread)?)))
        .collect();
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    for thread in &dump.threads {
        let mut path = Vec::new();
        let mut at = Some(thread.tid);
        // Who waits, waits for one thing, so each way leads into one circle at most.
        while let Some(tid) = at.filter(|tid| seen.insert(*tid)) {
            path.push(tid);
            at = next.get(&tid).copied();
        }
        let begin = path.iter().position(|tid| Some(*tid) == at);
        if let Some(begin) = begin {
            let threads = path.split_off(begin);
            let is_in = |thread: &&DumpThread| threads.contains(&thread.tid);
            let wanted = |thread| dump.wants(thread);
            let mut wanted = dump.threads.iter().filter(is_in).filter_map(wanted);
            let inferred = wanted.any(|resource| dump.is_inferred(resource));
            found.push(Deadlock { threads, inferred });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Doing, DumpLock, LockKind, Owner};

    /// Of each thread, by its id from 0 on, whom it waits for.
    fn dump(waits_for: &[Option<u32>]) -> Dump {
        let tids = 0..;
        let threads = tids.zip(waits_for).map(|(tid, awaited)| DumpThread {
            tid,
            ns_tid: None,
            name: None,
            os_name: String::new(),
            state: 'S',
            doing: match awaited {
                Some(_) => Doing::WaitsForLock {
                    lock_id: tid,
                    timed: false,
                },
                None => Doing::Running,
            },
            asleep_ns: None,
            stacks: Vec::new(),
        });
        let locks = waits_for.iter().map(|awaited| DumpLock {
            id: 0,
            address: String::new(),
            kind: LockKind::Mutex,
            rlock: false,
            owner: awaited.map(Owner::Thread),
            inferred_owners: Vec::new(),
        });
        let locks = locks.collect();
        Dump {
            threads: threads.collect(),
            locks,
            ..Dump::default()
        }
    }

    #[test]
    fn circles_of_any_length() {
        let circles = |waits_for: &[Option<u32>]| {
            let found = circles(&dump(waits_for)).into_iter();
            found.map(|one| one.threads).collect::<Vec<_>>()
        };
        let none: [Vec<u32>; 0] = [];
        assert_eq!(circles(&[]), none);
        assert_eq!(circles(&[Some(1), Some(2), None]), none);
        assert_eq!(circles(&[Some(0)]), [[0]]);
        assert_eq!(circles(&[Some(1), Some(0)]), [[0, 1]]);
        // Who waits for one of a circle is none of it.
        let with_others = [Some(1), Some(2), Some(3), Some(1), Some(0)];
        assert_eq!(circles(&with_others), [[1, 2, 3]]);
        let two = [Some(2), Some(3), Some(0), Some(1)];
        assert_eq!(circles(&two), [[0, 2], [1, 3]]);
    }

    #[test]
    fn who_waits_for_a_time_only_is_in_no_deadlock() {
        let mut dump = dump(&[Some(1), Some(0)]);
        dump.threads[1].doing = Doing::WaitsForLock {
            lock_id: 1,
            timed: true,
        };
        assert_eq!(circles(&dump), []);
    }

    #[test]
    fn who_has_it_may_be_inferred() {
        let mut dump = dump(&[Some(1), Some(0)]);
        assert!(!circles(&dump)[0].inferred);
        dump.locks[0].owner = None;
        assert_eq!(circles(&dump), []);
        dump.locks[0].inferred_owners = vec![1];
        let expected = Deadlock {
            threads: vec![0, 1],
            inferred: true,
        };
        assert_eq!(circles(&dump), [expected]);
        // One of two: it may be the other.
        dump.locks[0].inferred_owners = vec![1, 2];
        assert_eq!(circles(&dump), []);
    }

    #[test]
    fn nobody_is_waited_for_who_is_not_there() {
        let mut dump = dump(&[Some(1), Some(0)]);
        dump.locks[1].owner = Some(Owner::LeftBehindByFork);
        assert_eq!(circles(&dump), []);
    }
}
