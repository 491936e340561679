//! Functions of the standard library, by which the purpose of a wait is told.

/// Functions of the standard library in which a thread that waits has nothing to do: the file, from the library's folder on, and the
/// name. In the first, `Condition.wait`, that depends on who called it.
pub const IDLE: [(&str, &str); 7] = [
    ("threading.py", "wait"),
    ("threading.py", "join"),
    // 3.4 – 3.12: `Thread.join` waits in it.
    ("threading.py", "_wait_for_tstate_lock"),
    // At the program's end, for the threads.
    ("threading.py", "_shutdown"),
    // These call `queue.SimpleQueue.get`, which is written in C.
    ("concurrent/futures/thread.py", "_worker"),
    ("multiprocessing/pool.py", "_handle_tasks"),
    ("queue.py", "get"),
];

/// Functions that call `Condition.wait` because others have what they want: `Semaphore.acquire`; `Queue.put`, for room.
pub const CONTENDING: [(&str, &str); 2] = [("threading.py", "acquire"), ("queue.py", "put")];
