//! The report for people: the process first, then its worst threads, then what else there is to
//! say. At most 100 columns wide.

mod dump;
mod holders;
mod locks;
mod notes;
mod on_cpu;
mod places;
mod storms;
mod table;
mod verdict;

pub use dump::write as write_dump;

use super::shown::{counted, name, share, time};
use crate::model::{ExitStatus, ProcessEnd, ProcessReport, Report, ThreadReport};
use std::io::{self, Write};

/// Columns that a line has at most.
const WIDTH: usize = 100;

/// How it looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// With ANSI colours.
    pub colour: bool,
}

impl Style {
    /// What matters most.
    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What must not be overlooked.
    fn warn(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// What can be.
    fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Writes a report: of each process all threads, or those that waited longest.
pub fn write(
    out: &mut dyn Write,
    report: &Report,
    style: Style,
    all_threads: bool,
) -> io::Result<()> {
    for (i, process) in report.processes.iter().enumerate() {
        if i > 0 {
            writeln!(out)?;
        }
        title(out, process, style)?;
        verdict::write(out, process, style)?;
        headline(out, process, style)?;
        table::write(out, process, style, all_threads)?;
        holders::write(out, process, style)?;
        places::write(out, process, style)?;
        on_cpu::write(out, process, style)?;
        storms::write(out, process, style)?;
        notes::write(out, process, style)?;
        locks::write(out, process, style)?;
    }
    notes::write_stack_reads(out, &report.stack_reads, style)?;
    notes::write_loss(out, &report.loss, style)
}

fn title(out: &mut dyn Write, process: &ProcessReport, style: Style) -> io::Result<()> {
    let arguments = process.cmdline.join(" ");
    let command = if arguments.is_empty() {
        &process.exe
    } else {
        &arguments
    };
    let title = format!("Process {}: {}", process.pid, name(command, 72));
    writeln!(out, "{}", style.bold(&title))?;
    if let Some(container) = &process.container {
        writeln!(out, "In container {}.", name(container, 80))?;
    }
    if let Some(end) = &process.ended {
        let how = format!(
            "It ended{}: the figures are of the time until then.",
            ending(end)
        );
        writeln!(out, "{}", style.warn(&how))?;
    }
    Ok(())
}

fn ending(end: &ProcessEnd) -> String {
    let how = match end.status {
        Some(ExitStatus::Code(code)) => format!(" with status {code}"),
        Some(ExitStatus::Signal(signal)) => format!(" by signal {signal}"),
        None => String::new(),
    };
    format!("{how} after {}", time(end.at_ns))
}

/// The process as a whole: the share of time with a waiter, the total, the worst thread.
fn headline(out: &mut dyn Write, process: &ProcessReport, style: Style) -> io::Result<()> {
    let observed = time(process.observed_ns);
    let others = process.other_threads.as_ref();
    let waited_ns = process.threads.iter().map(ThreadReport::waited_ns);
    let waited_ns = waited_ns.chain(others.map(|others| others.waited_ns()));
    let waited_ns = waited_ns.fold(0, u64::saturating_add);
    if process.gils.is_empty() {
        let (none, why) = if process.gils_not_traced > 0 {
            let why = "There is room for some hundreds at a time, in all processes.";
            ("None of its GILs was traced.", why)
        } else if process.ended.is_some() {
            let why = "It is no CPython, a 2.7 that never had a second thread, \
                       or it ended before it could be looked at.";
            ("No GIL was found in it.", why)
        } else {
            let none = "No GIL was found in it, so there was none to wait for.";
            let why = "It is no CPython, or a 2.7 that never had a second thread.";
            (none, why)
        };
        writeln!(out, "{}", style.bold(none))?;
        return writeln!(out, "{why}");
    }
    if process.gils.iter().all(|gil| !gil.enabled) {
        let off = "Its GIL is switched off (free-threaded), so no thread waited for it.";
        return writeln!(out, "{}", style.bold(off));
    }
    let threads = (process.threads.len() as u64).saturating_add(others.map_or(0, |o| o.threads));
    if process.gil_wait.count == 0 && waited_ns == 0 {
        let none = format!("No thread waited for the GIL in these {observed}.");
        writeln!(out, "{}", style.bold(&none))?;
        let meaning = match process.gils_not_traced {
            0 => "That is a result: whatever it is slow by, it is not the wait for the GIL.",
            _ => "That is no result, as some of its GILs were not traced.",
        };
        return writeln!(out, "{} followed. {meaning}", counted(threads, "thread"));
    }
    let contended = share(process.contended_ns, process.observed_ns);
    let contended = format!(
        "At least one thread waited for the GIL {} of the time ({} of {observed}).",
        contended.as_deref().unwrap_or("–"),
        time(process.contended_ns),
    );
    writeln!(out, "{}", style.bold(&contended))?;
    writeln!(
        out,
        "Its {} waited {} in all, in {}.",
        counted(threads, "thread"),
        time(waited_ns),
        counted(process.gil_wait.count, "wait"),
    )?;
    let worst = process
        .threads
        .iter()
        .max_by_key(|thread| thread.waited_ns());
    worst
        .filter(|worst| worst.waited_ns() > 0)
        .map_or(Ok(()), |worst| worst_thread(out, worst))
}

fn worst_thread(out: &mut dyn Write, worst: &ThreadReport) -> io::Result<()> {
    let share = share(worst.waited_ns(), worst.observed_ns);
    let share = share
        .map(|share| format!(", {share} of its life"))
        .unwrap_or_default();
    let (tid, name) = (worst.tid, table::label(worst, 15));
    writeln!(
        out,
        "The worst is {tid} {name}: {}{share}.",
        time(worst.waited_ns())
    )
}

#[cfg(test)]
mod tests;
