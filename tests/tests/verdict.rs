//! What gilscope says is wrong is what is wrong, and where; and nothing is where nothing is.
//!
//! Each program is traced alone. What is right is defined in the harness's `judge.rs`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use gilscope_tests::{
    FINDINGS, HEALTHY, INCIDENTS, Python, builds, judge, need_root, python, python_2_7,
    python_with_packages,
};

/// How long each is traced.
const LENGTH: Duration = Duration::from_secs(3);
/// Of these incidents 2.7 does not show the place.
const NO_PLACE_IN_2_7: [&str; 0] = [];

/// Judges all programs of a folder; what is wrong is told at the end, of all.
fn check(python: &Python, programs: &[(&str, &[&str])], arguments: &[&str], no_place: &[&str]) {
    need_root();
    let (mut wrong, mut disturbed) = (Vec::new(), 0);
    let all = programs
        .iter()
        .flat_map(|(folder, names)| names.iter().map(move |name| (folder, name)));
    for (folder, name) in all {
        let program = format!("{folder}/{name}");
        let judgement = judge(python, &program, arguments, LENGTH);
        println!("{}: {program}: {judgement}", python.name);
        disturbed += judgement.disturbed;
        let is_right = judgement.right && no_place.contains(name);
        if !is_right && !judgement.is_flawless() {
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
        check(&old, &[("incidents", &INCIDENTS)], &[], &NO_PLACE_IN_2_7);
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
    check(python(), &[("findings", &FINDINGS)], &[], &[]);
}

#[test]
fn near_misses() {
    let all: [(&str, &[&str]); 2] = [("findings", &FINDINGS), ("incidents", &INCIDENTS)];
    check(python(), &all, &["--near-miss"], &[]);
}

#[test]
fn healthy_ones() {
    let Some(python) = python_with_packages() else {
        println!("skipped: no packages from PyPI: cargo xtask assets pypi");
        return;
    };
    check(&python, &[("healthy", &HEALTHY)], &[], &[]);
}
