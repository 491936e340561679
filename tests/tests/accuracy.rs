//! gilscope's figures are within their bounds of the oracle's on every CPython that has one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use gilscope_tests::{
    accuracy::{Comparison, Figure, Programs, Python, list},
    gil_oracle, gilscope, need_root,
};

/// Long enough for a thousand waits, but for `spin` and `convoy`, of which only number and total are judged then.
const RUNS: [(&str, f64); 6] = [
    ("spin", 6.0),
    ("crowd", 2.0),
    ("pipe", 2.0),
    ("churn", 2.0),
    ("convoy", 3.0),
    ("pollers", 2.0),
];

/// The share of the time waited of which gilscope may not know who had the GIL, in 3.x: docs/accuracy.md has what is usual, which is less than half of that
/// where the machine does nothing else. In 2.7 it is more, and says nothing: the oracle's probes are most of it.
const MAY_BE_UNKNOWN: [(&str, f64); 3] = [("spin", 0.01), ("convoy", 0.02), ("pollers", 0.03)];

/// What else the machine does makes it more, never less: one of so many runs has to be within.
const ATTEMPTS: u32 = 3;

/// Who had the GIL is judged in each of these at least.
const HOLDERS_JUDGED_IN: [&str; 6] = ["2.7", "3.9", "3.11", "3.12", "3.13", "3.14"];

/// One test, so that no two runs share the machine.
#[test]
fn figures_agree_with_the_oracle() {
    need_root();
    let programs = Programs {
        gilscope: gilscope().into(),
        oracle: gil_oracle().into(),
    };
    let (mut broken, mut judged) = (Vec::new(), BTreeSet::new());
    for python in list().unwrap() {
        if let Some(reason) = python.skipped() {
            eprintln!("skipped: {}: {reason}", python.name);
            continue;
        }
        let runs = RUNS
            .iter()
            .filter(|(workload, _)| python.is_judged_on(workload));
        for (workload, seconds) in runs {
            let compare = || programs.compare(&python, workload, *seconds).unwrap();
            let mut run = compare();
            for _ in 1..ATTEMPTS {
                let Some(unknown) = too_much_unknown(&python, &run) else {
                    break;
                };
                eprintln!("{unknown}: once more");
                // What is wrong is wrong in any of them.
                broken.extend(run.holders.broken());
                run = compare();
            }
            eprintln!("{}", summary(&run));
            // An idle run would agree with anything.
            assert!(
                run.waits.oracle.count >= 100,
                "{}, {workload}: {:?}",
                python.name,
                run.waits
            );
            let off = run.broken();
            if !off.is_empty() {
                eprintln!("{off:#?} {run:?}");
            }
            broken.extend(off);
            broken.extend(too_much_unknown(&python, &run));
            if run.holders.wrong().is_some() {
                judged.insert(minor(&python.name).to_owned());
            }
        }
    }
    for version in HOLDERS_JUDGED_IN {
        assert!(
            judged.contains(version),
            "no {version} to judge on: cargo xtask assets --list says why"
        );
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Of how much of the time it is not known who had the GIL, if that is more than there may be.
fn too_much_unknown(python: &Python, run: &Comparison) -> Option<String> {
    let (_, most) = MAY_BE_UNKNOWN
        .iter()
        .find(|(workload, _)| *workload == run.workload)?;
    let [_, _, unknown] = run.holders.shares()?;
    (!python.has_semaphore() && unknown > *most).then(|| {
        format!(
            "{}, {}: {:.2} % unknown",
            run.python,
            run.workload,
            unknown * 100.0
        )
    })
}

/// One line: what is printed of all runs stays readable where one fails.
fn summary(run: &Comparison) -> String {
    let error = |figure| match run.waits.error(figure) {
        Some(error) => format!("{figure} {:+.2} %", error * 100.0),
        None => format!("{figure} –"),
    };
    let shares = run.holders.shares().unwrap_or_default();
    let [known, nobody, unknown] = shares.map(|share| format!("{:.1}", share * 100.0));
    format!(
        "{}, {}: {} waits; {}; holders known {known}, nobody {nobody}, unknown {unknown} %",
        run.python,
        run.workload,
        run.waits.oracle.count,
        Figure::ALL.map(error).join(", ")
    )
}

/// Its version without the last number: `pyenv-3.11.7` is 3.11.
fn minor(name: &str) -> &str {
    let version = name.rsplit('-').next().unwrap_or(name);
    let second = version.match_indices('.').nth(1);
    second.map_or(version, |(at, _)| &version[..at])
}
