//! The published table.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::{Comparison, Figure, Pair};

const BEGIN: &str = "<!-- accuracy:begin -->";
const END: &str = "<!-- accuracy:end -->";

const HEAD: &str = "\
| | | waits: oracle | gilscope | error | total wait: oracle | gilscope | error | p50 | p99 | max | worst thread: waits, total, p50, p99, max | forced switches: oracle | number, total | holder: known, nobody, unknown | of the first two, wrong |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|--:|---|---|--:|
";

/// All runs in Markdown, one a row. `skipped` says what was not judged, and why.
pub fn markdown(runs: &[Comparison], skipped: &[String], command: &str) -> String {
    let mut text = HEAD.to_owned();
    let mut before = "";
    for run in runs {
        let python = if run.python == before {
            ""
        } else {
            &run.python
        };
        before = &run.python;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {python} | {} |{}", run.workload, row(run));
    }
    let _ = writeln!(text, "\n{}Made by `{command}`.", summary(runs));
    for one in skipped {
        let _ = writeln!(text, "Not judged: {one}.");
    }
    text
}

fn row(run: &Comparison) -> String {
    let Pair {
        oracle, gilscope, ..
    } = run.waits;
    let error = |figure| judged(&run.waits, figure);
    let worst: Vec<_> = Figure::ALL
        .iter()
        .map(|&figure| percent(run.worst_thread(figure)))
        .collect();
    let worst = if run.judged_threads().next().is_some() {
        worst.join(", ")
    } else {
        "–".to_owned()
    };
    let yields = [Figure::Count, Figure::Sum]
        .map(|figure| judged(&run.yields, figure))
        .join(", ");
    let of_100 = |share: f64| format!("{:.2} %", share * 100.0);
    let holders = run.holders.shares();
    let holders = holders.map_or("–".to_owned(), |shares| shares.map(of_100).join(", "));
    let wrong = run.holders.wrong().map_or("–".to_owned(), of_100);
    format!(
        " {} | {} | {} | {} | {} | {} | {} | {} | {} | {worst} | {} | {yields} | {holders} | {wrong} |",
        thousands(oracle.count),
        thousands(gilscope.count),
        error(Figure::Count),
        seconds(oracle.sum_ns),
        seconds(gilscope.sum_ns),
        error(Figure::Sum),
        error(Figure::P50),
        error(Figure::P99),
        error(Figure::Max),
        thousands(run.yields.oracle.count),
    )
}

/// An error, where there are waits enough for it to mean something.
fn judged(pair: &Pair, figure: Figure) -> String {
    percent(
        pair.error(figure)
            .filter(|_| pair.judged().contains(&figure)),
    )
}

fn percent(error: Option<f64>) -> String {
    // No "-0.00".
    error.map_or("–".to_owned(), |error| {
        let hundredths = (error * 10_000.0).round() / 100.0;
        format!("{:+.2} %", hundredths + 0.0).replace('-', "−")
    })
}

fn seconds(ns: u64) -> String {
    format!("{:.3} s", ns as f64 / 1e9)
}

/// `1,234,567`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The worst of each figure over all runs.
fn summary(runs: &[Comparison]) -> String {
    let mut text = "Worst of all runs:".to_owned();
    for (figure, separator) in Figure::ALL.into_iter().zip(["", ";", ";", ";", ";"]) {
        let processes = runs
            .iter()
            .filter(|run| run.waits.judged().contains(&figure));
        let process = worst(processes.map(|run| run.waits.error(figure)));
        let thread = worst(runs.iter().map(|run| run.worst_thread(figure)));
        let _ = write!(
            text,
            "{separator} {figure} {} (of a thread {}, bound {} %)",
            percent(process),
            percent(thread),
            figure.bound() * 100.0
        );
    }
    let unseen = runs.iter().map(|run| run.without_futex).sum::<u64>();
    let waits = runs.iter().map(|run| run.waits.oracle.count).sum::<u64>();
    let _ = writeln!(
        text,
        ". Contended acquisitions that made no futex call, and are not among the waits: {} beside {}.",
        thousands(unseen),
        thousands(waits)
    );
    text
}

fn worst(errors: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    errors.flatten().max_by(|a, b| a.abs().total_cmp(&b.abs()))
}

/// Puts the table between its markers in a document.
pub fn between_markers(document: &str, table: &str) -> Result<String> {
    let missing = || format!("no {BEGIN} … {END} in it");
    let (head, rest) = document.split_once(BEGIN).with_context(missing)?;
    let (_, tail) = rest.split_once(END).with_context(missing)?;
    Ok(format!("{head}{BEGIN}\n{table}{END}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(thousands),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(percent(Some(-0.01234)), "−1.23 %");
        assert_eq!(percent(Some(-0.000_001)), "+0.00 %");
        assert_eq!(percent(None), "–");
    }

    #[test]
    fn the_table_is_put_between_its_markers_and_nowhere_else() {
        let before = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let after = between_markers(&before, "new\n").unwrap();
        assert_eq!(after, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert_eq!(between_markers(&after, "new\n").unwrap(), after);
        between_markers("no markers", "new\n").unwrap_err();
    }
}
