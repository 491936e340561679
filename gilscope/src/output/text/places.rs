//! Where threads were as they waited for the GIL, and where the one was that had it.

use super::Style;
use crate::model::{BlockedAt, Frame, ProcessReport};
use crate::output::shown::{name, share, time};
use std::{
    cmp::Reverse,
    collections::HashMap,
    io::{self, Write},
};

/// Places that are shown.
const WORST: usize = 3;
/// Callers that are shown of each.
const CALLERS: usize = 2;
/// Columns of a function, and of a file.
const FUNCTION: usize = 24;
const FILE: usize = 36;

/// Writes at which lines the GIL was held while others waited, and where those were; nothing if that is known of none.
pub(super) fn write(out: &mut dyn Write, process: &ProcessReport, style: Style) -> io::Result<()> {
    let of_holder = sums(process, |row| row.holder_stack, |row| row.holder.is_some());
    if of_holder.is_empty() {
        return Ok(());
    }
    let waited_ns = process.blocked_by.iter().map(|row| row.sum_ns);
    let waited_ns = waited_ns
        .chain([process.blocked_by_nobody_ns, process.blocked_by_unknown_ns])
        .fold(0, u64::saturating_add);
    let part = |ns| share(ns, waited_ns).unwrap_or_else(|| "–".to_owned());
    let title = "Where it was had:";
    writeln!(out, "\n{}", style.bold(title))?;
    for (stack, sum_ns) in of_holder.iter().take(WORST) {
        let mut frames = frames(process, *stack).iter();
        let first = frames.next().map_or(String::new(), place);
        writeln!(out, "  {first}: {} ({})", time(*sum_ns), part(*sum_ns))?;
        for caller in frames.take(CALLERS) {
            writeln!(
                out,
                "{}",
                style.dim(&format!("    called in {}", place(caller)))
            )?;
        }
        let waiters = sums(
            process,
            |row| row.waiter_stack,
            |row| {
                let line = row.holder.and(row.holder_stack);
                line.is_some_and(|index| same_line(process, index, *stack))
            },
        );
        if let Some((waiter, sum_ns)) = waiters.first() {
            let first = frames_first(process, *waiter);
            writeln!(out, "    waited for in {first}: {}", time(*sum_ns))?;
        }
    }
    let dropped = sums(process, |row| row.holder_stack, |row| row.holder.is_none());
    if let Some((stack, sum_ns)) = dropped.first() {
        let first = frames_first(process, *stack);
        let (time, part) = (time(*sum_ns), part(*sum_ns));
        writeln!(
            out,
            "  Nobody had it yet, mostly after it was dropped in\n  {first}: {time} ({part})"
        )?;
    }
    writeln!(
        out,
        "  Both places are known for {} of the time waited.",
        part(process.waited_at_both_ns)
    )
}

/// Time by the line of one of the stacks, longest first: each by a stack that is in it, the one that comes first.
fn sums(
    process: &ProcessReport,
    of: impl Fn(&BlockedAt) -> Option<usize>,
    wanted: impl Fn(&BlockedAt) -> bool,
) -> Vec<(usize, u64)> {
    let mut sums: HashMap<Option<&Frame>, (usize, u64)> = HashMap::new();
    for row in process.waited_at.iter().filter(|row| wanted(row)) {
        let Some(index) = of(row) else {
            continue;
        };
        let line = frames(process, index).first();
        let (_, sum_ns) = sums.entry(line).or_insert((index, 0));
        *sum_ns = sum_ns.saturating_add(row.sum_ns);
    }
    let mut sums: Vec<_> = sums.into_values().collect();
    sums.sort_by_key(|(index, sum_ns)| (Reverse(*sum_ns), *index));
    sums
}

fn same_line(process: &ProcessReport, one: usize, other: usize) -> bool {
    frames(process, one).first() == frames(process, other).first()
}

/// The functions of a stack; none if there is no such stack.
pub(super) fn frames(process: &ProcessReport, stack: usize) -> &[Frame] {
    process.stacks.get(stack).map_or(&[], |stack| &stack.frames)
}

fn frames_first(process: &ProcessReport, stack: usize) -> String {
    frames(process, stack).first().map_or(String::new(), place)
}

/// A function and its line.
pub(super) fn place(frame: &Frame) -> String {
    let function = frame.qualified_name.as_ref().unwrap_or(&frame.name);
    let line = frame.line.map_or(String::new(), |line| format!(":{line}"));
    format!(
        "{}, {}{line}",
        name(function, FUNCTION),
        name(&frame.file, FILE)
    )
}
