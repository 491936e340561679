//! A program that knows what is wrong with it.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::{Python, Running, gilscope};

/// The first line of what it prints.
#[derive(Debug, Deserialize)]
pub struct Truth {
    /// The rule that has to find it, or `healthy`.
    pub finding: String,
    /// Of a near miss: the rule that must not.
    pub near: Option<String>,
    /// What else may be said and be true.
    #[serde(default)]
    pub also: Vec<String>,
    /// The processes that have it.
    pub processes: Vec<u32>,
    /// The cause, if it is in one place: a function,
    pub function: Option<String>,
    /// its file,
    pub file: Option<PathBuf>,
    /// and the lines.
    #[serde(default)]
    pub lines: Vec<usize>,
}

/// It runs.
pub struct Program {
    /// Its process.
    pub running: Running,
    /// What a tracer has to find.
    pub truth: Truth,
}

impl Program {
    /// Where a program is: one of `incidents`, `findings` or `healthy`, and its name.
    pub fn path(name: &str) -> PathBuf {
        let workloads = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
        workloads.join(name).with_extension("py")
    }

    /// Starts it, and waits until it is ready.
    ///
    /// # Panics
    /// If its first line is not the truth.
    pub fn start(python: &Python, name: &str, arguments: &[&str]) -> Self {
        // To build it may take longer than the program runs.
        gilscope();
        let path = Self::path(name);
        let mut command = python.program_of(&path, arguments);
        // What is in its own folder it imports from there.
        command.env("PYTHONPATH", path.parent().unwrap());
        let mut running = Running::start(&mut command);
        running.prints("ready");
        running.hang_up();
        let first = running.prints("");
        let truth =
            serde_json::from_str(&first).unwrap_or_else(|error| panic!("{name}: {error}: {first}"));
        Self { running, truth }
    }

    /// What it has measured of itself, in its last line.
    ///
    /// # Panics
    /// If it fails.
    pub fn end(self) -> Value {
        let ended = self.running.end();
        let last = ended.stdout.lines().last();
        assert_eq!(ended.status, 0, "{ended:?}");
        serde_json::from_str(last.unwrap()).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
    }
}
