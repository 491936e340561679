#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::model::{
    ExitStatus, Finding, GilSamples, GilWaits, HistogramSummary, LockWaits, NativeAt,
    NativeCallers, NativeFunction, OtherLocks, OtherStorms, OtherThreads, ProcessEnd,
    ProcessReport, Purpose, Report, Storm, StormKind, TickSource, Unfinished, WhatIf,
};
use crate::output::sample::{MS, idle, lock, process, report, storm, waits, what_if};
use serde_json::{Map, Value, json};

fn schema() -> Value {
    serde_json::from_str(include_str!("../../../../docs/report.schema.json")).unwrap()
}

fn json(report: &Report) -> Value {
    let mut out = Vec::new();
    write(&mut out, report).unwrap();
    serde_json::from_slice(&out).unwrap()
}

/// A report with everything in it that may be null otherwise.
fn full() -> Report {
    let mut full = process();
    full.container = Some("0123456789ab".to_owned());
    full.ended = Some(ProcessEnd {
        at_ns: 3,
        status: Some(ExitStatus::Signal(9)),
    });
    full.threads[0].name = Some("reader".to_owned());
    full.threads[0].ended_at_ns = Some(9);
    full.threads[0].gil[0].forced_switch = waits(3, 4, 5, 6, 7);
    let wait = waits(90, 5_000, 1_000, 2_000, 3_000_000);
    let others = OtherThreads {
        threads: 2,
        wait,
        ..OtherThreads::default()
    };
    full.other_threads = Some(others);
    full.locks = vec![lock(0, Purpose::Contention, waits(9, 8, 7, 6, 5))];
    full.threads[0].locks = vec![LockWaits {
        lock_id: 0,
        wait: waits(9, 8, 7, 6, 5),
        unfinished: Unfinished::default(),
    }];
    full.other_locks = Some(OtherLocks {
        rows: 3,
        wait: waits(1, 1, 1, 1, 1),
        unfinished: Unfinished::default(),
    });
    full.storms = vec![Storm {
        gil_id: Some(0),
        ..storm()
    }];
    full.other_storms = Some(OtherStorms::default());
    full.what_if = Some(what_if());
    report(full)
}

/// A report with as little in it as can be.
fn bare() -> Report {
    let mut none = idle(4_242);
    (none.ns_tid, none.os_name, none.ended_at_ns) = (None, None, None);
    (none.cpu.user_ns, none.cpu.system_ns, none.cpu.split) = (None, None, None);
    let gil_wait = HistogramSummary::default();
    let mut waited = idle(4_243);
    waited.gil = vec![GilWaits::default()];
    waited.cpu.split = Some(TickSource::Exact);
    let native = process().native_at.remove(0);
    let unnamed = NativeFunction {
        function: None,
        ..native.at.clone()
    };
    let ended = Some(ProcessEnd {
        at_ns: 3,
        status: None,
    });
    let findings = vec![Finding {
        suggestion: None,
        stack: None,
        ..process().findings.remove(0)
    }];
    report(ProcessReport {
        findings,
        gil_samples: GilSamples::default(),
        held_at: Vec::new(),
        on_cpu_samples: None,
        native_at: vec![NativeAt {
            at: unnamed.clone(),
            callers: vec![NativeCallers {
                functions: vec![unnamed],
                samples: 1,
            }],
            ..native
        }],
        collections: None,
        gil_wait,
        ended,
        threads: vec![none, waited],
        storms: vec![Storm {
            kind: StormKind::Pause,
            system_ns: None,
            top_holder: None,
            ..storm()
        }],
        what_if: Some(WhatIf {
            tid: None,
            thread_at_most: None,
            ..what_if()
        }),
        ..process()
    })
}

fn errors(schema: &Value, report: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(schema).unwrap();
    validator
        .iter_errors(report)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

/// Does something with every object in a value, the innermost first.
fn each_object(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Array(values) => values
            .iter_mut()
            .for_each(|value| each_object(value, change)),
        Value::Object(fields) => {
            fields
                .values_mut()
                .for_each(|value| each_object(value, change));
            change(fields);
        }
        _ => {}
    }
}

