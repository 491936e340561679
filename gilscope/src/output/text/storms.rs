//! Storms, and what there is to gain.

use super::{
    Style,
    places::{frames, place},
    table::label,
};
use crate::model::{ProcessReport, Storm, StormKind, WhatIf};
use crate::output::{
    shown::{counted, time},
    storm::{summary, used},
};
use std::io::{self, Write};

/// Storms that are shown.
const WORST: usize = 5;

/// Writes the worst storms; nothing if there were none.
pub(super) fn write(out: &mut dyn Write, process: &ProcessReport, style: Style) -> io::Result<()> {
    if !process.storms.is_empty() {
        writeln!(out)?;
        writeln!(
            out,
            "{}",
            style.bold("Storms, when it lost more than it should, worst first:")
        )?;
    }
    for storm in process.storms.iter().take(WORST) {
        write_storm(out, process, storm, style)?;
    }
    let others = process.other_storms.map_or(0, |others| others.storms);
    let shown = process.storms.len().min(WORST);
    let rest = others.saturating_add((process.storms.len() - shown) as u64);
    if rest > 0 {
        writeln!(
            out,
            "  Not shown: {} with less waiting.",
            counted(rest, "storm")
        )?;
    }
    process
        .what_if
        .as_ref()
        .map_or(Ok(()), |it| write_what_if(out, process, it))
}

fn write_storm(
    out: &mut dyn Write,
    process: &ProcessReport,
    storm: &Storm,
    style: Style,
) -> io::Result<()> {
    let what = match storm.kind {
        StormKind::Contention => "contention",
        StormKind::Pause => "pause, in which no waiter got it",
    };
    let unfinished = if storm.unfinished { ", to the end" } else { "" };
    writeln!(
        out,
        "  {what} from {}{unfinished}: {}",
        time(storm.started_at_ns),
        summary(storm)
    )?;
    if let Some(stack) = storm.top_holder.and_then(|holder| holder.stack)
        && let Some(frame) = frames(process, stack).first()
    {
        writeln!(out, "    which was in {}", place(frame))?;
    }
    for line in used(storm) {
        writeln!(out, "    {line}")?;
    }
    if storm.events_lost > 0 {
        let lost = counted(storm.events_lost, "record");
        let lost = format!("    {lost} lost meanwhile: it may have been several");
        writeln!(out, "{}", style.warn(&lost))?;
    }
    let longest = storm.threads.iter().take(3).map(|waited| {
        let thread = process
            .threads
            .iter()
            .find(|thread| thread.tid == waited.tid);
        let name = thread.map_or(String::new(), |thread| format!(" {}", label(thread, 15)));
        format!("{}{name} {}", waited.tid, time(waited.waited_ns))
    });
    let longest: Vec<_> = longest.collect();
    writeln!(out, "    waited longest: {}", longest.join(", "))
}

fn write_what_if(out: &mut dyn Write, process: &ProcessReport, it: &WhatIf) -> io::Result<()> {
    write!(
        out,
        "Without a GIL at most {:.2} times as fast",
        it.without_gil_at_most
    )?;
    if let Some((tid, at_most)) = it.tid.zip(it.thread_at_most) {
        let thread = process.threads.iter().find(|thread| thread.tid == tid);
        let name = thread.map_or(String::new(), |thread| format!(" {}", label(thread, 15)));
        write!(out, ", its thread {tid}{name} {at_most:.2} times")?;
    }
    match it.processes {
        0 | 1 => writeln!(out, "; more processes gain nothing.")?,
        processes => writeln!(out, "; {processes} processes as well.")?,
    }
    writeln!(
        out,
        "That is if each thread does the same as before, nothing new hinders it, and the change is free."
    )
}
