//! The report and the dump for programs: JSON as `docs/report.schema.json` and `docs/dump.schema.json` describe it.

use serde::Serialize;
use std::io::{self, Write};

/// Writes either, indented, with a newline at its end.
pub fn write(out: &mut dyn Write, what: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, what)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests;
