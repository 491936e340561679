//! What is wrong with the process: the verdict, where, and what to do; then what else was found.

use super::{
    Style, WIDTH,
    places::{frames, place},
};
use crate::model::{Finding, ProcessReport, Rule};
use crate::output::shown::{cut, sentence};
use std::io::{self, Write};

/// Functions of a place that are shown: a lock is taken some functions below the program's own.
const FRAMES: usize = 8;
/// Characters of a sentence, in which a target's names may be.
const SENTENCE: usize = 400;

/// Writes the findings, the most important first.
pub(super) fn write(out: &mut dyn Write, process: &ProcessReport, style: Style) -> io::Result<()> {
    let mut title = "Verdict";
    for finding in &process.findings {
        let name = name(finding.rule);
        let line = format!("{title}: {name}");
        let line = match finding.rule {
            Rule::Healthy => style.bold(&line),
            _ => style.warn(&line),
        };
        writeln!(out, "{line}")?;
        explain(out, process, finding, style)?;
        title = "Also";
    }
    Ok(())
}

/// As people call it.
fn name(rule: Rule) -> &'static str {
    match rule {
        Rule::Deadlock => "deadlock",
        Rule::AsleepWithGil => "asleep with the GIL held",
        Rule::GcPauses => "pauses to collect garbage",
        Rule::NativeHoldsGil => "native code that keeps the GIL",
        Rule::IdlePollers => "idle threads that poll",
        Rule::GilThrash => "GIL thrash",
        Rule::Convoy => "convoy",
        Rule::TightLoop => "tight loop",
        Rule::GilBound => "threads that compute share one GIL",
        Rule::Oversubscribed => "more to run than processors",
        Rule::Healthy => "healthy",
        Rule::NotJudged => "not judged",
    }
}

fn explain(
    out: &mut dyn Write,
    process: &ProcessReport,
    finding: &Finding,
    style: Style,
) -> io::Result<()> {
    wrapped(out, &cut(&sentence(&finding.says), SENTENCE))?;
    let stack = finding
        .stack
        .map_or(&[][..], |stack| frames(process, stack));
    for (nth, frame) in stack.iter().take(FRAMES).enumerate() {
        let place = place(frame);
        match nth {
            0 => writeln!(out, "  in {}", style.bold(&place))?,
            _ => writeln!(out, "{}", style.dim(&format!("    called in {place}")))?,
        }
    }
    finding
        .suggestion
        .map_or(Ok(()), |what| wrapped(out, &format!("To do: {what}")))
}

/// Lines of words, indented.
fn wrapped(out: &mut dyn Write, text: &str) -> io::Result<()> {
    let mut line = String::new();
    for word in text.split_whitespace() {
        let word = cut(word, WIDTH - 2);
        let length = line.chars().count() + 1 + word.chars().count();
        if !line.is_empty() && length + 2 > WIDTH {
            writeln!(out, "  {line}")?;
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    writeln!(out, "  {line}")
}
