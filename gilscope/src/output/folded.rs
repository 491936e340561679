//! Time waited by stack, in the lines that flame-graph tools read: `outermost;…;innermost microseconds`.

use super::shown::name;
use crate::model::{BlockedAt, Frame, ProcessReport, PythonStack, Report};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

/// Characters of one name: the rest is cut off.
const WIDTH: usize = 512;
/// Stands for a stack that is not known.
const NOT_READ: &str = "[not read]";
/// Below the stacks of those who dropped it.
const NOBODY: &str = "[nobody: dropped, not yet taken]";
/// Stands for all of them where there is none.
pub(super) const NOTHING: &str = "[nobody waited for a GIL]";

/// Whose stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Of the threads that had the GIL while others waited for it.
    Holder,
    /// Of the threads that waited.
    Waiter,
}

/// Time waited by stack. All of it: what no stack is known of has a line that says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// In nanoseconds.
    stacks: BTreeMap<String, u64>,
}

impl Folded {
    /// Folds what a report has of one side.
    pub fn of(report: &Report, side: Side) -> Self {
        let mut folded = Self::default();
        for process in &report.processes {
            match side {
                Side::Holder => folded.holders(process),
                Side::Waiter => folded.waiters(process),
            }
        }
        folded
    }

    /// Stacks with their microseconds, in the order of their names, which flame graphs are drawn in. Rounding is carried on to the next,
    /// so that the sum is right however small they are; what is too small for a microsecond is left out.
    pub fn lines(&self) -> impl Iterator<Item = (&str, u64)> {
        let mut carried_ns = 500;
        self.stacks.iter().filter_map(move |(stack, ns)| {
            let ns = ns.saturating_add(carried_ns);
            carried_ns = ns % 1_000;
            (ns >= 1_000).then_some((stack.as_str(), ns / 1_000))
        })
    }

    fn holders(&mut self, process: &ProcessReport) {
        // What the rows of one holder have that no stack is known of.
        let mut rest_ns: BTreeMap<u32, u64> = BTreeMap::new();
        for row in &process.blocked_by {
            let rest_ns = rest_ns.entry(row.holder).or_default();
            *rest_ns = rest_ns.saturating_add(row.sum_ns);
        }
        let mut unknown_ns = process.blocked_by_unknown_ns;
        let mut nobody_ns = process.blocked_by_nobody_ns;
        let root = root(process);
        let nobody = format!("{root};{NOBODY}");
        for row in &process.waited_at {
            let Some(stack) = stack(process, row.holder_stack) else {
                continue;
            };
            let (below, rest_ns) = match row.holder {
                Some(holder) => (
                    format!("{root};{}", thread(process, holder)),
                    rest_ns.entry(holder).or_default(),
                ),
                None => (nobody.clone(), &mut nobody_ns),
            };
            self.add(&stacked(&below, stack), row.sum_ns);
            // Rows of pairs beyond the limit are gone, and their time is in the unknown.
            let gone_ns = row.sum_ns.saturating_sub(*rest_ns);
            *rest_ns = rest_ns.saturating_sub(row.sum_ns);
            unknown_ns = unknown_ns.saturating_sub(gone_ns);
        }
        for (tid, ns) in rest_ns {
            let thread = thread(process, tid);
            self.add(&format!("{root};{thread};{NOT_READ}"), ns);
        }
        self.add(&nobody, nobody_ns);
        self.add(&format!("{root};[holder not known]"), unknown_ns);
    }

    fn waiters(&mut self, process: &ProcessReport) {
        let root = root(process);
        let waited_ns = process.blocked_by.iter().map(|row| row.sum_ns);
        let mut rest_ns = waited_ns
            .chain([process.blocked_by_nobody_ns, process.blocked_by_unknown_ns])
            .fold(0, u64::saturating_add);
        for BlockedAt {
            waiter_stack,
            sum_ns,
            ..
        } in &process.waited_at
        {
            if let Some(stack) = stack(process, *waiter_stack) {
                self.add(&stacked(&root, stack), *sum_ns);
                rest_ns = rest_ns.saturating_sub(*sum_ns);
            }
        }
        self.add(&format!("{root};{NOT_READ}"), rest_ns);
    }

    fn add(&mut self, stack: &str, ns: u64) {
        if ns > 0 {
            let sum_ns = self.stacks.entry(stack.to_owned()).or_default();
            *sum_ns = sum_ns.saturating_add(ns);
        }
    }
}

/// Writes one line a stack; there is always one.
pub fn write(out: &mut dyn Write, folded: &Folded) -> io::Result<()> {
    let mut lines = folded.lines().peekable();
    if lines.peek().is_none() {
        writeln!(out, "{NOTHING} 0")?;
    }
    lines.try_for_each(|(stack, us)| writeln!(out, "{stack} {us}"))
}

fn stack(process: &ProcessReport, index: Option<usize>) -> Option<&PythonStack> {
    process.stacks.get(index?)
}

/// A stack on its root, outermost first. What is missing of it is taken to be there.
fn stacked(root: &str, stack: &PythonStack) -> String {
    let truncated = stack.truncated.then(|| "[truncated]".to_owned());
    let unreadable = (stack.unreadable > 0).then(|| "[unreadable]".to_owned());
    let frames = stack.frames.iter().rev().map(place);
    let names = truncated.into_iter().chain(unreadable).chain(frames);
    names.fold(root.to_owned(), |stack, name| format!("{stack};{name}"))
}

fn place(frame: &Frame) -> String {
    let function = harmless(frame.qualified_name.as_ref().unwrap_or(&frame.name));
    let line = frame.line.map_or(String::new(), |line| format!(":{line}"));
    // It ends in a bracket, never in a number, which would be taken for the figure.
    format!("{function} ({}{line})", harmless(&frame.file))
}

fn root(process: &ProcessReport) -> String {
    let file = Path::new(&process.exe).file_name();
    let file = file.map_or_else(
        || process.exe.as_str().into(),
        |file| file.to_string_lossy(),
    );
    format!("{} {}", process.pid, harmless(&file))
}

fn thread(process: &ProcessReport, tid: u32) -> String {
    let thread = process.threads.iter().find(|thread| thread.tid == tid);
    let called = thread.and_then(|thread| thread.name.as_ref().or(thread.os_name.as_ref()));
    format!("{tid} {}", harmless(called.map_or("?", String::as_str)))
}

/// Without line breaks and what else is not to be shown, nor the `;` that parts frames.
fn harmless(text: &str) -> String {
    name(text, WIDTH).replace(';', ":")
}

#[cfg(test)]
mod tests;
