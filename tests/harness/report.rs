//! A JSON report, as a program that relies on the schema reads it.

use base64::Engine;
use hdrhistogram::serialization::Deserializer;
use serde_json::Value;

const SCHEMA: &str = include_str!("../../docs/report.schema.json");

/// A report that keeps to the schema.
#[derive(Clone, Debug)]
pub struct Report(pub Value);

impl Report {
    /// Reads a report.
    ///
    /// # Panics
    /// If it breaks the schema, with all that is wrong.
    pub fn read(text: &str) -> Self {
        let report: Value = serde_json::from_str(text).unwrap();
        let schema = serde_json::from_str(SCHEMA).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let errors = validator.iter_errors(&report);
        let errors: Vec<String> = errors
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
        Self(report)
    }

    /// Its processes.
    pub fn processes(&self) -> Vec<Process<'_>> {
        list(&self.0["processes"]).map(Process).collect()
    }

    /// The process with this id.
    pub fn process(&self, pid: u32) -> Process<'_> {
        let all = self.processes();
        let found = all.into_iter().find(|process| process.pid() == pid);
        found.unwrap_or_else(|| panic!("no process {pid} in {}", self.0))
    }

    /// The only process.
    pub fn only_process(&self) -> Process<'_> {
        let all = self.processes();
        assert_eq!(all.len(), 1, "{}", self.0);
        all[0]
    }

    /// A number of it, by its JSON pointer without the first slash.
    pub fn number(&self, path: &str) -> u64 {
        number(&self.0, path)
    }

    /// Whether everything arrived.
    pub fn is_complete(&self) -> bool {
        self.number("loss/events_lost") == 0 && self.number("loss/waits_lost") == 0
    }
}

/// A process of it.
#[derive(Clone, Copy, Debug)]
pub struct Process<'a>(pub &'a Value);

impl<'a> Process<'a> {
    /// Its id.
    pub fn pid(&self) -> u32 {
        self.number("pid").try_into().unwrap()
    }

    /// A number of it.
    pub fn number(&self, path: &str) -> u64 {
        number(self.0, path)
    }

    /// All rows.
    pub fn threads(&self) -> Vec<Thread<'a>> {
        list(&self.0["threads"]).map(Thread).collect()
    }

    /// The row of a thread.
    pub fn thread(&self, tid: u32) -> Thread<'a> {
        let all = self.threads().into_iter();
        let mut found = all.filter(|thread| thread.number("tid") == u64::from(tid));
        let thread = found
            .next()
            .unwrap_or_else(|| panic!("no thread {tid} in {}", self.0));
        assert!(found.next().is_none(), "two rows for thread {tid}");
        thread
    }

    /// Threads in all.
    pub fn thread_count(&self) -> u64 {
        let others = self.0["other_threads"]["threads"].as_u64().unwrap_or(0);
        others + self.threads().len() as u64
    }

    /// All waits.
    pub fn gil_wait(&self) -> Histogram<'a> {
        Histogram(&self.0["gil_wait"])
    }

    /// All locks other than its GILs.
    pub fn locks(&self) -> Vec<Lock<'a>> {
        list(&self.0["locks"]).map(Lock).collect()
    }

    /// What it says is wrong, most important first.
    ///
    /// # Panics
    /// If there is nothing, not even that nothing is wrong; or if that is beside something else.
    pub fn findings(&self) -> Vec<Finding<'a>> {
        let stacks = &self.0["stacks"];
        let all = self.0["findings"].as_array();
        let all = all.unwrap_or_else(|| panic!("no findings in {}", self.0));
        let all = all.iter().map(|finding| Finding { finding, stacks });
        let all: Vec<_> = all.collect();
        let found = all.iter().filter(|one| !one.is_none()).count();
        assert!(
            !all.is_empty() && (found == all.len() || all.len() == 1),
            "{all:?}"
        );
        all
    }

    /// Exit status, as a shell has it; `None` if it has not ended, or nobody knows how.
    pub fn exit_status(&self) -> Option<i64> {
        let status = &self.0["ended"]["status"];
        let signal = || Some(128 + status["signal"].as_i64()?);
        status["code"].as_i64().or_else(signal)
    }
}

/// What is wrong with a process, or that nothing is.
#[derive(Clone, Copy, Debug)]
pub struct Finding<'a> {
    finding: &'a Value,
    stacks: &'a Value,
}

impl<'a> Finding<'a> {
    /// Its name.
    pub fn rule(&self) -> &'a str {
        self.finding["rule"].as_str().expect("a rule")
    }

    /// Whether it finds nothing: `healthy`, or `not-judged`.
    pub fn is_none(&self) -> bool {
        ["healthy", "not-judged"].contains(&self.rule())
    }

    /// The same in words.
    pub fn says(&self) -> &'a str {
        self.finding["says"].as_str().expect("a sentence")
    }

    /// Where it is, innermost first. Empty if that is not known.
    pub fn frames(&self) -> &'a [Value] {
        let stack = &self.finding["stack"];
        if stack.is_null() {
            return &[];
        }
        let index = usize::try_from(stack.as_u64().expect("an index")).unwrap();
        let frames = self.stacks[index]["frames"].as_array();
        frames.expect("a stack with this index")
    }
}

/// A thread of it.
#[derive(Clone, Copy, Debug)]
pub struct Thread<'a>(pub &'a Value);

impl<'a> Thread<'a> {
    /// A number of it.
    pub fn number(&self, path: &str) -> u64 {
        number(self.0, path)
    }

    /// Its waits for locks other than a GIL.
    pub fn locks(&self) -> Vec<Lock<'a>> {
        list(&self.0["locks"]).map(Lock).collect()
    }

    /// Sum over all GILs.
    pub fn gil_sum(&self, path: &str) -> u64 {
        list(&self.0["gil"]).map(|gil| number(gil, path)).sum()
    }

    /// Its waits and forced switches, for each GIL.
    pub fn histograms(&self) -> Vec<Histogram<'a>> {
        let both = |gil: &'a Value| [Histogram(&gil["wait"]), Histogram(&gil["yield"])];
        list(&self.0["gil"]).flat_map(both).collect()
    }
}

/// A lock of it, or a thread's waits for one.
#[derive(Clone, Copy, Debug)]
pub struct Lock<'a>(pub &'a Value);

impl<'a> Lock<'a> {
    /// A number of it.
    pub fn number(&self, path: &str) -> u64 {
        number(self.0, path)
    }

    /// The waits for it.
    pub fn wait(&self) -> Histogram<'a> {
        Histogram(&self.0["wait"])
    }
}

/// A histogram of it.
#[derive(Clone, Copy, Debug)]
pub struct Histogram<'a>(pub &'a Value);

impl Histogram<'_> {
    /// A number of it.
    pub fn number(&self, path: &str) -> u64 {
        number(self.0, path)
    }

    /// Base64 of the whole distribution, unless it is empty.
    pub fn hdr(&self) -> Option<&str> {
        self.0["hdr"].as_str()
    }

    /// The whole distribution.
    pub fn decoded(&self) -> Option<hdrhistogram::Histogram<u64>> {
        let engine = base64::engine::general_purpose::STANDARD;
        let bytes = engine.decode(self.hdr()?).unwrap();
        Some(Deserializer::new().deserialize(&mut &bytes[..]).unwrap())
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().expect("an array").iter()
}

fn number(value: &Value, path: &str) -> u64 {
    let found = value.pointer(&format!("/{path}"));
    let number = found.and_then(Value::as_u64);
    number.unwrap_or_else(|| panic!("no number {path} in {value}"))
}
