//! The report for programs: JSON as `docs/report.schema.json` describes it.

use crate::model::Report;
use std::io::{self, Write};

/// Writes a report, indented, with a newline at its end.
pub fn write(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests;
