//! The records that cross the ring buffer. Each begins with its [`Header`].

use crate::{lock::LockPlace, maps::Thread};

/// Values of [`Header::kind`].
pub mod kind {
    /// An [`super::IntervalRecord`]: a wait.
    pub const WAIT: u32 = 1;
    /// An [`super::IntervalRecord`]: a forced switch.
    pub const YIELD: u32 = 2;
    /// A [`super::Header`] alone: a thread has begun.
    pub const THREAD_START: u32 = 3;
    /// A [`super::ThreadEndRecord`].
    pub const THREAD_END: u32 = 4;
    /// A [`super::Header`] alone: the process replaced its program.
    pub const EXEC: u32 = 5;
    /// A [`super::ForkRecord`].
    pub const FORK: u32 = 6;
    /// A [`super::LockRecord`].
    pub const LOCK: u32 = 7;
    /// A [`crate::frames::Stack`].
    pub const STACK: u32 = 8;
    /// An [`super::OnCpuRecord`].
    pub const ON_CPU: u32 = 9;
    /// A [`super::NativeRecord`].
    pub const NATIVE: u32 = 10;
}

/// How every record begins.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// One of [`kind`].
    pub kind: u32,
    /// The process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// The GIL's index in its process, where there is one.
    pub gil_id: u32,
    /// When; an interval's beginning.
    pub at_ns: u64,
}

/// A finished wait or forced switch.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntervalRecord {
    /// [`Header::at_ns`] is the first sleep's entry.
    pub header: Header,
    /// The last sleep's exit.
    pub end_ns: u64,
    /// What the thread came back from before it, as [`crate::parts::call`] says.
    pub after: u32,
    /// Explicit padding.
    pub padding: u32,
}

/// A thread has ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadEndRecord {
    /// Whose, and when.
    pub header: Header,
    /// What the kernel knew of it.
    pub thread: Thread,
    /// Its name, NUL-padded.
    pub comm: [u8; 16],
    /// `task_struct.exit_code`: as `wait` tells it.
    pub exit_code: i32,
    /// Explicit padding.
    pub padding: u32,
}

/// A target has forked a process that is followed too.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForkRecord {
    /// The parent; its thread that forked.
    pub header: Header,
    /// The child.
    pub child: u32,
    /// Explicit padding.
    pub padding: u32,
}

/// A finished wait for a lock that is no GIL.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockRecord {
    /// [`Header::at_ns`] is the first sleep's entry.
    pub header: Header,
    /// Which lock.
    pub place: LockPlace,
    /// Time asleep in it.
    pub slept_ns: u64,
    /// Not 0: it was under way when tracing began.
    pub cut_at_start: u32,
    /// Explicit padding.
    pub padding: u32,
}

/// A thread that has a GIL was on the CPU as a clock ticked.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnCpuRecord {
    /// Whose, and when.
    pub header: Header,
    /// The address of its next instruction, or of that behind the system call that it was in.
    pub instruction: u64,
}

/// How much of a thread's native stack is told, in bytes.
pub const NATIVE_STACK: usize = 8192;

/// The same in a function that is not in the interpreter's file, with what tells who called it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeRecord {
    /// Whose, when and where.
    pub on_cpu: OnCpuRecord,
    /// Its stack pointer, where [`NativeRecord::stack`] begins.
    pub sp: u64,
    /// Its `rbp`.
    pub bp: u64,
    /// How much of the stack could be read, in bytes. What is behind it means nothing.
    pub length: u32,
    /// Explicit padding.
    pub padding: u32,
    /// The stack.
    pub stack: [u8; NATIVE_STACK],
}

const _: () = {
    assert!(size_of::<OnCpuRecord>() == 32);
    assert!(size_of::<NativeRecord>() == 56 + NATIVE_STACK);
    assert!(size_of::<Header>() == 24);
    assert!(size_of::<IntervalRecord>() == 40);
    assert!(size_of::<LockRecord>() == 72);
    assert!(size_of::<ThreadEndRecord>() == 880);
    assert!(size_of::<ForkRecord>() == 32);
};
