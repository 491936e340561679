//! Bytes of the ring buffer to values. Pure: no I/O, no clock.

use crate::model::{Call, ExitStatus, GilTotals, Interval, IntervalKind, ThreadTotals};
use aya::Pod;
use gilscope_common::{
    frames::Stack,
    maps::{Thread, Totals},
    parts::call as codes,
    records::{
        ForkRecord, Header, IntervalRecord, LockRecord, NativeRecord, OnCpuRecord, ThreadEndRecord,
        kind,
    },
    sched::state,
};

/// One record of the kernel's.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A wait or forced switch has finished.
    Interval(Interval),
    /// A wait for another lock has finished.
    Lock(LockRecord),
    /// A thread has begun: process, thread, when.
    ThreadStart(u32, u32, u64),
    /// A thread has ended.
    ThreadEnd(Box<EndedThread>),
    /// A process replaced its program: process, when.
    Exec(u32, u64),
    /// A Python stack has been read.
    Stack(Box<Stack>),
    /// A thread that has a GIL was on the CPU.
    OnCpu(OnCpuRecord),
    /// The same, in native code.
    Native(Box<NativeRecord>),
    /// A process forked one that is followed too: parent, child, when.
    Fork(u32, u32, u64),
}

/// What the kernel knew of a thread as it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct EndedThread {
    /// Its last figures.
    pub thread: Thread,
    /// Its name.
    pub os_name: Option<String>,
    /// How it ended, if that is known; the process's end, when this is its last thread.
    pub status: Option<ExitStatus>,
}

/// A record that this gilscope does not understand: a fault of ours.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than its kind says.
    #[error("a record of kind {kind} has {length} bytes")]
    Short {
        /// Its kind; 0 if not even that fits.
        kind: u32,
        /// Its length.
        length: usize,
    },
    /// An unknown kind.
    #[error("unknown kind of record: {0}")]
    Kind(u32),
}

/// Reads one record.
///
/// # Errors
/// [`DecodeError`] for bytes that the programs do not send.
pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    let header: Header = read(bytes, 0)?;
    match header.kind {
        kind::WAIT | kind::YIELD => {
            let record: IntervalRecord = read(bytes, header.kind)?;
            Ok(Record::Interval(interval(&record)))
        }
        kind::LOCK => Ok(Record::Lock(read(bytes, header.kind)?)),
        kind::STACK => Ok(Record::Stack(Box::new(read(bytes, header.kind)?))),
        kind::ON_CPU => Ok(Record::OnCpu(read(bytes, header.kind)?)),
        kind::NATIVE => Ok(Record::Native(Box::new(read(bytes, header.kind)?))),
        kind::THREAD_START => Ok(Record::ThreadStart(header.tgid, header.tid, header.at_ns)),
        kind::THREAD_END => {
            let record: ThreadEndRecord = read(bytes, header.kind)?;
            Ok(Record::ThreadEnd(Box::new(EndedThread {
                thread: record.thread,
                os_name: comm(&record.comm),
                status: Some(exit_status(record.exit_code)),
            })))
        }
        kind::EXEC => Ok(Record::Exec(header.tgid, header.at_ns)),
        kind::FORK => {
            let record: ForkRecord = read(bytes, header.kind)?;
            Ok(Record::Fork(header.tgid, record.child, header.at_ns))
        }
        unknown => Err(DecodeError::Kind(unknown)),
    }
}

/// What a thread slept in, or came back from.
pub fn call(code: u32) -> Call {
    match u16::try_from(code).unwrap_or(codes::UNKNOWN) {
        codes::UNKNOWN => Call::Unknown,
        codes::NONE => Call::NoSyscall,
        codes::EVAL_LOOP => Call::EvalLoop,
        number => Call::Number(number),
    }
}

fn interval(record: &IntervalRecord) -> Interval {
    let header = &record.header;
    Interval {
        pid: header.tgid,
        tid: header.tid,
        gil_id: header.gil_id,
        kind: if header.kind == kind::WAIT {
            IntervalKind::Wait
        } else {
            IntervalKind::Yield
        },
        start_ns: header.at_ns,
        end_ns: record.end_ns,
        after: call(record.after),
    }
}

/// As `wait(2)` codes it: the signal in the low 7 bits, else the status above 8.
fn exit_status(code: i32) -> ExitStatus {
    match code & 0x7f {
        0 => ExitStatus::Code((code >> 8) & 0xff),
        signal => ExitStatus::Signal(signal),
    }
}

