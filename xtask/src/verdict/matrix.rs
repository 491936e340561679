//! Judgements, to Markdown: the confusion matrix, the shares, and what is wrong.

use std::fmt::Write as _;

use gilscope_tests::{Judgement, RULES, RUNS, Truth};

use super::programs::Case;

/// A judgement, and what of.
pub struct Judged {
    /// The interpreter's name.
    pub python: String,
    /// The program.
    pub case: Case,
    /// What was said of it.
    pub judgement: Judgement,
}

/// All judgements; `skipped` says what was not judged, and why.
pub fn markdown(all: &[Judged], skipped: &[String], command: &str) -> String {
    let mut text = matrix(all);
    text.push('\n');
    text.push_str(&summary(all));
    // Writing to a String cannot fail.
    let _ = writeln!(text, "Made by `{command}`.");
    for one in skipped {
        let _ = writeln!(text, "Not judged: {one}.");
    }
    text
}

/// A row for each truth, and in it how often each rule was said first.
fn matrix(all: &[Judged]) -> String {
    let mut truths: Vec<_> = all.iter().map(|one| &one.judgement.truth).collect();
    truths.sort_by_key(|truth| place(truth));
    truths.dedup_by_key(|truth| name(truth));
    let is_said = |rule: &&str| all.iter().any(|one| one.judgement.verdict() == *rule);
    let columns: Vec<_> = RULES.into_iter().filter(is_said).collect();
    let mut text = format!(
        "| it is | {} | right | right places |\n|---|{}--:|--:|\n",
        columns.join(" | "),
        "--:|".repeat(columns.len())
    );
    for row in truths {
        let of_it = |one: &&Judged| name(&one.judgement.truth) == name(row);
        let of_it: Vec<_> = all.iter().filter(of_it).collect();
        let cells: Vec<_> = columns.iter().map(|rule| cell(&of_it, rule)).collect();
        let right = Share::of(of_it.iter().map(|one| Some(one.judgement.right)));
        let places = Share::of(of_it.iter().map(|one| one.judgement.place));
        let _ = writeln!(
            text,
            "| {} | {} | {right} | {places} |",
            name(row),
            cells.join(" | ")
        );
    }
    text
}

/// How often a rule came first; what is wrong apart, as some may also be said of what is known by another name.
fn cell(of_it: &[&Judged], rule: &str) -> String {
    let said = of_it.iter().map(|one| &one.judgement);
    let (right, wrong): (Vec<_>, Vec<_>) = said
        .filter(|judgement| judgement.verdict() == rule)
        .partition(|judgement| judgement.right);
    match (right.len(), wrong.len()) {
        (0, 0) => String::new(),
        (right, 0) => right.to_string(),
        (0, wrong) => format!("{wrong} wrong"),
        (right, wrong) => format!("{right}, {wrong} wrong"),
    }
}

/// Its row's place among the rows: the rules' order, and what is healthy by itself before what only looks otherwise.
fn place(truth: &Truth) -> (Option<usize>, Option<usize>) {
    let of = |name: &str| RULES.iter().position(|rule| *rule == name);
    (of(&truth.finding), truth.near.as_deref().and_then(of))
}

/// Its row's name.
fn name(truth: &Truth) -> String {
    match &truth.near {
        Some(near) => format!("{}, near {near}", truth.finding),
        None => truth.finding.clone(),
    }
}

fn summary(all: &[Judged]) -> String {
    let right = Share::of(all.iter().map(|one| Some(one.judgement.right)));
    let places = Share::of(all.iter().map(|one| one.judgement.place));
    let disturbed: usize = all.iter().map(|one| one.judgement.disturbed).sum();
    let mut text = format!(
        "Right: {}. Right places: {}. Disturbed runs, for want of processors: {disturbed}.\n",
        right.percent(),
        places.percent()
    );
    for one in all.iter().filter(|one| !one.judgement.is_flawless()) {
        let Judged {
            python,
            case,
            judgement,
        } = one;
        let disturbed = if judgement.disturbed == RUNS {
            ", disturbed each time"
        } else {
            ""
        };
        let _ = writeln!(text, "Wrong{disturbed}: {python}: {case}: {judgement}");
    }
    text
}

/// So many of so many.
#[derive(Clone, Copy)]
struct Share {
    right: usize,
    all: usize,
}

