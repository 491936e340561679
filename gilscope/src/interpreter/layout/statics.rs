//! 2.7 – 3.6: the GIL is in variables of its own.

use crate::interpreter::Version;

/// `Python/ceval_gil.h`, the same from 3.2 to 3.6: all are `static`, so only an unstripped file names them. Checked live
/// on 3.6.15.
pub const GIL_VARIABLES: [&str; 8] = [
    "gil_interval",
    "gil_last_holder",
    "gil_locked",
    "gil_switch_number",
    "gil_cond",
    "gil_mutex",
    "switch_cond",
    "switch_mutex",
];

/// The sizes of these, in bytes: those of `unsigned long`, pointer and `int`, and of `pthread_cond_t` and
/// `pthread_mutex_t` in glibc and musl.
pub const GIL_VARIABLE_SIZES: [u64; 8] = [8, 8, 4, 8, 48, 40, 48, 40];

/// Exported functions of `Python/ceval.c`, 3.2 – 3.6. This one reads `gil_locked` and nothing else.
pub const READS_LOCKED: &str = "PyEval_ThreadsInitialized";
/// Reads `gil_interval` and nothing else.
pub const READS_INTERVAL: &str = "_PyEval_GetSwitchInterval";
/// Does little more than `take_gil`.
pub const TAKES_GIL: &str = "PyEval_AcquireLock";
/// Does little more than `drop_gil`.
pub const DROPS_GIL: &str = "PyEval_ReleaseLock";

/// What `Python/condvar.h`, 3.3 – 3.6 (`Python/ceval_gil.h`, 3.2), waits by, for an unlimited time.
pub const WAIT: &str = "pthread_cond_wait";
/// For a limited time.
pub const TIMED_WAIT: &str = "pthread_cond_timedwait";
/// What it wakes by.
pub const SIGNAL: &str = "pthread_cond_signal";
/// What it locks by.
pub const LOCK: &str = "pthread_mutex_lock";
/// What these end in on an error; the second is the compiler's (`-fstack-protector-strong`, as RHEL builds).
pub const NEVER_RETURN: [&str; 2] = ["Py_FatalError", "__stack_chk_fail"];

/// `Python/pystate.c`, 2.7 – 3.6: the thread state of the GIL's holder. Exported.
pub const CURRENT_THREAD: &str = "_PyThreadState_Current";

/// `Python/ceval.c`, 2.7: the bytecode instructions until the GIL's holder lets others have it, and from which number they are counted down. It is set to that before
/// the GIL is released for it, and for nothing else. Exported.
pub const TICKER: &str = "_Py_Ticker";
/// See [`TICKER`].
pub const CHECK_INTERVAL: &str = "_Py_CheckInterval";

/// `Python/pystate.c`, 2.7 – 3.6: exported, and does nothing but load `static PyInterpreterState *interp_head`, the newest interpreter.
/// Checked on 2.7.18 and 3.6.15 as built by pyenv, and on Debian's 2.7.18.
pub const INTERPRETERS_USER: &str = "PyInterpreterState_Head";

/// `Python/ceval.c`, 2.7: `static PyThread_type_lock interpreter_lock`, a pointer to a `sem_t`
/// (`Python/thread_pthread.h`). Checked live on 2.7.18.
pub const SEMAPHORE_POINTER: &str = "interpreter_lock";

/// Exported functions that do nothing but hand it to another, so the first thing that they load is it
/// (`Python/ceval.c`, 2.7). Checked on 2.7.18 as built by pyenv and by Debian (link-time optimised).
pub const SEMAPHORE_USERS: [&str; 2] = ["PyEval_AcquireLock", "PyEval_ReleaseLock"];

/// Whether the GIL of this version, which has no `_PyRuntime`, is a semaphore. 3.2 replaced it.
pub fn is_semaphore(version: Version) -> bool {
    version < Version::of(3, 2)
}
