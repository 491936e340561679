//! Folded stacks and the flame graph have all of the time waited, each part of it at its stack.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, thread, time::Duration};

use gilscope_tests::{Process, Running, Tracer, need_root, python, run};

const PLACES: &str = include_str!("../workloads/places.py");

/// Stacks, outermost function first, and their microseconds.
fn stacks(folded: &str) -> Vec<(Vec<&str>, u64)> {
    let lines = folded.lines().map(|line| {
        let (stack, us) = line.rsplit_once(' ').unwrap();
        (stack.split(';').collect(), us.parse().unwrap())
    });
    lines.collect()
}

fn sum_us(stacks: &[(Vec<&str>, u64)]) -> u64 {
    stacks.iter().map(|(_, us)| us).sum()
}

fn heaviest<'a>(stacks: &'a [(Vec<&'a str>, u64)]) -> &'a [&'a str] {
    &stacks.iter().max_by_key(|(_, us)| us).unwrap().0
}

fn waited_ns(process: &Process<'_>) -> u64 {
    let rows = process.0["blocked_by"].as_array().unwrap().iter();
    let known_ns: u64 = rows.map(|row| row["sum_ns"].as_u64().unwrap()).sum();
    known_ns + process.number("blocked_by_nobody_ns") + process.number("blocked_by_unknown_ns")
}

#[test]
fn where_it_was_had() {
    need_root();
    let target = Running::ready(&mut python().workload(PLACES, &[]));
    let (pid, folder) = (target.pid(), tempfile::tempdir().unwrap());
    let file = |name| folder.path().join(name).to_str().unwrap().to_owned();
    let (folded, svg) = (file("folded"), file("svg"));
    let tracer = Tracer::attach_with(&[pid], &["--folded", &folded, "--flamegraph", &svg]);
    thread::sleep(Duration::from_secs(2));
    let traced = tracer.finish();
    assert!(traced.ended.stdout.contains("Where it was had:"));

    let folded = fs::read_to_string(folded).unwrap();
    let stacks = stacks(&folded);
    let waited_us = (waited_ns(&traced.report.process(pid)) + 500) / 1_000;
    assert_eq!(sum_us(&stacks), waited_us, "{folded}");
    let heaviest = heaviest(&stacks);
    let [root, holder, .., caller, innermost] = heaviest else {
        panic!("{folded}");
    };
    assert!(root.starts_with(&format!("{pid} python")), "{root}");
    assert!(holder.starts_with(&format!("{pid} ")), "{holder}");
    assert!(caller.starts_with("busy ("), "{caller}");
    assert!(innermost.starts_with("busily ("), "{innermost}");

    let svg = fs::read_to_string(svg).unwrap();
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..Default::default()
    };
    let document = roxmltree::Document::parse_with_options(&svg, options).unwrap();
    let titles = document
        .descendants()
        .filter(|node| node.has_tag_name("title"));
    let mut titles = titles.filter_map(|node| node.text());
    assert!(titles.any(|title| title.starts_with(innermost)), "{svg}");
}

#[test]
fn where_threads_waited() {
    need_root();
    let target = Running::ready(&mut python().workload(PLACES, &[]));
    let pid = target.pid().to_string();
    let options = [
        "--folded",
        "-",
        "--stacks-of",
        "waiter",
        "--duration",
        "1.5",
    ];
    let ended = run(&[&["--pid", &pid], &options[..]].concat());
    assert_eq!(ended.status, 0, "{ended:?}");
    let stacks = stacks(&ended.stdout);
    let heaviest = heaviest(&stacks);
    let innermost = heaviest.last().unwrap();
    assert!(innermost.starts_with("poll ("), "{ended:?}");
    // Five threads waited nearly all the time, or for a processor.
    assert!(sum_us(&stacks) > 1_000_000, "{ended:?}");
}

/// What cannot be written is known before anything is traced.
#[test]
fn files_are_looked_at_first() {
    need_root();
    for option in ["--folded", "--flamegraph"] {
        let ended = run(&[option, "/nonexistent/x", "--", "echo", "ran"]);
        assert_eq!(
            (ended.status, ended.stdout.as_str()),
            (125, ""),
            "{ended:?}"
        );
        assert!(ended.stderr.contains("/nonexistent"), "{ended:?}");
    }
}
