//! Threads have the names that Python has given them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, time::Duration};

use gilscope_tests::{Running, Tracer, interpreters, need_root, run};
use serde_json::Value;

const NAMES: &str = include_str!("../workloads/names.py");

#[test]
fn names_that_python_has_given() {
    need_root();
    for python in interpreters() {
        println!("{} ({})", python.name, python.version);
        let target = Running::ready(&mut python.workload(NAMES, &[]));
        let said = target.prints("ready ");
        let expected: BTreeMap<String, String> =
            serde_json::from_str(said.strip_prefix("ready ").unwrap()).unwrap();
        assert_eq!(expected.len(), 8, "{expected:?}");
        let traced = Tracer::trace(target.pid(), Duration::from_millis(300));
        let process = traced.report.process(target.pid());
        let dump = run(&["dump", "--json", "--pid", &target.pid().to_string()]);
        let dump: Value = serde_json::from_str(&dump.stdout).unwrap();
        for thread in dump["threads"].as_array().unwrap() {
            let name = expected.get(&thread["tid"].to_string());
            assert_eq!(
                thread["name"].as_str(),
                name.map(String::as_str),
                "{thread}"
            );
        }
        for (tid, name) in &expected {
            let thread = process.thread(tid.parse().unwrap());
            assert_eq!(thread.0["name"], Value::from(name.as_str()), "{thread:?}");
        }
        // Nobody has started it.
        assert_eq!(process.thread(target.pid()).0["name"], Value::Null);
    }
}
