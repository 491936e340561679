#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::model::{Deadlock, DumpGil};

fn thread(tid: u32, doing: Doing, name: &str) -> DumpThread {
    DumpThread {
        tid,
        ns_tid: None,
        name: None,
        os_name: "python3".to_owned(),
        state: 'S',
        doing,
        asleep_ns: None,
        stacks: vec![Stack {
            interpreter: 0,
            frames: vec![Frame {
                name: name.to_owned(),
                qualified_name: None,
                file: "/srv/a\u{1b}.py".to_owned(),
                line: Some(12),
            }],
            truncated: false,
            unreadable: 0,
            consistent: true,
        }],
    }
}

fn lock(id: u32, owner: Option<Owner>) -> DumpLock {
    DumpLock {
        id,
        address: format!("0x{id}0"),
        kind: LockKind::Semaphore,
        rlock: owner.is_some(),
        owner,
        inferred_owners: Vec::new(),
    }
}

fn dump() -> Dump {
    let waits = |lock_id| Doing::WaitsForLock {
        lock_id,
        timed: false,
    };
    let mut computes = thread(4, Doing::Running, "run");
    let stack = &mut computes.stacks[0];
    (stack.consistent, stack.truncated, stack.unreadable) = (false, true, 1);
    (stack.interpreter, stack.frames[0].line) = (3, None);
    stack.frames[0].qualified_name = Some("Work.run".to_owned());
    Dump {
        pid: 1,
        cmdline: vec!["python3".to_owned(), "service.py".to_owned()],
        python: "3.11.7".to_owned(),
        has_stacks: true,
        took_ns: 3_200_000,
        gils: vec![DumpGil {
            id: 0,
            address: String::new(),
            interpreters: vec![0],
            enabled: true,
            holder: Some(4),
        }],
        threads: vec![
            thread(1, waits(0), "serve"),
            thread(2, waits(1), "log"),
            thread(3, waits(2), "stuck"),
            computes,
        ],
        locks: vec![
            lock(0, Some(Owner::Thread(2))),
            lock(1, Some(Owner::Thread(1))),
            lock(2, Some(Owner::LeftBehindByFork)),
        ],
        deadlocks: vec![Deadlock {
            threads: vec![1, 2],
            inferred: false,
        }],
        ..Dump::default()
    }
}

fn text(dump: &Dump) -> String {
    let mut out = Vec::new();
    write(&mut out, dump, Style::default()).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn deadlocks_come_first_and_then_each_thread() {
    let expected = "\
Process 1: python3 service.py
CPython 3.11.7, 4 threads, looked at for 3.20 ms while it went on.
GIL 0 is held by thread 4.
DEADLOCK: 2 threads wait for each other, and none can go on.
  1 python3 waits for an RLock (0x00), which thread 2 has
  2 python3 waits for an RLock (0x10), which thread 1 has
STUCK: an RLock (0x20) was inherited through fork, locked by a thread that stayed behind in the parent: nobody will unlock it.
  3 python3 waits for it

1 python3 waits for an RLock (0x00), which thread 2 has
    serve (/srv/a�.py:12)

2 python3 waits for an RLock (0x10), which thread 1 has
    log (/srv/a�.py:12)

3 python3 waits for an RLock (0x20), which was left behind by fork
    stuck (/srv/a�.py:12)

4 python3 runs and has the GIL
  in interpreter 3:
    Work.run (/srv/a�.py:?)
    (and more)
    (1 frame could not be read)
    (it ran meanwhile: these may be of different moments)
";
    assert_eq!(text(&dump()), expected);
}

#[test]
fn what_a_thread_is_doing() {
    let all = dump();
    let cases = [
        (
            Doing::WaitsForGil { gil_id: 0 },
            "waits for the GIL, which thread 4 has",
        ),
        (
            Doing::WaitsForLock {
                lock_id: 9,
                timed: true,
            },
            "waits for a lock",
        ),
        (
            Doing::SystemCall {
                number: 7,
                name: Some("poll"),
            },
            "is in poll",
        ),
        (
            Doing::SystemCall {
                number: 999,
                name: None,
            },
            "is in system call 999",
        ),
        (Doing::Stopped, "is stopped"),
        (Doing::Unknown, "does what the kernel does not tell"),
    ];
    for (what, told) in cases {
        assert_eq!(doing(&all, &thread(9, what, "f")), told);
    }
}

#[test]
fn what_is_inferred_is_said() {
    let mut all = dump();
    all.locks[1] = DumpLock {
        inferred_owners: vec![1],
        ..lock(1, None)
    };
    all.locks[2] = DumpLock {
        inferred_owners: vec![1, 4],
        ..lock(2, None)
    };
    all.deadlocks[0].inferred = true;
    all.threads[2].asleep_ns = Some(1_500_000_000);
    let text = text(&all);
    for told in [
        "DEADLOCK (inferred: a plain Lock does not record who has it): 2 threads wait for each other, and none can go on.\n",
        "2 python3 waits for a semaphore (0x10), which thread 1 seems to have (it is inside a with on it)\n",
        "3 python3 waits for a semaphore (0x20), which one of threads 1, 4 seems to have (they are inside a with on it), for 1.50 s so far\n",
    ] {
        assert!(text.contains(told), "{text}");
    }
}