#[test]
fn is_indented_and_ends_with_a_newline() {
    let mut out = Vec::new();
    write(&mut out, &full()).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("{\n  \"schema\": \"gilscope.report\",\n  \"schema_version\": 1,"));
    assert!(text.ends_with("\n}\n"));
}

#[test]
fn is_what_the_schema_says() {
    let mut exited = full();
    exited.processes[0].ended = Some(ProcessEnd {
        at_ns: 3,
        status: Some(ExitStatus::Code(-1)),
    });
    for report in [full(), bare(), exited, report(process())] {
        assert_eq!(errors(&schema(), &json(&report)), [""; 0]);
    }
}

/// The same, but that it lets no fields be added.
fn without_other_fields(mut schema: Value) -> Value {
    each_object(&mut schema, &mut |fields| {
        if fields.contains_key("properties") && fields.contains_key("required") {
            fields.insert("additionalProperties".to_owned(), json!(false));
        }
    });
    schema
}

/// The schema lets fields be added; of those that are written it describes each.
#[test]
fn the_schema_describes_every_field() {
    let strict = without_other_fields(schema());
    assert_eq!(errors(&strict, &json(&full())), [""; 0]);
    let mut more = json(&full());
    more["processes"][0]["surprise"] = json!(1);
    assert_eq!(errors(&schema(), &more), [""; 0]);
    assert_eq!(errors(&strict, &more).len(), 1);
}

#[test]
fn the_schema_requires_every_field() {
    let whole = json(&full());
    let mut removed = 0;
    for pointer in pointers("", &whole) {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        let mut without = whole.clone();
        if let Some(Value::Object(fields)) = without.pointer_mut(parent) {
            fields.remove(field);
            removed += 1;
            assert_ne!(
                errors(&schema(), &without),
                [""; 0],
                "{pointer} may be missing"
            );
        }
    }
    assert!(removed > 100, "{removed}");
}

/// A JSON pointer to everything in a value.
fn pointers(at: &str, value: &Value) -> Vec<String> {
    let children: Vec<(String, &Value)> = match value {
        Value::Array(values) => values
            .iter()
            .enumerate()
            .map(|(i, value)| (format!("{at}/{i}"), value))
            .collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (format!("{at}/{name}"), value))
            .collect(),
        _ => Vec::new(),
    };
    let below = children.iter().flat_map(|(at, value)| pointers(at, value));
    children
        .iter()
        .map(|(at, _)| at.clone())
        .chain(below)
        .collect()
}

#[test]
fn the_schema_refuses_what_is_wrong() {
    let wrong = [
        ("/schema_version", json!(2)),
        ("/duration_ns", json!(-1)),
        ("/started_at", json!("yesterday")),
        ("/processes/0/gil_wait/hdr", json!("not base64")),
        ("/processes/0/gil_wait/p50_ns", Value::Null),
        ("/processes/0/gil_wait/recorded", json!(0)),
        ("/processes/0/threads/0/observed_ns", Value::Null),
        ("/processes/0/threads/0/cpu/split", json!("guessed")),
        ("/processes/0/ended/status", json!({})),
        ("/processes/0/gils/0/address", json!(140)),
    ];
    for (pointer, value) in wrong {
        let mut report = json(&full());
        *report.pointer_mut(pointer).unwrap() = value;
        assert_ne!(errors(&schema(), &report), [""; 0], "{pointer}");
    }
}

