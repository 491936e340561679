//! What is to be said beside the table: forced switches, unfinished waits, merged threads, loss,
//! and what was measured how.

use super::Style;
use crate::model::{
    FoundBy, GilInfo, GilWaits, HistogramSummary, Loss, OtherThreads, ProcessReport, StackReads,
    Unfinished, WaitSource,
};
use crate::output::shown::{count, counted, name, share, time};
use std::io::{self, Write};

/// Writes what there is to say of a process.
pub(super) fn write(out: &mut dyn Write, process: &ProcessReport, style: Style) -> io::Result<()> {
    writeln!(out)?;
    if let Some(others) = &process.other_threads {
        write_others(out, others)?;
    }
    let gils = || process.threads.iter().flat_map(|thread| &thread.gil);
    let others = process.other_threads.iter();
    let switches = gils().map(|gil| &gil.forced_switch);
    write_switches(
        out,
        switches.chain(others.clone().map(|others| &others.forced_switch)),
    )?;
    write_context_switches(out, process)?;
    write_collections(out, process)?;
    let unfinished = gils().map(|gil: &GilWaits| gil.unfinished);
    write_unfinished(
        out,
        unfinished.chain(others.map(|others| others.unfinished)),
    )?;
    write_gils(out, process, style)
}

fn write_others(out: &mut dyn Write, others: &OtherThreads) -> io::Result<()> {
    writeln!(
        out,
        "{} beyond the row limit: {}, {} in all, longest {}.",
        counted(others.threads, "ended thread"),
        counted(others.wait.count, "wait"),
        time(others.wait.sum_ns),
        time(others.wait.max_ns),
    )
}

fn write_switches<'a>(
    out: &mut dyn Write,
    switches: impl Iterator<Item = &'a HistogramSummary>,
) -> io::Result<()> {
    let (mut number, mut sum_ns, mut max_ns) = (0_u64, 0_u64, 0);
    for switch in switches {
        number = number.saturating_add(switch.count);
        sum_ns = sum_ns.saturating_add(switch.sum_ns);
        max_ns = switch.max_ns.max(max_ns);
    }
    if number == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "Forced switches, apart from waits: a thread gave way {}, {} in all, longest {}.",
        counted(number, "time"),
        time(sum_ns),
        time(max_ns),
    )
}

/// What share of the scheduler's work was attempts to get the GIL. Of the threads with rows: the others are merged.
fn write_context_switches(out: &mut dyn Write, process: &ProcessReport) -> io::Result<()> {
    let (mut for_gil, mut all, mut futile) = (0_u64, 0_u64, 0_u64);
    for thread in &process.threads {
        all = all.saturating_add(thread.cpu.voluntary_switches);
        for gil in &thread.gil {
            for_gil = for_gil.saturating_add(gil.voluntary_switches);
            futile = futile.saturating_add(gil.futile_wakeups);
        }
    }
    let Some(share) = share(for_gil, all).filter(|_| for_gil > 0) else {
        return Ok(());
    };
    writeln!(
        out,
        "Voluntary context switches: {}, of which {} ({share}) to wait for the GIL ({}).",
        count(all),
        count(for_gil),
        counted(futile, "futile wake-up"),
    )
}

/// How often the interpreter has collected garbage, where it tells and somebody may have waited for it.
fn write_collections(out: &mut dyn Write, process: &ProcessReport) -> io::Result<()> {
    let Some(collections) = process.collections.filter(|_| process.gil_wait.count > 0) else {
        return Ok(());
    };
    let [young, middle, full] = collections.generations;
    if [young, middle, full].iter().all(|it| it.count == 0) {
        return Ok(());
    }
    let sums = collections.generations.map(|generation| generation.sum_ns);
    let sum_ns = sums
        .into_iter()
        .try_fold(0_u64, |sum, ns| Some(sum.saturating_add(ns?)));
    writeln!(
        out,
        "Garbage collections: {} of generation 0, {} of generation 1, {} of generation 2{}.",
        count(young.count),
        count(middle.count),
        count(full.count),
        sum_ns.map_or_else(String::new, |ns| format!("; {} in all", time(ns))),
    )
}

