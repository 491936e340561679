//! What gilscope says of a program that knows what is wrong with it, and whether that is right.

use std::{fmt, time::Duration};

use serde_json::Value;

use crate::{Process, Program, Python, Truth};

/// All that may be said of a process.
pub const RULES: [&str; 12] = [
    "deadlock",
    "asleep-with-gil",
    "gc-pauses",
    "native-holds-gil",
    "idle-pollers",
    "gil-thrash",
    "convoy",
    "tight-loop",
    "gil-bound",
    "oversubscribed",
    HEALTHY,
    "not-judged",
];
/// A program is run so often at most, until a run is undisturbed.
pub const RUNS: usize = 3;

const HEALTHY: &str = "healthy";
/// What is said where other programs take the processors.
const DISTURBED: [&str; 2] = ["oversubscribed", "not-judged"];

/// What was said of a program, and what is so.
///
/// It is right if the first finding of each of the truth's processes is right. Findings after the first are not judged: what is wrong with a
/// program may well have several signs. With a healthy program each process has to be healthy, and nothing else.
///
/// The place is right if each process has it right.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// What the program says of itself.
    pub truth: Truth,
    /// What was said, of each of the truth's processes.
    pub said: Vec<Said>,
    /// Whether it is the right finding.
    pub right: bool,
    /// Whether it is in the right place; `None` if the finding is not right, or the truth has no place.
    pub place: Option<bool>,
    /// How many runs were disturbed; if [`RUNS`] were, this one as well.
    pub disturbed: usize,
}

/// What was said of a process.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its id.
    pub pid: u32,
    /// The rules, most important first. There is one at least.
    pub rules: Vec<String>,
    /// The first one in words.
    pub says: String,
    /// The frames of the first one's stack, innermost first. Empty if that is not known.
    pub frames: Vec<Value>,
}

/// Runs a program, traces it for so long, and judges what is said of it. Again if the run was disturbed, which it prints.
pub fn judge(python: &Python, name: &str, arguments: &[&str], length: Duration) -> Judgement {
    let mut disturbed = 0;
    loop {
        let (program, traced) = Program::trace(python, name, arguments, &[], length);
        let pids = program.truth.processes.iter();
        let said = pids.map(|pid| Said::of(traced.report.process(*pid)));
        let mut judgement = Judgement::new(program.truth.clone(), said.collect());
        if judgement.is_disturbed() {
            disturbed += 1;
            let program = [&[name], arguments].concat().join(" ");
            println!(
                "{}: {program}: disturbed, {disturbed} of {RUNS} times: {judgement}",
                python.name
            );
        }
        judgement.disturbed = disturbed;
        if !judgement.is_disturbed() || disturbed == RUNS {
            return judgement;
        }
    }
}

impl Judgement {
    /// Judges one run.
    pub fn new(truth: Truth, said: Vec<Said>) -> Self {
        let is_found = !said.is_empty() && said.iter().all(|one| truth.accepts(one.first()));
        let is_stray = said.iter().any(|one| one.stray(&truth).next().is_some());
        let right = is_found && !is_stray;
        let place = (right && truth.function.is_some()).then(|| {
            let mut finding = said.iter().filter(|one| truth.accepts(one.first()));
            finding.all(|one| one.frames.iter().any(|frame| truth.is_at(frame)))
        });
        Self {
            truth,
            said,
            right,
            place,
            disturbed: 0,
        }
    }

    /// Whether all that is wrong is that there were too few processors. Other programs may have had them.
    pub fn is_disturbed(&self) -> bool {
        let mut stray = self.stray().peekable();
        stray.peek().is_some() && stray.all(|rule| DISTURBED.contains(&rule))
    }

    /// What was said, in one word: what is wrong if anything is, else what is found, else that nothing is.
    pub fn verdict(&self) -> &str {
        // Where one that has it is said to be healthy, it was not found.
        let found = || self.said.first().filter(|_| self.right).map(Said::first);
        // Of a disturbed run, what is not the disturbance tells more.
        let graver = self.stray().find(|rule| !DISTURBED.contains(rule));
        let stray = || self.stray().next();
        graver.or_else(stray).or_else(found).unwrap_or(HEALTHY)
    }

    /// Whether nothing is wrong, of the finding or the place.
    pub fn is_flawless(&self) -> bool {
        self.right && self.place != Some(false)
    }

