//! The programs to judge on. Thresholds were set by the incidents as they come, so here each has other parameters.

use std::fmt;

use gilscope_tests::{HEALTHY, INCIDENTS};

/// An incident's name, four sets of parameters, and four for its near miss.
///
/// A machine of two processors is enough for them. So a near miss keeps to loads that leave some of them idle: with `--busy 4`
/// that of `udp_echo` would compute in four threads at once, and truly have too few.
const PARAMETERS: [(&str, [&str; 4], [&str; 4]); INCIDENTS.len()] = [
    (
        "highcpu",
        [
            "--others 1",
            "--others 4 --beat 1000",
            "--interval 2 --others 2 --beat 200",
            "--interval 50 --others 20 --beat 2000",
        ],
        [
            "--attendees 10 --others 1",
            "--attendees 100 --interval 2 --others 4",
            "--attendees 10000 --others 2 --beat 200",
            "--attendees 100000 --interval 50 --others 20 --beat 2000",
        ],
    ),
    (
        "idle_pollers",
        [
            "--threads 20 --interval 10",
            "--threads 30 --requests 40",
            "--threads 40 --interval 25 --processes 1 --requests 40",
            "--threads 60 --interval 50",
        ],
        [
            "--threads 20 --requests 60",
            "--threads 30 --requests 40",
            "--threads 40 --processes 1 --requests 40",
            "--threads 60",
        ],
    ),
    (
        "logging_fork",
        [
            "--threads 4 --jobs 3",
            "--threads 0 --main-logs",
            "--threads 8 --jobs 1",
            "--threads 2 --main-logs --jobs 4",
        ],
        [
            "--threads 4 --jobs 3",
            "--threads 0 --main-logs",
            "--loggers 4 --jobs 1",
            "--threads 2 --main-logs --loggers 2 --others 3",
        ],
    ),
    (
        "system_time",
        [
            "--threads 4 --cameras 2",
            "--threads 8 --cameras 10",
            "--threads 24 --cameras 2",
            "--threads 40 --cameras 10",
        ],
        ["--cameras 1", "--cameras 2", "--cameras 10", "--cameras 20"],
    ),
    (
        "udp_echo",
        [
            "--interval 2",
            "--busy 2 --interval 5",
            "--busy 3",
            "--busy 4 --interval 30",
        ],
        [
            "--interval 2",
            "--interval 5",
            "--interval 30",
            "--interval 100",
        ],
    ),
];

/// A program, and how it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// `incidents/udp_echo`.
    pub name: String,
    /// `--busy 2`, in words.
    pub arguments: Vec<String>,
}

impl Case {
    fn new(folder: &str, name: &str, arguments: &[&str]) -> Self {
        let words = arguments.iter().flat_map(|part| part.split_whitespace());
        Self {
            name: format!("{folder}/{name}"),
            arguments: words.map(str::to_owned).collect(),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = std::iter::once(&self.name).chain(&self.arguments);
        f.write_str(&words.cloned().collect::<Vec<_>>().join(" "))
    }
}

/// Every name.
pub fn names() -> Vec<&'static str> {
    INCIDENTS.into_iter().chain(HEALTHY).collect()
}

/// Each incident with its sets of parameters, and then its near misses. For any interpreter.
pub fn incidents() -> Vec<Case> {
    let of = |(name, own, near): (&str, [&str; 4], [&str; 4])| {
        let own = own.map(|parameters| Case::new("incidents", name, &[parameters]));
        let near =
            near.map(|parameters| Case::new("incidents", name, &["--near-miss", parameters]));
        own.into_iter().chain(near).collect::<Vec<_>>()
    };
    PARAMETERS.into_iter().flat_map(of).collect()
}

/// The healthy ones, which need packages from PyPI.
pub fn healthy() -> Vec<Case> {
    let all = HEALTHY.into_iter();
    all.map(|name| Case::new("healthy", name, &[])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_incident_has_parameters() {
        assert_eq!(PARAMETERS.map(|(name, _, _)| name), INCIDENTS);
        assert_eq!(incidents().len(), 40);
        assert_eq!(names().len(), INCIDENTS.len() + healthy().len());
    }

    #[test]
    fn no_run_is_made_twice() {
        let all = incidents();
        for (index, case) in all.iter().enumerate() {
            assert!(!all[..index].contains(case), "{case}");
        }
    }

    #[test]
    fn a_case_is_written_as_it_is_called() {
        let case = Case::new(
            "incidents",
            "udp_echo",
            &["--near-miss", "--busy 2 --interval 5"],
        );
        assert_eq!(
            case.to_string(),
            "incidents/udp_echo --near-miss --busy 2 --interval 5"
        );
        assert_eq!(case.arguments.len(), 5);
    }
}