fn write_unfinished(out: &mut dyn Write, all: impl Iterator<Item = Unfinished>) -> io::Result<()> {
    let mut sum = Unfinished::default();
    all.for_each(|unfinished| sum.add(unfinished));
    if sum == Unfinished::default() {
        return Ok(());
    }
    writeln!(
        out,
        "Unfinished waits, in no count or percentile: {} at the start of tracing, {} at its end.",
        time(sum.at_start_ns),
        time(sum.at_end_ns),
    )
}

/// A line for all that differ in nothing but their number: there may be a thousand.
fn write_gils(out: &mut dyn Write, process: &ProcessReport, style: Style) -> io::Result<()> {
    let what = |gil: &GilInfo| (gil.python.clone(), gil.enabled, gil.found_by, gil.source);
    for gils in process.gils.chunk_by(|gil, next| what(gil) == what(next)) {
        write_gil(out, gils, style)?;
    }
    let line = match process.gils_not_traced {
        0 => return Ok(()),
        1 => "1 GIL was not traced, as there was no room for it.".to_owned(),
        more => format!(
            "{} GILs were not traced, as there was no room for them.",
            count(more)
        ),
    };
    writeln!(out, "{}", style.warn(&line))
}

fn write_gil(out: &mut dyn Write, gils: &[GilInfo], style: Style) -> io::Result<()> {
    let [gil, others @ ..] = gils else {
        return Ok(());
    };
    let build = if gil.free_threaded {
        ", free-threaded"
    } else {
        ""
    };
    let state = if gil.enabled { "" } else { ", switched off" };
    let found = match gil.found_by {
        FoundBy::RuntimeSymbol => "_PyRuntime",
        FoundBy::StaticSymbols => "its symbols",
        FoundBy::MachineCode => "its code",
        FoundBy::DebugOffsets => "_Py_DebugOffsets",
    };
    let measured = match gil.source {
        WaitSource::Futex => "futex calls",
        WaitSource::Uprobe => "uprobes",
    };
    let python = name(&gil.python, 10);
    let which = match others.last() {
        Some(last) => format!("GILs {} to {}", gil.id, last.id),
        None => format!("GIL {}", gil.id),
    };
    let line = format!(
        "{which}: CPython {python}{build}{state}; found by {found}, measured by {measured}."
    );
    writeln!(out, "{}", style.dim(&line))
}

/// Writes how many stacks are missing; nothing if none is.
pub(super) fn write_stack_reads(
    out: &mut dyn Write,
    reads: &StackReads,
    style: Style,
) -> io::Result<()> {
    if reads.moved + reads.lost + reads.refused == 0 {
        return Ok(());
    }
    let line = format!(
        "Python stacks: {} read, {} left out (too often), {} changed meanwhile, {} without room.",
        count(reads.read),
        count(reads.refused),
        count(reads.moved),
        count(reads.lost),
    );
    writeln!(out, "{}", style.dim(&line))
}

/// Writes what was lost, in all processes; nothing if nothing was.
pub(super) fn write_loss(out: &mut dyn Write, loss: &Loss, style: Style) -> io::Result<()> {
    if *loss == Loss::default() {
        return Ok(());
    }
    let lost = format!(
        "Lost: {} came too fast to be taken, among them {} of {} in all.",
        counted(loss.events_lost, "record"),
        counted(loss.waits_lost, "wait"),
        time(loss.wait_lost_ns),
    );
    writeln!(out, "{}", style.warn(&lost))?;
    let meaning = if loss.waits_lost > 0 {
        "Counts, totals and the longest waits are complete all the same; percentiles lack the lost."
    } else {
        "The figures of waits are complete all the same."
    };
    writeln!(out, "{meaning}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn stacks_that_are_missing_are_counted() {
        let told = |reads| {
            let mut out = Vec::new();
            write_stack_reads(&mut out, &reads, Style::default()).unwrap();
            String::from_utf8(out).unwrap()
        };
        let all_read = StackReads {
            read: 1_812,
            ..StackReads::default()
        };
        assert_eq!(told(all_read), "");
        let not_all = StackReads {
            moved: 3,
            lost: 1,
            refused: 44,
            ..all_read
        };
        let expected = "Python stacks: 1,812 read, 44 left out (too often), 3 changed meanwhile, 1 without room.\n";
        assert_eq!(told(not_all), expected);
    }
}
