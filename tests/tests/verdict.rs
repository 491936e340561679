//! What gilscope says is wrong is what is wrong, and where; and nothing is where nothing is.
//!
//! Each program is traced alone. What is right is defined in the harness's `judge.rs`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use gilscope_tests::{
    FINDINGS, HEALTHY, INCIDENTS, Judgement, Python, RUNS, builds, judge, need_root, python,
    python_2_7, python_with_packages,
};

/// How long each is traced.
const LENGTH: Duration = Duration::from_secs(3);
/// The findings' programs whose first finding may be another one that is true as well: the other thread is in a convoy behind the loop.
const ALSO: [&str; 1] = ["tight_loop"];
/// The same of the incidents on 2.7: there who spins lets go of the GIL so often that the echo's waits may be too short for a convoy.
const ALSO_ON_2_7: [&str; 1] = ["udp_echo"];

fn lacks_processors(judgement: &Judgement) -> bool {
    let mut rules = judgement.said.iter().flat_map(|one| &one.rules);
    rules.any(|rule| rule == "oversubscribed")
}

/// Judges all programs of a folder; what is wrong is told at the end, of all. The first finding has to be the cause itself, except
/// that with those of `also` it may be what the program's truth has as well.
fn check(python: &Python, programs: &[(&str, &[&str])], arguments: &[&str], also: &[&str]) {
    need_root();
    let (mut wrong, mut disturbed) = (Vec::new(), 0);
    let all = programs
        .iter()
        .flat_map(|(folder, names)| names.iter().map(move |name| (folder, name)));
    for (folder, name) in all {
        let program = format!("{folder}/{name}");
        let run = || judge(python, &program, arguments, LENGTH);
        let is_cause = |judgement: &Judgement| {
            judgement.verdict() == judgement.truth.finding || also.contains(name)
        };
        let mut judgement = run();
        // Without processors threads thrash less. A shared machine may lack them, but hardly each time.
        for _ in 1..RUNS {
            let is_other = judgement.right && !is_cause(&judgement);
            if !is_other || !lacks_processors(&judgement) {
                break;
            }
            println!("{}: {program}: again: {judgement}", python.name);
            judgement = run();
        }
        println!("{}: {program}: {judgement}", python.name);
        disturbed += judgement.disturbed;
        if !is_cause(&judgement) || !judgement.is_flawless() {
            wrong.push(format!("{program}: {judgement}"));
        }
    }
    println!("{}: disturbed runs: {disturbed}", python.name);
    assert!(
        wrong.is_empty(),
        "{} {arguments:?}: {} wrong:\n{}",
        python.name,
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn incidents() {
    check(python(), &[("incidents", &INCIDENTS)], &[], &[]);
}

/// Four of the five were seen there.
#[test]
fn incidents_where_they_were() {
    if let Some(old) = python_2_7() {
        check(&old, &[("incidents", &INCIDENTS)], &[], &ALSO_ON_2_7);
    }
}

/// Who has the GIL, and where, is seen on each version and build, though nobody waits for it.
#[test]
fn a_loop_on_each_version() {
    need_root();
    let mut wrong = Vec::new();
    for python in builds() {
        let judgement = judge(&python, "incidents/highcpu", &[], Duration::from_secs(2));
        println!("{}: {judgement}", python.name);
        if !judgement.is_flawless() {
            wrong.push(format!("{}: {judgement}", python.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn findings() {
    check(python(), &[("findings", &FINDINGS)], &[], &ALSO);
}

#[test]
fn near_misses() {
    let all: [(&str, &[&str]); 2] = [("findings", &FINDINGS), ("incidents", &INCIDENTS)];
    check(python(), &all, &["--near-miss"], &[]);
}

/// The thrash is of 2.7, and so what only looks like one is to be healthy there.
#[test]
fn near_misses_where_the_incidents_were() {
    if let Some(old) = python_2_7() {
        check(&old, &[("incidents", &INCIDENTS)], &["--near-miss"], &[]);
    }
}

#[test]
fn healthy_ones() {
    let Some(python) = python_with_packages() else {
        println!("skipped: no packages from PyPI: cargo xtask assets pypi");
        return;
    };
    check(&python, &[("healthy", &HEALTHY)], &[], &[]);
}