impl Share {
    /// Of those that have an answer.
    fn of(answers: impl Iterator<Item = Option<bool>>) -> Self {
        let answers: Vec<_> = answers.flatten().collect();
        Self {
            right: answers.iter().filter(|right| **right).count(),
            all: answers.len(),
        }
    }

    fn percent(self) -> String {
        if self.all == 0 {
            return "–".to_owned();
        }
        let percent = 100.0 * self.right as f64 / self.all as f64;
        // What is not quite all is not to be rounded up to it.
        let percent = (percent * 10.0).floor() / 10.0;
        format!("{self}, {percent:.1} %")
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.all {
            0 => f.write_str("–"),
            all => write!(f, "{} of {all}", self.right),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gilscope_tests::Said;

    /// What was said of a program with one process; with a frame where this truth's place is, if it has one.
    fn judged(truth: &Truth, rule: &str, is_placed: bool) -> Judged {
        let frame = serde_json::json!({"name": truth.function, "file": truth.file, "line": truth.lines.first()});
        let said = Said {
            pid: 7,
            rules: vec![rule.to_owned()],
            says: "It is so.".to_owned(),
            frames: if is_placed { vec![frame] } else { Vec::new() },
        };
        Judged {
            python: "pyenv 3.13.0".to_owned(),
            case: Case {
                name: "incidents/udp_echo".to_owned(),
                arguments: Vec::new(),
            },
            judgement: Judgement::new(truth.clone(), vec![said]),
        }
    }

    fn convoy() -> Truth {
        Truth {
            finding: "convoy".to_owned(),
            also: vec!["tight-loop".to_owned()],
            processes: vec![7],
            function: Some("spin".to_owned()),
            file: Some("/w.py".into()),
            lines: vec![3],
            ..Truth::default()
        }
    }

    fn healthy(near: Option<&str>) -> Truth {
        Truth {
            finding: "healthy".to_owned(),
            near: near.map(str::to_owned),
            processes: vec![7],
            ..Truth::default()
        }
    }

    #[test]
    fn a_row_for_each_truth_and_a_column_for_each_rule() {
        let all = [
            judged(&healthy(None), "healthy", false),
            judged(&healthy(Some("convoy")), "convoy", false),
            judged(&convoy(), "convoy", true),
            judged(&convoy(), "convoy", false),
            judged(&convoy(), "tight-loop", true),
            judged(&convoy(), "gc-pauses", true),
        ];
        assert_eq!(
            markdown(&all, &["pypi: not made".to_owned()], "cargo xtask verdict"),
            "\
| it is | gc-pauses | convoy | tight-loop | healthy | right | right places |
|---|--:|--:|--:|--:|--:|--:|
| convoy | 1 wrong | 2 | 1 |  | 3 of 4 | 2 of 3 |
| healthy |  |  |  | 1 | 1 of 1 | – |
| healthy, near convoy |  | 1 wrong |  |  | 0 of 1 | – |

Right: 4 of 6, 66.6 %. Right places: 2 of 3, 66.6 %. Disturbed runs, for want of processors: 0.
Wrong: pyenv 3.13.0: incidents/udp_echo: it is healthy, near convoy; 7: convoy (It is so.)
Wrong: pyenv 3.13.0: incidents/udp_echo: it is convoy; 7: convoy (It is so.), nowhere; but it is in spin, /w.py:[3]
Wrong: pyenv 3.13.0: incidents/udp_echo: it is convoy; 7: gc-pauses (It is so.)
Made by `cargo xtask verdict`.
Not judged: pypi: not made.
"
        );
    }

    #[test]
    fn what_was_disturbed_each_time_is_wrong_and_says_why() {
        let mut one = judged(&convoy(), "oversubscribed", false);
        one.judgement.disturbed = RUNS;
        let text = markdown(&[one], &[], "x");
        assert!(text.contains("| convoy | 1 wrong | 0 of 1 | – |"), "{text}");
        assert!(text.contains("want of processors: 3.\n"), "{text}");
        assert!(text.contains("Wrong, disturbed each time: "), "{text}");
    }

    #[test]
    fn all_is_all() {
        let share = |right, all| Share { right, all }.percent();
        assert_eq!(share(1999, 2000), "1999 of 2000, 99.9 %");
        assert_eq!(share(2000, 2000), "2000 of 2000, 100.0 %");
        assert_eq!(share(0, 0), "–");
    }
}
