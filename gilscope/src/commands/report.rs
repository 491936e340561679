//! Puts a report where the user wants it.

use super::options::{Options, Subject};
use crate::{
    model::Report,
    output::{Destination, Owner, json, text},
};
use anyhow::Context;
use std::io::{self, IsTerminal, Write};

/// Whether the JSON report could be written, asked before anything is traced.
pub fn check(options: &Options) -> anyhow::Result<()> {
    if let Some(json) = &options.json {
        Destination::new(json.as_os_str()).check()?;
    }
    Ok(())
}

/// Writes the text report, and the JSON report where it is wanted.
pub fn write(options: &Options, report: &Report) -> anyhow::Result<()> {
    let destination = options
        .json
        .as_ref()
        .map(|json| Destination::new(json.as_os_str()));
    if let Some(destination) = &destination {
        destination.write(Owner::of_sudo(), |out| json::write(out, report))?;
    }
    match (&options.subject, destination) {
        (Subject::Processes(_), Some(Destination::Stdout)) => Ok(()),
        (Subject::Processes(_), _) => write_text(options, report, io::stdout()),
        (Subject::Command(_), _) => write_text(options, report, io::stderr()),
    }
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