    fn stray(&self) -> impl Iterator<Item = &str> {
        self.said.iter().flat_map(|one| one.stray(&self.truth))
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Truth { finding, near, .. } = &self.truth;
        write!(f, "it is {finding}")?;
        if let Some(near) = near {
            write!(f, ", near {near}")?;
        }
        for said in &self.said {
            write!(f, "; {}: {}", said.pid, said.rules.join(", "))?;
            write!(f, " ({})", said.says)?;
            if self.place == Some(false) {
                write!(f, ", {}", said.place())?;
            }
        }
        if self.place == Some(false) {
            let Truth {
                function,
                file,
                lines,
                ..
            } = &self.truth;
            let function = function.as_deref().unwrap_or_default();
            let file = file.as_deref().unwrap_or("".as_ref());
            write!(f, "; but it is in {function}, {}:{lines:?}", file.display())?;
        }
        Ok(())
    }
}

impl Said {
    /// What the report says of a process.
    pub fn of(process: Process<'_>) -> Self {
        let findings = process.findings();
        let first = findings[0];
        Self {
            pid: process.pid(),
            rules: findings.iter().map(|one| one.rule().to_owned()).collect(),
            says: first.says().to_owned(),
            frames: first.frames().to_vec(),
        }
    }

    fn first(&self) -> &str {
        &self.rules[0]
    }

    /// What is said and not so.
    fn stray<'a>(&'a self, truth: &'a Truth) -> impl Iterator<Item = &'a str> {
        let judged = match truth.finding.as_str() {
            HEALTHY => self.rules.len(),
            _ => 1,
        };
        let rules = self.rules[..judged].iter().map(String::as_str);
        rules.filter(|rule| *rule != HEALTHY && !truth.accepts(rule))
    }

