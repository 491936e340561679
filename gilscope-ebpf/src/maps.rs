//! The maps, and the constants that user space sets before the programs are loaded.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
};
use gilscope_common::{
    history::{Checkpoint, CheckpointKey},
    holder::{Blocked, BlockedKey, SleepKey, Sleeps, Turns},
    maps::{
        CallerKey, Counters, GilKey, StackKey, StackTime, Target, Thread, TidKey, Totals,
        TotalsKey, WordInfo, WordKey,
    },
};

/// Processes that are traced. The sizes of these maps are user space's to raise.
#[map]
pub static TARGETS: HashMap<u32, Target> = HashMap::with_max_entries(1024, 0);

/// Futex words of their GILs.
#[map]
pub static WORDS: HashMap<WordKey, WordInfo> = HashMap::with_max_entries(1024, 0);

/// Where functions of their C libraries that wait are returned into: one of [`gilscope_common::lock::kind`].
#[map]
pub static CALLERS: HashMap<CallerKey, u32> = HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// Their threads.
#[map]
pub static THREADS: HashMap<u32, Thread> = HashMap::with_max_entries(16384, 0);

/// Their threads' ids, by those in their PID namespaces.
#[map]
pub static TIDS: HashMap<TidKey, u32> = HashMap::with_max_entries(16384, BPF_F_NO_PREALLOC);

/// What was counted of each thread and GIL.
#[map]
pub static TOTALS: HashMap<TotalsKey, Totals> = HashMap::with_max_entries(16384, 0);

/// Who had their GILs last. User space makes the entries.
#[map]
pub static TURNS: HashMap<GilKey, Turns> = HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// What each thread had had of a semaphore by a turn of it. User space makes the entries.
#[map]
pub static HISTORY: HashMap<CheckpointKey, Checkpoint> =
    HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// Who had a GIL while a thread waited for it.
#[map]
pub static BLOCKED: HashMap<BlockedKey, Blocked> = HashMap::with_max_entries(16384, 0);

/// Who slept with a GIL held, while another waited for it.
#[map]
pub static SLEEPS: HashMap<SleepKey, Sleeps> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// Stacks that user space has been told.
#[map]
pub static STACKS: LruHashMap<u64, u8> = LruHashMap::with_max_entries(16384, 0);

/// How long which stack waited for which.
#[map]
pub static STACK_TIMES: HashMap<StackKey, StackTime> = HashMap::with_max_entries(16384, 0);

/// What could not be reported.
#[map]
pub static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// Empty: see [`crate::condvar`].
#[map]
pub static NOWHERE: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The way out.
#[map]
pub static RECORDS: RingBuf = RingBuf::with_byte_size(2 << 20, 0);

/// Not 0 once tracing is over. Detaching takes many milliseconds, program by program: this makes all
/// figures end at one moment.
#[unsafe(no_mangle)]
static mut STOPPED: u32 = 0;

/// Whether tracing is over.
#[inline(always)]
pub fn stopped() -> bool {
    // SAFETY: an aligned word that user space writes once; volatile, because nothing here writes it.
    unsafe { (&raw const STOPPED).read_volatile() != 0 }
}

/// Byte offset of `task_struct.pid` (a thread's id), from the kernel's BTF.
#[unsafe(no_mangle)]
static TASK_PID_OFFSET: u32 = 0;

/// Byte offset of `task_struct.state` before 5.18, where `sched_switch` has no argument for it;
/// 0 where it has.
#[unsafe(no_mangle)]
static TASK_STATE_OFFSET: u32 = 0;

/// Byte offset of `task_struct.exit_code`.
#[unsafe(no_mangle)]
static TASK_EXIT_CODE_OFFSET: u32 = 0;

/// Byte offset of `task_struct.thread.fsbase`; 0 where it is not known.
#[unsafe(no_mangle)]
static TASK_FS_BASE_OFFSET: u32 = 0;

/// Not 0 where the kernel has `bpf_task_pt_regs` (5.15).
#[unsafe(no_mangle)]
static HAS_TASK_REGISTERS: u32 = 0;

/// 0.
#[unsafe(no_mangle)]
static NEVER: u32 = 0;

/// Not 0 where Python stacks are wanted and the verifier can be asked to go through a walk of Python's frames (5.15).
#[unsafe(no_mangle)]
static READS_STACKS: u32 = 0;

/// Reads a constant that user space may have overridden.
#[inline(always)]
fn constant(value: &'static u32) -> usize {
    // SAFETY: a reference to a static is valid; volatile keeps the compiler from folding in the
    // value that user space replaces.
    unsafe { core::ptr::read_volatile(value) as usize }
}

/// Offset of a task's thread id.
#[inline(always)]
pub fn task_pid_offset() -> usize {
    constant(&TASK_PID_OFFSET)
}

/// Offset of a task's state; 0 where the tracepoint tells it.
#[inline(always)]
pub fn task_state_offset() -> usize {
    constant(&TASK_STATE_OFFSET)
}

/// Offset of a task's exit code.
#[inline(always)]
pub fn task_exit_code_offset() -> usize {
    constant(&TASK_EXIT_CODE_OFFSET)
}

/// Offset of the base of a task's FS segment.
#[inline(always)]
pub fn task_fs_base_offset() -> usize {
    constant(&TASK_FS_BASE_OFFSET)
}

/// Whether a task's registers can be had.
#[inline(always)]
pub fn has_task_registers() -> bool {
    constant(&HAS_TASK_REGISTERS) != 0
}

/// Never, which the compiler does not know.
#[inline(always)]
pub fn never() -> bool {
    constant(&NEVER) != 0
}

/// Whether Python stacks are read.
#[inline(always)]
pub fn reads_stacks() -> bool {
    constant(&READS_STACKS) != 0
}
