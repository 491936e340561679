//! Pairs of runs, to a Markdown table.

use std::fmt;

use super::tracer::Run;

/// The pairs of one workload and one tool.
#[derive(Default)]
pub struct Cell {
    ratios: Vec<f64>,
    cpu: Vec<f64>,
    memory: u64,
}

impl Cell {
    /// Adds a pair: the untraced rate, and the traced run next to it.
    pub fn add(&mut self, untraced_rate: f64, traced: Run) {
        self.ratios.push(traced.rate / untraced_rate);
        self.cpu.push(traced.cpu);
        self.memory = self.memory.max(traced.memory);
    }

    fn ratio(&self) -> String {
        let (low, high) = self
            .ratios
            .iter()
            .fold((f64::INFINITY, 0.0_f64), |(low, high), ratio| {
                (low.min(*ratio), high.max(*ratio))
            });
        median(&self.ratios).map_or_else(
            || "–".to_owned(),
            |median| format!("{median:.3} ({low:.3}–{high:.3})"),
        )
    }

    fn cpu(&self) -> String {
        median(&self.cpu).map_or_else(|| "–".to_owned(), percent)
    }
}

/// A share of a core.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// So many in a second.
pub fn rate(calls: f64) -> String {
    format!("{calls:.0}")
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some(lower.midpoint(*upper))
}

/// Tools by workloads.
pub struct Table {
    workloads: Vec<String>,
    rows: Vec<(&'static str, Vec<Cell>)>,
    figures: Vec<(&'static str, Vec<String>)>,
    absent: Vec<(&'static str, String)>,
}

impl Table {
    /// An empty table with these columns.
    pub fn new(workloads: &[&str]) -> Self {
        Self {
            workloads: workloads.iter().map(|name| (*name).to_owned()).collect(),
            rows: Vec::new(),
            figures: Vec::new(),
            absent: Vec::new(),
        }
    }

    /// Adds a tool's row.
    pub fn add(&mut self, tool: &'static str, cells: Vec<Cell>) {
        self.rows.push((tool, cells));
    }

    /// Adds a figure of each workload that no pair tells.
    pub fn add_figures(&mut self, what: &'static str, figures: Vec<String>) {
        self.figures.push((what, figures));
    }

    /// Notes a tool that could not be measured.
    pub fn add_absent(&mut self, tool: &'static str, why: &str) {
        self.absent.push((tool, why.to_owned()));
    }

    fn head(&self, f: &mut fmt::Formatter<'_>, first: &str, last: &str) -> fmt::Result {
        writeln!(f, "| {first} | {} |{last}", self.workloads.join(" | "))?;
        writeln!(
            f,
            "|---|{}{}",
            "---:|".repeat(self.workloads.len()),
            if last.is_empty() { "" } else { "---:|" }
        )
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(
            f,
            "speed of the traced, to untraced: median (lowest–highest)",
            "",
        )?;
        for (tool, cells) in &self.rows {
            let ratios: Vec<_> = cells.iter().map(Cell::ratio).collect();
            writeln!(f, "| {tool} | {} |", ratios.join(" | "))?;
        }
        writeln!(f)?;
        self.head(
            f,
            "the tracer's own share of a core: median",
            " peak memory |",
        )?;
        for (tool, cells) in &self.rows {
            let cpu: Vec<_> = cells.iter().map(Cell::cpu).collect();
            let memory =
                cells.iter().map(|cell| cell.memory).max().unwrap_or(0) as f64 / f64::from(1 << 20);
            writeln!(f, "| {tool} | {} | {memory:.1} MiB |", cpu.join(" | "))?;
        }
        for (what, figures) in &self.figures {
            writeln!(f, "| ({what}) | {} | |", figures.join(" | "))?;
        }
        for (tool, why) in &self.absent {
            writeln!(f, "\nNot measured: {tool}: {why}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_or_between_the_two_middle_ones() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_table_of_one_tool_that_is_here_and_one_that_is_not() {
        let mut table = Table::new(&["spin", "pipe"]);
        let mut cell = Cell::default();
        for rate in [90.0, 100.0, 80.0] {
            cell.add(
                100.0,
                Run {
                    rate,
                    cpu: 0.01,
                    memory: 10 << 20,
                },
            );
        }
        table.add("one", vec![cell, Cell::default()]);
        for (what, figures) in [
            (
                "gilscope's programs, on the whole machine",
                [percent(0.0104), percent(0.6)],
            ),
            (
                "the target's futex calls in a second",
                [rate(12.3), rate(250_000.0)],
            ),
        ] {
            table.add_figures(what, figures.to_vec());
        }
        table.add_absent("other", "not here: pip install other");
        let expected = "\
| speed of the traced, to untraced: median (lowest–highest) | spin | pipe |
|---|---:|---:|
| one | 0.900 (0.800–1.000) | – |

| the tracer's own share of a core: median | spin | pipe | peak memory |
|---|---:|---:|---:|
| one | 1.0 % | – | 10.0 MiB |
| (gilscope's programs, on the whole machine) | 1.0 % | 60.0 % | |
| (the target's futex calls in a second) | 12 | 250000 | |

Not measured: other: not here: pip install other
";
        assert_eq!(table.to_string(), expected);
    }
}