/// The kernel's name for a thread, up to its NUL.
fn comm(bytes: &[u8; 16]) -> Option<String> {
    let name = bytes.split(|byte| *byte == 0).next()?;
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

fn read<T: Pod>(bytes: &[u8], kind: u32) -> Result<T, DecodeError> {
    if bytes.len() < size_of::<T>() {
        return Err(DecodeError::Short {
            kind,
            length: bytes.len(),
        });
    }
    // SAFETY: enough bytes, and `Pod` says that any bytes are a value.
    Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// What the kernel counted of a thread up to `now_ns`, or up to its end.
pub fn thread_totals(thread: &Thread, now_ns: u64) -> ThreadTotals {
    let sched = &thread.sched;
    let until_ns = match thread.ended_ns {
        0 => now_ns,
        ended_ns => ended_ns,
    };
    let waited_ns = match sched.state {
        state::RUNNABLE => until_ns.saturating_sub(sched.since_ns),
        _ => 0,
    };
    let on_cpu_ns = match thread.ended_ns {
        0 => sched.cpu_time_ns(now_ns),
        _ => sched.on_cpu_ns,
    };
    ThreadTotals {
        on_cpu_ns,
        runnable_ns: sched.runnable_ns + waited_ns,
        voluntary_switches: sched.voluntary_switches,
        involuntary_switches: sched.involuntary_switches,
    }
}

/// What the kernel counted of a thread's waits for a GIL; a wait that is under way at `now_ns` is
/// cut off there.
pub fn gil_totals(totals: &Totals, thread: Option<&Thread>, gil_id: u32, now_ns: u64) -> GilTotals {
    let open = thread
        .map(|thread| &thread.wait)
        .filter(|wait| wait.is_open_for(gil_id));
    let open_ns = open.map_or(0, |wait| now_ns.saturating_sub(wait.start_ns));
    let began_before = open.is_some_and(|wait| wait.cut_at_start != 0);
    GilTotals {
        waits: totals.waits,
        wait_sum_ns: totals.wait_sum_ns,
        wait_max_ns: totals.wait_max_ns,
        wait_on_cpu_ns: totals.wait_on_cpu_ns,
        wait_runnable_ns: totals.wait_runnable_ns,
        yields: totals.yields,
        yield_sum_ns: totals.yield_sum_ns,
        yield_max_ns: totals.yield_max_ns,
        timeouts: totals.timeouts + open.map_or(0, |wait| wait.timeouts.into()),
        futile_wakeups: totals.futile_wakeups + open.map_or(0, |wait| wait.futile_wakeups.into()),
        voluntary_switches: totals.switches + open.map_or(0, |wait| wait.switches.into()),
        unfinished_at_start_ns: totals.cut_at_start_ns + if began_before { open_ns } else { 0 },
        unfinished_at_end_ns: if began_before { 0 } else { open_ns },
        waiting_since_ns: open.map(|wait| wait.start_ns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gilscope_common::records::NATIVE_STACK;

    fn bytes<T: Pod>(value: &T) -> Vec<u8> {
        // SAFETY: a reference to plain data, read for as long as it lives.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
            .to_vec()
    }

    fn header(kind: u32) -> Header {
        Header {
            kind,
            tgid: 10,
            tid: 11,
            gil_id: 2,
            at_ns: 100,
        }
    }

    #[test]
    fn every_record_survives_the_crossing() {
        let interval = IntervalRecord {
            header: header(kind::YIELD),
            end_ns: 150,
            after: 45,
            padding: 0,
        };
        assert_eq!(
            decode(&bytes(&interval)),
            Ok(Record::Interval(Interval {
                pid: 10,
                tid: 11,
                gil_id: 2,
                kind: IntervalKind::Yield,
                start_ns: 100,
                end_ns: 150,
                after: Call::Number(45),
            }))
        );
        let mut end = ThreadEndRecord {
            header: header(kind::THREAD_END),
            ..ThreadEndRecord::default()
        };
        end.thread.tid = 11;
        end.thread.wait.tstate = u64::MAX;
        end.exit_code = 9;
        end.comm[..3].copy_from_slice(b"abc");
        assert_eq!(
            decode(&bytes(&end)),
            Ok(Record::ThreadEnd(Box::new(EndedThread {
                thread: end.thread,
                os_name: Some("abc".to_owned()),
                status: Some(ExitStatus::Signal(9)),
            })))
        );
        let fork = ForkRecord {
            header: header(kind::FORK),
            child: 12,
            padding: 0,
        };
        assert_eq!(decode(&bytes(&fork)), Ok(Record::Fork(10, 12, 100)));
        let lock = LockRecord {
            header: header(kind::LOCK),
            slept_ns: 50,
            ..LockRecord::default()
        };
        assert_eq!(decode(&bytes(&lock)), Ok(Record::Lock(lock)));
        let on_cpu = OnCpuRecord {
            header: header(kind::ON_CPU),
            instruction: 0x7f00_0000_1234,
        };
        assert_eq!(decode(&bytes(&on_cpu)), Ok(Record::OnCpu(on_cpu)));
        let native = NativeRecord {
            on_cpu: OnCpuRecord {
                header: header(kind::NATIVE),
                ..on_cpu
            },
            sp: 0x7ffe_0000_0000,
            bp: 1,
            length: 2_048,
            padding: 0,
            stack: [7; NATIVE_STACK],
        };
        assert_eq!(
            decode(&bytes(&native)),
            Ok(Record::Native(Box::new(native)))
        );
        assert_eq!(
            decode(&bytes(&header(kind::THREAD_START))),
            Ok(Record::ThreadStart(10, 11, 100))
        );
        assert_eq!(
            decode(&bytes(&header(kind::EXEC))),
            Ok(Record::Exec(10, 100))
        );
    }

    #[test]
    fn what_is_no_system_call() {
        let codes = [codes::UNKNOWN, codes::NONE, codes::EVAL_LOOP, 0].map(u32::from);
        let expected = [
            Call::Unknown,
            Call::NoSyscall,
            Call::EvalLoop,
            Call::Number(0),
        ];
        assert_eq!(codes.map(call), expected);
        assert_eq!(call(u32::MAX), Call::Unknown);
    }

    #[test]
    fn short_and_unknown_records_are_errors() {
        let interval = bytes(&IntervalRecord {
            header: header(kind::WAIT),
            end_ns: 150,
            ..IntervalRecord::default()
        });
        for length in 0..interval.len() {
            assert!(decode(&interval[..length]).is_err(), "{length} bytes");
        }
        assert_eq!(decode(&bytes(&header(77))), Err(DecodeError::Kind(77)));
    }
}
