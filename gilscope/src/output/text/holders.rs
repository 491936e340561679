//! Who had the GIL while others waited for it, and what it did; and what the waiters had come back from.

use super::{Style, table::label};
use crate::model::{BlockedBy, ProcessReport};
use crate::output::shown::{counted, cut, share, time};
use std::{
    cmp::Reverse,
    collections::BTreeMap,
    io::{self, Write},
};

/// Holders that are shown.
const WORST: usize = 5;
/// Kinds of waits that are shown.
const CALLS: usize = 3;

/// What one holder did while others waited.
#[derive(Default)]
struct Held {
    sum_ns: u64,
    /// Of the rows of which it is known.
    max_ns: u64,
    max_is_unknown: bool,
    waiters: u64,
    on_cpu_ns: u64,
    runnable_ns: u64,
    asleep_ns: u64,
}

impl Held {
    fn add(&mut self, row: &BlockedBy) {
        self.sum_ns = self.sum_ns.saturating_add(row.sum_ns);
        self.max_ns = row.max_ns.unwrap_or(0).max(self.max_ns);
        self.max_is_unknown |= row.max_ns.is_none();
        self.waiters += 1;
        self.on_cpu_ns = self.on_cpu_ns.saturating_add(row.on_cpu_ns);
        self.runnable_ns = self.runnable_ns.saturating_add(row.runnable_ns);
        self.asleep_ns = self.asleep_ns.saturating_add(row.asleep_ns);
    }

    fn longest(&self) -> String {
        match self.max_is_unknown {
            true => String::new(),
            false => format!("longest {}, ", time(self.max_ns)),
        }
    }

    /// On the CPU, runnable, asleep and in what, not known; what is nothing is left out.
    fn doing(&self, calls: &str) -> String {
        let known_ns = (self.on_cpu_ns)
            .saturating_add(self.runnable_ns)
            .saturating_add(self.asleep_ns);
        let parts = [
            ("on the CPU", self.on_cpu_ns, ""),
            ("runnable", self.runnable_ns, ""),
            ("asleep", self.asleep_ns, calls),
            ("not known", self.sum_ns.saturating_sub(known_ns), ""),
        ];
        let parts = parts.into_iter().filter(|(_, ns, _)| *ns > 0);
        let parts =
            parts.map(|(what, ns, calls)| format!("{what} {}{calls}", part(ns, self.sum_ns)));
        parts.collect::<Vec<_>>().join(", ")
    }
}

/// Writes who made the others wait longest; nothing if that is known of nobody.
pub(super) fn write(out: &mut dyn Write, process: &ProcessReport, style: Style) -> io::Result<()> {
    let mut holders: BTreeMap<u32, Held> = BTreeMap::new();
    for row in &process.blocked_by {
        holders.entry(row.holder).or_default().add(row);
    }
    if holders.is_empty() {
        return Ok(());
    }
    let known_ns = holders
        .values()
        .fold(0, |all, one| one.sum_ns.saturating_add(all));
    let waited_ns = known_ns
        .saturating_add(process.blocked_by_nobody_ns)
        .saturating_add(process.blocked_by_unknown_ns);
    let mut holders: Vec<_> = holders.into_iter().collect();
    holders.sort_by_key(|(tid, held)| (Reverse(held.sum_ns), *tid));
    writeln!(out)?;
    writeln!(
        out,
        "{}",
        style.bold("Who had the GIL while others waited for it:")
    )?;
    for (tid, held) in holders.iter().take(WORST) {
        writeln!(
            out,
            "  {tid} {}: {} ({}), {}{}",
            called(process, *tid),
            time(held.sum_ns),
            part(held.sum_ns, waited_ns),
            held.longest(),
            counted(held.waiters, "waiter"),
        )?;
        writeln!(out, "    {}", held.doing(&calls(process, *tid)))?;
    }
    writeln!(
        out,
        "  Nobody (dropped, not yet taken): {} ({}); not known: {} ({})",
        time(process.blocked_by_nobody_ns),
        part(process.blocked_by_nobody_ns, waited_ns),
        time(process.blocked_by_unknown_ns),
        part(process.blocked_by_unknown_ns, waited_ns),
    )?;
    came_back(out, process)
}

/// What a holder slept in longest, and whether there was more.
fn calls(process: &ProcessReport, holder: u32) -> String {
    let mut rows = (process.asleep_with_gil.iter()).filter(|row| row.holder == holder);
    let Some(longest) = rows.next() else {
        return String::new();
    };
    let more = if rows.next().is_some() { ", …" } else { "" };
    format!(" ({}{more})", cut(longest.syscall.unwrap_or("?"), 17))
}

/// What the waiters had come back from.
fn came_back(out: &mut dyn Write, process: &ProcessReport) -> io::Result<()> {
    if process.waits_after.is_empty() {
        return Ok(());
    }
    writeln!(out, "What the waiters had come back from:")?;
    for row in process.waits_after.iter().take(CALLS) {
        let (waits, sum) = (counted(row.count, "wait"), time(row.sum_ns));
        writeln!(out, "  {}: {waits}, {sum}", row.after.unwrap_or("?"))?;
    }
    Ok(())
}

fn part(ns: u64, of_ns: u64) -> String {
    share(ns, of_ns).unwrap_or_else(|| "–".to_owned())
}

/// Empty if it has no row any more.
fn called(process: &ProcessReport, tid: u32) -> String {
    let thread = process.threads.iter().find(|thread| thread.tid == tid);
    thread.map_or(String::new(), |thread| label(thread, 15))
}
