//! The dump for people: deadlocks first, then each thread with its Python functions.

use super::{Style, name};
use crate::model::{Doing, Dump, DumpLock, DumpThread, Frame, LockKind, Owner, Resource, Stack};
use crate::output::shown::{counted, time};
use std::io::{self, Write};

/// Writes it.
pub fn write(out: &mut dyn Write, dump: &Dump, style: Style) -> io::Result<()> {
    head(out, dump, style)?;
    for deadlock in &dump.deadlocks {
        let inferred = match deadlock.inferred {
            true => " (inferred: a plain Lock does not record who has it)",
            false => "",
        };
        let told = match deadlock.threads.len() {
            1 => format!("DEADLOCK{inferred}: a thread waits for what it has itself."),
            count => format!(
                "DEADLOCK{inferred}: {count} threads wait for each other, and none can go on."
            ),
        };
        writeln!(out, "{}", style.warn(&told))?;
        for thread in threads(dump, &deadlock.threads) {
            writeln!(out, "  {} {}", title(thread), doing(dump, thread))?;
        }
    }
    left_behind(out, dump, style)?;
    for thread in &dump.threads {
        let line = format!("{} {}", title(thread), doing(dump, thread));
        writeln!(out, "\n{}", style.bold(&line))?;
        for one in &thread.stacks {
            stack(out, one, style)?;
        }
    }
    Ok(())
}

fn head(out: &mut dyn Write, dump: &Dump, style: Style) -> io::Result<()> {
    let arguments = dump.cmdline.join(" ");
    let command = if arguments.is_empty() {
        &dump.exe
    } else {
        &arguments
    };
    let line = format!("Process {}: {}", dump.pid, name(command, 72));
    writeln!(out, "{}", style.bold(&line))?;
    let threads = counted(dump.threads.len() as u64, "thread");
    writeln!(
        out,
        "CPython {}, {threads}, looked at for {} while it went on.",
        dump.python,
        time(dump.took_ns)
    )?;
    for gil in &dump.gils {
        let has = match gil.holder {
            _ if !gil.enabled => "is switched off (free-threaded)".to_owned(),
            Some(tid) => format!("is held by thread {tid}"),
            None => "is held by no known thread".to_owned(),
        };
        writeln!(out, "GIL {} {has}.", gil.id)?;
    }
    if !dump.has_stacks {
        let line = "The Python functions of this version's threads are not known to gilscope.";
        writeln!(out, "{}", style.warn(line))?;
    }
    Ok(())
}

fn threads<'a>(dump: &'a Dump, tids: &[u32]) -> impl Iterator<Item = &'a DumpThread> {
    let of = |tid: &u32| dump.threads.iter().find(|thread| thread.tid == *tid);
    tids.iter().filter_map(of)
}

/// Locks that nobody will give back.
fn left_behind(out: &mut dyn Write, dump: &Dump, style: Style) -> io::Result<()> {
    for lock in &dump.locks {
        let why = match lock.owner {
            Some(Owner::LeftBehindByFork) => {
                "was inherited through fork, locked by a thread that stayed behind in the parent"
            }
            Some(Owner::Ended) => "is locked by a thread that has ended",
            Some(Owner::Thread(_)) | None => continue,
        };
        let line = format!("STUCK: {} {why}: nobody will unlock it.", described(lock));
        writeln!(out, "{}", style.warn(&line))?;
        let waits = |thread: &&DumpThread| thread.doing.lock() == Some(lock.id);
        for thread in dump.threads.iter().filter(waits) {
            writeln!(out, "  {} waits for it", title(thread))?;
        }
    }
    Ok(())
}

fn title(thread: &DumpThread) -> String {
    let called = thread.name.as_ref().unwrap_or(&thread.os_name);
    format!("{} {}", thread.tid, name(called, 24))
}

