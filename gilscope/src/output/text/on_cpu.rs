//! What ran with the GIL held: Python or native code, and which.

use super::Style;
use crate::model::{NativeFunction, ProcessReport};
use crate::output::shown::{counted, name, share};
use std::io::{self, Write};

/// Fewer samples say nothing.
const SAMPLES: u64 = 20;
/// Functions that are shown, and the share of the samples that each has at least, in percent.
const FUNCTIONS: usize = 3;
const PERCENT: u64 = 2;
/// Callers that are shown of each.
const CALLERS: usize = 2;
/// Columns of a library, and of a function.
const LIBRARY: usize = 32;
const FUNCTION: usize = 36;

/// Writes what the process's threads ran as they had the GIL, if that was seen often enough.
pub(super) fn write(out: &mut dyn Write, process: &ProcessReport, style: Style) -> io::Result<()> {
    // It hinders nobody whom nobody waits for.
    let hinders = process.contended_ns > 0;
    let Some(samples) = (process.on_cpu_samples).filter(|it| hinders && it.taken >= SAMPLES) else {
        return Ok(());
    };
    let part = |count| share(count, samples.taken).unwrap_or_else(|| "–".to_owned());
    let title = "What ran with it:";
    writeln!(
        out,
        "\n{} Python {}, native code {}{} ({}).",
        style.bold(title),
        part(samples.python),
        part(samples.native),
        match samples.unknown {
            0 => String::new(),
            unknown => format!(", not known {}", part(unknown)),
        },
        counted(samples.taken, "sample"),
    )?;
    let is_shown = |count: u64| count.saturating_mul(100) >= samples.taken.saturating_mul(PERCENT);
    let rows = process.native_at.iter().filter(|row| is_shown(row.samples));
    for row in rows.take(FUNCTIONS) {
        writeln!(
            out,
            "  {}: thread {}, {}",
            function(&row.at),
            row.holder,
            part(row.samples),
        )?;
        let callers = row.callers.iter().take(CALLERS);
        let callers = callers.filter_map(|it| Some((it.functions.last()?, it.samples)));
        for (caller, samples) in callers.filter(|(_, samples)| is_shown(*samples)) {
            writeln!(
                out,
                "    called from {}: {}",
                function(caller),
                part(samples)
            )?;
        }
    }
    Ok(())
}

fn function(at: &NativeFunction) -> String {
    let function = at.function.as_deref();
    let function = function.map_or("(no symbol)".to_owned(), |it| name(it, FUNCTION));
    format!("{} {function}", name(&at.library, LIBRARY))
}