    fn place(&self) -> String {
        let frame = |frame: &Value| {
            let text = |field: &str| frame[field].as_str().unwrap_or("?").to_owned();
            format!("{}, {}:{}", text("name"), text("file"), frame["line"])
        };
        if self.frames.is_empty() {
            return "nowhere".to_owned();
        }
        let frames: Vec<_> = self.frames.iter().map(frame).collect();
        format!("in {}", frames.join(", called in "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn truth(told: Value) -> Truth {
        serde_json::from_value(told).unwrap()
    }

    fn convoy() -> Truth {
        truth(json!({
            "finding": "convoy", "also": ["tight-loop"], "processes": [7],
            "function": "spin", "file": "/w/workload.py", "lines": [124, 125],
        }))
    }

    /// A process as in a report, with these rules; the first is at the stack with this index.
    fn process(pid: u32, rules: &[&str], stack: Option<usize>) -> Value {
        let finding = |(index, rule): (usize, &&str)| {
            json!({
                "rule": rule, "says": "It is so.", "evidence": [], "suggestion": null, "threads": [],
                "stack": if index == 0 { json!(stack) } else { json!(null) },
            })
        };
        let frame =
            |name: &str, line| json!({"name": name, "file": "/w/workload.py", "line": line});
        json!({
            "pid": pid,
            "findings": rules.iter().enumerate().map(finding).collect::<Vec<_>>(),
            "stacks": [
                {"frames": [frame("spin", json!(125)), frame("run", json!(73))]},
                {"frames": [frame("acquire", json!(9)), frame("spin", json!(124))]},
                {"frames": [frame("spin", json!(99)), frame("serve", json!(125))]},
                {"frames": [frame("spin", json!(null))]},
            ],
        })
    }

    fn judged(truth: Truth, processes: &[Value]) -> Judgement {
        let said = processes.iter().map(|one| Said::of(Process(one)));
        Judgement::new(truth, said.collect())
    }

    fn of_one(truth: Truth, rules: &[&str], stack: Option<usize>) -> Judgement {
        judged(truth, &[process(7, rules, stack)])
    }

    #[test]
    fn the_first_finding_counts() {
        for (rules, right, verdict) in [
            (&["convoy"][..], true, "convoy"),
            (&["tight-loop", "convoy"], true, "tight-loop"),
            (&["convoy", "gc-pauses"], true, "convoy"),
            (&["gc-pauses", "convoy"], false, "gc-pauses"),
            (&["healthy"], false, "healthy"),
        ] {
            let judgement = of_one(convoy(), rules, Some(0));
            assert_eq!(judgement.right, right, "{rules:?}");
            assert_eq!(judgement.verdict(), verdict, "{rules:?}");
            assert_eq!(judgement.is_flawless(), right, "{rules:?}");
            assert!(!judgement.is_disturbed(), "{rules:?}");
        }
    }

    #[test]
    fn the_place_is_right_if_any_frame_is() {
        for (stack, right) in [
            (Some(0), true),
            (Some(1), true),
            // The function and the line are of different frames.
            (Some(2), false),
            (Some(3), false),
            (None, false),
        ] {
            let judgement = of_one(convoy(), &["convoy"], stack);
            assert!(judgement.right);
            assert_eq!(judgement.place, Some(right), "{stack:?}");
            assert_eq!(judgement.is_flawless(), right, "{stack:?}");
        }
        assert_eq!(of_one(convoy(), &["gc-pauses"], Some(0)).place, None);
        let nowhere = truth(json!({"finding": "oversubscribed", "processes": [7]}));
        assert_eq!(of_one(nowhere, &["oversubscribed"], Some(0)).place, None);
    }

    #[test]
    fn what_is_healthy_is_nothing_else() {
        let near = || truth(json!({"finding": "healthy", "near": "convoy", "processes": [7]}));
        assert!(of_one(near(), &["healthy"], None).is_flawless());
        let judgement = of_one(near(), &["convoy"], Some(0));
        assert!(!judgement.right && !judgement.is_disturbed());
        assert_eq!(judgement.verdict(), "convoy");
        let judgement = of_one(near(), &["oversubscribed", "convoy"], Some(0));
        assert!(!judgement.right && !judgement.is_disturbed());
        assert_eq!(judgement.verdict(), "convoy");
    }

    #[test]
    fn too_few_processors_disturb() {
        for rules in [
            &["oversubscribed"][..],
            &["not-judged"],
            &["oversubscribed", "convoy"],
        ] {
            let judgement = of_one(convoy(), rules, None);
            assert!(!judgement.right && judgement.is_disturbed(), "{rules:?}");
        }
        let healthy = truth(json!({"finding": "healthy", "processes": [7]}));
        let judgement = of_one(healthy, &["oversubscribed"], None);
        assert!(!judgement.right && judgement.is_disturbed());
        let oversubscribed = || truth(json!({"finding": "oversubscribed", "processes": [7]}));
        let judgement = of_one(oversubscribed(), &["oversubscribed"], None);
        assert!(judgement.right && !judgement.is_disturbed());
        assert!(of_one(oversubscribed(), &["not-judged"], None).is_disturbed());
    }

    #[test]
    fn each_process_that_has_it_is_to_be_found() {
        let of_two = |second: &[&str], stack| {
            let processes = [process(7, &["convoy"], Some(0)), process(8, second, stack)];
            judged(convoy(), &processes)
        };
        let judgement = of_two(&["healthy"], None);
        assert!(!judgement.right && !judgement.is_disturbed());
        assert_eq!(judgement.verdict(), "healthy");
        assert!(of_two(&["convoy"], Some(1)).is_flawless());
        assert_eq!(of_two(&["convoy"], Some(2)).place, Some(false));
        assert!(of_two(&["not-judged"], None).is_disturbed());
        let judgement = of_two(&["deadlock"], None);
        assert!(!judgement.right && !judgement.is_disturbed());
        assert_eq!(judgement.verdict(), "deadlock");
        let healthy = |pid| process(pid, &["healthy"], None);
        assert!(!judged(convoy(), &[healthy(7), healthy(8)]).right);
        assert!(!judged(convoy(), &[]).right);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let judgement = of_one(convoy(), &["convoy", "gc-pauses"], Some(2));
        assert_eq!(
            judgement.to_string(),
            "it is convoy; 7: convoy, gc-pauses (It is so.), in spin, /w/workload.py:99, called in serve, \
             /w/workload.py:125; but it is in spin, /w/workload.py:[124, 125]"
        );
        let judgement = of_one(convoy(), &["convoy"], None);
        assert!(judgement.to_string().contains("(It is so.), nowhere; "));
        let near = truth(json!({"finding": "healthy", "near": "convoy", "processes": [7]}));
        assert_eq!(
            of_one(near, &["convoy"], Some(0)).to_string(),
            "it is healthy, near convoy; 7: convoy (It is so.)"
        );
    }

    #[test]
    #[should_panic(expected = "healthy")]
    fn healthy_beside_a_finding_is_a_contradiction() {
        of_one(convoy(), &["convoy", "healthy"], Some(0));
    }
}