fn doing(dump: &Dump, thread: &DumpThread) -> String {
    let mut told = match thread.doing {
        Doing::Running => "runs".to_owned(),
        Doing::WaitsForGil { gil_id } => {
            let holder = dump.holder(Resource::Gil(gil_id));
            format!("waits for the GIL{}", which_has(holder))
        }
        Doing::WaitsForLock { lock_id, timed } => match dump.locks.get(lock_id as usize) {
            Some(lock) => waits(lock, timed),
            None => "waits for a lock".to_owned(),
        },
        Doing::SystemCall { number, name } => match name {
            Some(name) => format!("is in {name}"),
            None => format!("is in system call {number}"),
        },
        Doing::Stopped => "is stopped".to_owned(),
        Doing::Unknown => "does what the kernel does not tell".to_owned(),
    };
    if let Some(ns) = thread.asleep_ns {
        told += &format!(", for {} so far", time(ns));
    }
    if dump.gils.iter().any(|gil| gil.holder == Some(thread.tid)) {
        told += " and has the GIL";
    }
    told
}

fn waits(lock: &DumpLock, timed: bool) -> String {
    let timed = if timed { ", for a time," } else { "" };
    let owner = match lock.owner {
        Some(Owner::LeftBehindByFork) => ", which was left behind by fork".to_owned(),
        Some(Owner::Ended) => ", which an ended thread has".to_owned(),
        Some(Owner::Thread(tid)) => which_has(Some(tid)),
        None => which_may_have(&lock.inferred_owners),
    };
    format!("waits{timed} for {}{owner}", described(lock))
}

fn which_has(holder: Option<u32>) -> String {
    holder.map_or_else(String::new, |tid| format!(", which thread {tid} has"))
}

/// It is inside a `with` on the lock.
fn which_may_have(tids: &[u32]) -> String {
    match tids {
        [] => String::new(),
        [tid] => format!(", which thread {tid} seems to have (it is inside a with on it)"),
        tids => {
            let tids: Vec<String> = tids.iter().map(u32::to_string).collect();
            format!(
                ", which one of threads {} seems to have (they are inside a with on it)",
                tids.join(", ")
            )
        }
    }
}

fn described(lock: &DumpLock) -> String {
    let kind = match lock.kind {
        _ if lock.rlock => "an RLock",
        LockKind::Semaphore => "a semaphore",
        LockKind::Condvar => "a condition variable",
        LockKind::Mutex => "a mutex",
        LockKind::Rwlock => "a read-write lock",
        LockKind::PyMutex => "a PyMutex",
        LockKind::StopTheWorld => "the end of a stop-the-world pause",
        LockKind::Unknown => "a futex",
    };
    format!("{kind} ({})", lock.address)
}

fn stack(out: &mut dyn Write, stack: &Stack, style: Style) -> io::Result<()> {
    if stack.interpreter != 0 {
        writeln!(out, "  in interpreter {}:", stack.interpreter)?;
    }
    for frame in &stack.frames {
        writeln!(out, "    {}", function(frame))?;
    }
    let unreadable = counted(stack.unreadable, "frame");
    let notes = [
        (stack.truncated, "and more".to_owned()),
        (
            stack.unreadable > 0,
            format!("{unreadable} could not be read"),
        ),
        (
            !stack.consistent,
            "it ran meanwhile: these may be of different moments".to_owned(),
        ),
    ];
    for (_, note) in notes.iter().filter(|(holds, _)| *holds) {
        writeln!(out, "    {}", style.dim(&format!("({note})")))?;
    }
    Ok(())
}

fn function(frame: &Frame) -> String {
    let called = frame.qualified_name.as_ref().unwrap_or(&frame.name);
    let line = frame
        .line
        .map_or_else(|| "?".to_owned(), |line| line.to_string());
    let (called, file) = (name(called, LONGEST), name(&frame.file, LONGEST));
    format!("{called} ({file}:{line})")
}

/// Names are as long as they are: they are to be copied.
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests;