#[test]
fn the_schema_says_why_something_may_be_null() {
    let mut nullable = 0;
    each_object(&mut schema(), &mut |fields| {
        let allows_null = |key| {
            fields.get(key).is_some_and(|value: &Value| {
                value.as_array().is_some_and(|kinds| {
                    kinds
                        .iter()
                        .any(|kind| kind == "null" || kind.is_null() || kind["type"] == "null")
                })
            })
        };
        if ["type", "enum", "oneOf"].into_iter().any(allows_null) {
            nullable += 1;
            assert!(
                fields["description"].as_str().unwrap().contains("Null "),
                "{fields:?}"
            );
        }
    });
    assert_eq!(nullable, 48);
}

#[test]
fn numbers_keep_all_their_bits() {
    let mut most = report(process());
    most.duration_ns = u64::MAX;
    most.processes[0].contended_ns = 10_000 * MS + 1;
    let got = json(&most);
    assert_eq!(got["duration_ns"].as_u64(), Some(u64::MAX));
    assert_eq!(errors(&schema(), &got), [""; 0]);
}

mod dump {
    use super::*;
    use crate::model::{
        Deadlock, Doing, Dump, DumpGil, DumpLock, DumpThread, Frame, LockKind, Owner, Stack,
    };

    fn schema() -> Value {
        serde_json::from_str(include_str!("../../../../docs/dump.schema.json")).unwrap()
    }

    fn thread(doing: Doing) -> DumpThread {
        let frame = Frame {
            name: "f".to_owned(),
            qualified_name: Some("C.f".to_owned()),
            file: "f.py".to_owned(),
            line: Some(7),
        };
        let bare = Frame {
            qualified_name: None,
            line: None,
            ..frame.clone()
        };
        DumpThread {
            tid: 8,
            ns_tid: Some(9),
            name: Some("worker".to_owned()),
            os_name: "python3".to_owned(),
            state: 'S',
            doing,
            asleep_ns: Some(7),
            stacks: vec![Stack {
                interpreter: 0,
                frames: vec![frame, bare],
                truncated: false,
                unreadable: 0,
                consistent: true,
            }],
        }
    }

    /// One with everything in it.
    fn full() -> Dump {
        let name = Some("read");
        let doings = [
            Doing::Running,
            Doing::WaitsForGil { gil_id: 0 },
            Doing::WaitsForLock {
                lock_id: 0,
                timed: true,
            },
            Doing::SystemCall { number: 0, name },
            Doing::Stopped,
            Doing::Unknown,
        ];
        let owners = [
            None,
            Some(Owner::Thread(8)),
            Some(Owner::LeftBehindByFork),
            Some(Owner::Ended),
        ];
        let lock = |owner| DumpLock {
            id: 0,
            address: "0x1".to_owned(),
            kind: LockKind::PyMutex,
            rlock: true,
            owner,
            inferred_owners: vec![8],
        };
        Dump {
            schema: crate::model::DUMP_SCHEMA,
            schema_version: crate::model::DUMP_SCHEMA_VERSION,
            taken_at: "2026-01-02T03:04:05.678Z".to_owned(),
            cmdline: vec!["python3".to_owned()],
            gils: vec![DumpGil {
                id: 0,
                address: "0x2".to_owned(),
                interpreters: vec![0],
                enabled: true,
                holder: Some(8),
            }],
            threads: doings.map(thread).into(),
            locks: owners.map(lock).into(),
            deadlocks: vec![Deadlock {
                threads: vec![8],
                inferred: true,
            }],
            ..Dump::default()
        }
    }

    fn json(dump: &Dump) -> Value {
        let mut out = Vec::new();
        write(&mut out, dump).unwrap();
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn the_schema_describes_every_field() {
        let strict = without_other_fields(schema());
        assert_eq!(errors(&strict, &json(&full())), [""; 0]);
    }

    #[test]
    fn the_schema_requires_every_field() {
        let whole = json(&full());
        for pointer in pointers("", &whole) {
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            let mut without = whole.clone();
            if let Some(Value::Object(fields)) = without.pointer_mut(parent) {
                fields.remove(field);
                assert_ne!(errors(&schema(), &without), [""; 0], "{pointer}");
            }
        }
    }
}
