//! A program that knows what is wrong with it.

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde::Deserialize;
use serde_json::Value;

use crate::{Python, Running, Traced, Tracer, gilscope};

/// Published incidents: `incidents/NAME`. Each has a near miss.
pub const INCIDENTS: [&str; 5] = [
    "highcpu",
    "idle_pollers",
    "logging_fork",
    "system_time",
    "udp_echo",
];
/// What can be found and is not the finding of an incident: `findings/NAME`. Each has a near miss.
pub const FINDINGS: [&str; 7] = [
    "asleep",
    "deadlock",
    "gc_pauses",
    "gil_bound",
    "native_code",
    "oversubscribed",
    "tight_loop",
];
/// Real packages at work: `healthy/NAME`, for [`crate::python_with_packages`].
pub const HEALTHY: [&str; 8] = [
    "asyncio_streams",
    "gunicorn_gthread",
    "numpy_threads",
    "pool_io",
    "pytest_suite",
    "tornado_web",
    "uvicorn_asgi",
    "waitress_wsgi",
];

/// To start and to attach may take so much longer than a program is traced.
const MARGIN: Duration = Duration::from_secs(27);

/// The first line of what it prints.
#[derive(Clone, Debug, Default, Deserialize)]
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

impl Truth {
    /// Whether this rule may come first.
    pub fn accepts(&self, rule: &str) -> bool {
        self.finding == rule || self.also.iter().any(|one| one == rule)
    }

    /// Whether a frame of a stack in the report is where the cause is.
    pub fn is_at(&self, frame: &Value) -> bool {
        let file = self.file.as_ref().and_then(|file| file.to_str());
        let line = frame["line"]
            .as_u64()
            .and_then(|line| usize::try_from(line).ok());
        self.function.is_some()
            && frame["name"].as_str() == self.function.as_deref()
            && frame["file"].as_str() == file
            && line.is_some_and(|line| self.lines.contains(&line))
    }
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

    /// Starts it, and traces the processes that have its finding, for so long.
    pub fn trace(
        python: &Python,
        name: &str,
        arguments: &[&str],
        options: &[&str],
        length: Duration,
    ) -> (Self, Traced) {
        let seconds = (length + MARGIN).as_secs_f64().to_string();
        let program = Self::start(
            python,
            name,
            &[&["--seconds", &seconds], arguments].concat(),
        );
        let tracer = Tracer::attach_with(&program.truth.processes, options);
        thread::sleep(length);
        (program, tracer.finish())
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
