//! The worst locks other than the GIL.

use super::Style;
use crate::model::{LockKind, LockReport, ProcessReport, Purpose};
use crate::output::shown::{count, counted, time};
use std::io::{self, Write};

/// Locks that are shown.
const WORST: usize = 5;

/// Writes the locks that threads waited for; nothing if there are none.
pub(super) fn write(out: &mut dyn Write, process: &ProcessReport, style: Style) -> io::Result<()> {
    let (idle, locks): (Vec<_>, Vec<_>) = (process.locks.iter())
        .filter(|lock| lock.waited_ns() > 0)
        .partition(|lock| lock.purpose == Purpose::Idle);
    if idle.is_empty() && locks.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    if !locks.is_empty() {
        let (waits, waited_ns) = sum(&locks);
        let unfinished = match unfinished_ns(&locks) {
            0 => String::new(),
            ns => format!(" ({} of it unfinished)", time(ns)),
        };
        let title = format!(
            "Other locks, apart from the GIL: {}, {} in all{unfinished}.",
            counted(waits, "wait"),
            time(waited_ns)
        );
        writeln!(out, "{}", style.bold(&title))?;
        locks
            .iter()
            .take(WORST)
            .try_for_each(|lock| row(out, lock))?;
        left_out(out, locks.get(WORST..).unwrap_or_default())?;
        unknown(out, &locks)?;
    }
    if !idle.is_empty() {
        let (waits, waited_ns) = sum(&idle);
        writeln!(
            out,
            "Asleep on purpose, waiting for work: {}, {} in all, on {}.",
            counted(waits, "time"),
            time(waited_ns),
            counted(idle.len() as u64, "lock"),
        )?;
    }
    if let Some(others) = &process.other_locks {
        writeln!(
            out,
            "Beyond the row limit: {}, {} in all.",
            counted(others.wait.count, "wait"),
            time(
                others
                    .wait
                    .sum_ns
                    .saturating_add(others.unfinished.total_ns())
            ),
        )?;
    }
    Ok(())
}

fn sum(locks: &[&LockReport]) -> (u64, u64) {
    locks.iter().fold((0, 0), |(waits, waited_ns), lock| {
        (
            lock.wait.count.saturating_add(waits),
            lock.waited_ns().saturating_add(waited_ns),
        )
    })
}

fn unfinished_ns(locks: &[&LockReport]) -> u64 {
    (locks.iter()).fold(0, |sum, lock| {
        sum.saturating_add(lock.unfinished.total_ns())
    })
}

fn row(out: &mut dyn Write, lock: &LockReport) -> io::Result<()> {
    let kind = match lock.kind {
        LockKind::Semaphore => "semaphore",
        LockKind::Condvar => "condvar",
        LockKind::Mutex => "mutex",
        LockKind::Rwlock => "rwlock",
        LockKind::PyMutex => "PyMutex",
        LockKind::StopTheWorld => "stop-the-world",
        LockKind::Unknown => "unknown kind",
    };
    let name = match (&lock.address, lock.requested_by) {
        (Some(address), _) => format!("{address} {kind}"),
        (None, Some(tid)) => format!("{kind} by thread {tid}"),
        (None, None) => kind.to_owned(),
    };
    writeln!(
        out,
        "  {name}: {}, {}, longest {}, {}",
        counted(lock.wait.count, "wait"),
        time(lock.waited_ns()),
        time(lock.wait.max_ns),
        counted(lock.threads, "thread"),
    )
}

fn unknown(out: &mut dyn Write, locks: &[&LockReport]) -> io::Result<()> {
    let is_unknown = |lock: &&&LockReport| lock.purpose == Purpose::Unknown;
    let unknown: Vec<_> = locks.iter().filter(is_unknown).copied().collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let (waits, waited_ns) = sum(&unknown);
    writeln!(
        out,
        "  Of these, whether for work or for what another had is not known: {}, {}.",
        counted(waits, "wait"),
        time(waited_ns)
    )
}

fn left_out(out: &mut dyn Write, more: &[&LockReport]) -> io::Result<()> {
    if more.is_empty() {
        return Ok(());
    }
    let (waits, waited_ns) = sum(more);
    writeln!(
        out,
        "  {} more: {}, {} in all (--json has them).",
        count(more.len() as u64),
        counted(waits, "wait"),
        time(waited_ns)
    )
}
