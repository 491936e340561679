//! gilscope's figures are within their bounds of the oracle's on every CPython that has one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use gilscope_tests::{
    accuracy::{Programs, list},
    gil_oracle, gilscope, need_root,
};

/// Long enough for a thousand waits, but for `spin` and `convoy`, of which only number and total are judged then.
const RUNS: [(&str, f64); 5] = [
    ("spin", 6.0),
    ("pipe", 2.0),
    ("churn", 2.0),
    ("convoy", 3.0),
    ("pollers", 2.0),
];

/// One test, so that no two runs share the machine.
#[test]
fn figures_agree_with_the_oracle() {
    need_root();
    let programs = Programs {
        gilscope: gilscope().into(),
        oracle: gil_oracle().into(),
    };
    let (mut broken, mut judged) = (Vec::new(), 0);
    for python in list().unwrap() {
        if let Some(reason) = python.skipped() {
            eprintln!("skipped: {}: {reason}", python.name);
            continue;
        }
        let runs = RUNS
            .iter()
            .filter(|(workload, _)| python.is_judged_on(workload));
        for (workload, seconds) in runs {
            let run = programs.compare(&python, workload, *seconds).unwrap();
            eprintln!(
                "{}, {workload}: {:?}; forced switches: {:?}; {:?}",
                python.name, run.waits, run.yields, run.holders
            );
            // An idle run would agree with anything.
            assert!(
                run.waits.oracle.count >= 100,
                "{}, {workload}: {:?}",
                python.name,
                run.waits
            );
            broken.extend(run.broken());
            judged += 1;
        }
    }
    assert!(
        judged > 0,
        "no interpreter to judge on: cargo xtask assets --list says why"
    );
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
