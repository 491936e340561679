//! From a thread state to the Python functions that the thread runs, and to their names: offsets in bytes.

use super::super::version::Version;

/// Where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLayout {
    /// Interpreter → pointer to its newest thread state.
    pub threads: u64,
    /// Thread state → pointer to the next older one.
    pub next_thread: u64,
    /// Thread state → `thread_id` (the thread's `pthread_t`).
    pub thread_id: u32,
    /// Behind it is the thread's id in its PID namespace (3.11+).
    pub has_native_id: bool,
    /// Thread state → `state`, by whose address a thread waits for the end of a stop-the-world pause (`Python/pystate.c`:
    /// `tstate_wait_attach`); `None` where there are none, or it is not known.
    pub state: Option<u32>,
    /// Interpreter → pointer to the thread state that asked for such a pause.
    pub requester: u32,
    /// `_PyRuntime` → the same, for a pause of all interpreters.
    pub runtime_requester: u64,
    /// Thread state → pointer to its interpreter.
    pub interpreter: u32,
    /// Thread state → pointer to the innermost frame, or to the C frame.
    pub frame: u32,
    /// C frame → pointer to the innermost frame, where there is one.
    pub cframe_frame: Option<u32>,
    /// Frame → pointer to the caller's.
    pub previous: u32,
    /// Frame → pointer to its code object, the lowest two bits of which may be marks.
    pub code: u32,
    /// Code object → `co_filename`.
    pub file: u64,
    /// Code object → `co_name`.
    pub name: u64,
    /// Any object → its type.
    pub object_type: u64,
    /// `str` → its length in characters.
    pub length: u64,
    /// `str` → its characters, where all are ASCII.
    pub text: u64,
}

/// Versions, and their layout: `(minor, threads, thread_id, frame, cframe_frame, previous, code, file, name, text)`. Measured
/// (3.6.15, 3.7.16, 3.8.18, 3.9, 3.10.13, 3.11.7, 3.12.1, 3.13.0, 3.14.10, 3.15.2, and 3.13.5 free-threaded; x86-64).
type Known = (u8, u64, u32, u32, Option<u32>, u32, u32, u64, u64, u64);

const KNOWN: [Known; 10] = [
    (6, 8, 152, 24, None, 24, 32, 96, 104, 48),
    (7, 8, 176, 24, None, 24, 32, 96, 104, 48),
    (8, 8, 176, 24, None, 24, 32, 104, 112, 48),
    (9, 8, 176, 24, None, 24, 32, 104, 112, 48),
    (10, 8, 176, 24, None, 24, 32, 104, 112, 48),
    (11, 16, 152, 56, Some(8), 48, 32, 112, 120, 48),
    (12, 72, 136, 56, Some(0), 8, 0, 112, 120, 40),
    (13, 7344, 152, 72, None, 8, 0, 112, 120, 40),
    (14, 7344, 152, 72, None, 8, 0, 112, 120, 40),
    (15, 7336, 176, 72, None, 8, 0, 112, 120, 40),
];

/// What a free-threaded build puts before an object's type, and so before all that follows (`Include/object.h`).
const FREE_THREADED_HEAD: u64 = 16;

/// The layout of a version; `None` where it is not known.
pub fn frames(version: Version, free_threaded: bool) -> Option<FrameLayout> {
    let head = if free_threaded { FREE_THREADED_HEAD } else { 0 };
    let known = KNOWN
        .iter()
        .find(|known| version.major == 3 && known.0 == version.minor)?;
    let (minor, threads, thread_id, frame, cframe_frame, previous, code, file, name, text) = *known;
    Some(FrameLayout {
        threads,
        next_thread: 8,
        has_native_id: minor >= 11,
        // Measured on 3.13.5t.
        state: (free_threaded && minor == 13).then_some(40),
        requester: 10760,
        runtime_requester: 10352,
        interpreter: 16,
        thread_id,
        frame,
        cframe_frame,
        previous,
        code,
        file: file + head,
        name: name + head,
        object_type: 8 + head,
        length: 16 + head,
        text: text + head,
    })
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_supported_3_and_no_other() {
        for minor in 0..=u8::MAX {
            let known = frames(Version::of(3, minor), false).is_some();
            assert_eq!(known, (6..=15).contains(&minor), "3.{minor}");
        }
        assert_eq!(frames(Version::of(2, 7), false), None);
    }
}
