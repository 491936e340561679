//! Puts a report where the user wants it.

use super::options::{Options, StacksOf, Subject};
use crate::{
    model::Report,
    output::{
        Destination, Owner, flamegraph,
        folded::{self, Folded, Side},
        json, text,
    },
};
use anyhow::Context;
use std::{
    io::{self, IsTerminal, Write},
    path::Path,
};

/// Whether every file could be written, asked before anything is traced.
pub fn check(options: &Options) -> anyhow::Result<()> {
    for file in options.files() {
        destination(file).check()?;
    }
    Ok(())
}

/// Writes the text report, and each file that is wanted.
pub fn write(options: &Options, report: &Report) -> anyhow::Result<()> {
    let owner = Owner::of_sudo();
    if let Some(file) = &options.json {
        destination(file).write(owner, |out| json::write(out, report))?;
    }
    let side = match options.stacks_of {
        StacksOf::Holder => Side::Holder,
        StacksOf::Waiter => Side::Waiter,
    };
    if let Some(file) = &options.folded {
        let folded = Folded::of(report, side);
        destination(file).write(owner, |out| folded::write(out, &folded))?;
    }
    if let Some(file) = &options.flamegraph {
        let folded = Folded::of(report, side);
        destination(file).write(owner, |out| flamegraph::write(out, &folded, side))?;
    }
    let stdout_is_taken = (options.files()).any(|file| destination(file) == Destination::Stdout);
    match &options.subject {
        Subject::Processes(_) if stdout_is_taken => Ok(()),
        Subject::Processes(_) => write_text(options, report, io::stdout()),
        Subject::Command(_) => write_text(options, report, io::stderr()),
    }
}

fn destination(file: &Path) -> Destination {
    Destination::new(file.as_os_str())
}

fn write_text(
    options: &Options,
    report: &Report,
    stream: impl Write + IsTerminal,
) -> anyhow::Result<()> {
    let style = style(&stream);
    let mut out = io::BufWriter::new(stream);
    let written =
        text::write(&mut out, report, style, options.all_threads).and_then(|()| out.flush());
    match written {
        // Its reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write the report"),
    }
}

/// How text looks on a stream.
pub fn style(stream: &impl IsTerminal) -> text::Style {
    text::Style {
        colour: stream.is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    }
}
