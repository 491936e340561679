//! The worst threads, a row each.

use super::{Style, WIDTH};
use crate::model::{GilWaits, ProcessReport, ThreadReport};
use crate::output::shown::{count, counted, cut, name, share, time};
use std::io::{self, Write};

/// Threads that are shown unless all are wanted.
const WORST: usize = 20;
/// A thread's name is cut to this, the kernel's own limit (`TASK_COMM_LEN`), or less.
const NAME_WIDTH: usize = 15;
/// Which column is the name: the only one that can be cut and that stands to the left.
const NAME: usize = 1;

const HEADS: [&str; 11] = [
    "tid", "thread", "gil", "waits", "p50", "p99", "max", "waited", "vol.sw", "invol.sw", "futile",
];
/// Which column says for which GIL: only of use in a process that has more than one.
const GIL: usize = 2;

type Row = [String; HEADS.len()];

/// Writes the table and what it leaves out; nothing if there is nothing to show.
pub(super) fn write(
    out: &mut dyn Write,
    process: &ProcessReport,
    style: Style,
    all_threads: bool,
) -> io::Result<()> {
    let waiting = process
        .threads
        .iter()
        .filter(|thread| thread.waited_ns() > 0);
    let shown: Vec<&ThreadReport> = if all_threads {
        process.threads.iter().collect()
    } else {
        waiting.clone().take(WORST).collect()
    };
    if !shown.is_empty() {
        writeln!(out)?;
        let rows: Vec<Row> = shown.iter().flat_map(|thread| rows(thread)).collect();
        align(out, &rows, process.gils.len() > 1, style)?;
        writeln!(out, "{}", style.dim(LEGEND))?;
    }
    if !all_threads {
        left_out(out, waiting.skip(WORST), process)?;
    }
    Ok(())
}

const LEGEND: &str = "\
waited: share of the thread's life. vol.sw, invol.sw: switches by itself, and by preemption.
futile: woken because the GIL was free, found it taken again.";

/// What a thread is called: Python's name, else the system's.
pub(super) fn label(thread: &ThreadReport, width: usize) -> String {
    name(
        thread
            .name
            .as_deref()
            .or(thread.os_name.as_deref())
            .unwrap_or("?"),
        width,
    )
}

/// A thread's rows: one for each GIL that it had to do with, or an empty one.
fn rows(thread: &ThreadReport) -> Vec<Row> {
    let none = GilWaits::default();
    let gils = if thread.gil.is_empty() {
        std::slice::from_ref(&none)
    } else {
        &thread.gil
    };
    gils.iter().map(|gil| row(thread, gil)).collect()
}

fn row(thread: &ThreadReport, gil: &GilWaits) -> Row {
    let or_dash = |shown: Option<String>| shown.unwrap_or_else(|| "–".to_owned());
    let longest = (gil.wait.count > 0).then(|| time(gil.wait.max_ns));
    [
        thread.tid.to_string(),
        label(thread, NAME_WIDTH),
        gil.gil_id.to_string(),
        count(gil.wait.count),
        or_dash(gil.wait.p50_ns.map(time)),
        or_dash(gil.wait.p99_ns.map(time)),
        or_dash(longest),
        or_dash(share(gil.waited_ns(), thread.observed_ns)),
        count(thread.cpu.voluntary_switches),
        count(thread.cpu.involuntary_switches),
        count(gil.futile_wakeups),
    ]
}

/// Writes rows under their heads, in columns as wide as needed.
fn align(out: &mut dyn Write, rows: &[Row], gils: bool, style: Style) -> io::Result<()> {
    let heads = HEADS.map(str::to_owned);
    let columns: Vec<usize> = (0..HEADS.len())
        .filter(|&column| gils || column != GIL)
        .collect();
    let cell = |row: &Row, column: usize| row.get(column).cloned().unwrap_or_default();
    let width = |column: usize| {
        let all = rows
            .iter()
            .chain([&heads])
            .map(|row| cell(row, column).chars().count());
        all.max().unwrap_or(0)
    };
    let mut widths: Vec<(usize, usize)> = columns.iter().map(|&c| (c, width(c))).collect();
    let too_wide = widths
        .iter()
        .map(|(_, width)| width + 2)
        .sum::<usize>()
        .saturating_sub(WIDTH);
    for (_, width) in widths.iter_mut().filter(|(column, _)| *column == NAME) {
        *width = width.saturating_sub(too_wide).max(HEADS[NAME].len());
    }
    let line = |row: &Row| {
        let cells = widths.iter().map(|&(column, width)| match column {
            NAME => format!("  {:<width$}", cut(&cell(row, column), width)),
            _ => format!("  {:>width$}", cell(row, column)),
        });
        cells.collect::<String>()
    };
    writeln!(out, "{}", style.bold(&line(&heads)))?;
    rows.iter()
        .try_for_each(|row| writeln!(out, "{}", line(row)))
}

/// One line about threads that have no row.
fn left_out<'a>(
    out: &mut dyn Write,
    more: impl Iterator<Item = &'a ThreadReport>,
    process: &ProcessReport,
) -> io::Result<()> {
    let (number, waited_ns) = more.fold((0_u64, 0_u64), |(number, sum), thread| {
        (number + 1, sum.saturating_add(thread.waited_ns()))
    });
    let idle = process
        .threads
        .iter()
        .filter(|thread| thread.waited_ns() == 0)
        .count() as u64;
    let mut parts = Vec::new();
    if number > 0 {
        parts.push(format!(
            "{} more waited {} in all",
            count(number),
            time(waited_ns)
        ));
    }
    if idle > 0 && idle < process.threads.len() as u64 {
        parts.push(format!("{} did not wait", counted(idle, "thread")));
    }
    if parts.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "Not shown: {} (--all-threads shows them).",
        parts.join("; ")
    )
}
