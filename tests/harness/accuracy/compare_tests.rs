use super::*;

fn oracle(count: u64, sum_us: u64, yields: u64) -> String {
    let figures = |count: u64, sum_us: u64| {
        let sum_ns = sum_us * 1_000;
        format!(
            r#"{{"count":{count},"sum_ns":{sum_ns},"max_ns":900000,"p50_ns":100000,"p90_ns":200000,"p99_ns":300000}}"#
        )
    };
    let futex = figures(count, sum_us);
    format!(
        r#"{{"records_lost":0,"untracked_calls":0,"unreturned_calls":0,"programs_missed":0,"processes":[{{"pid":7,"take_gil":{},"futex":{futex},
        "forced_switch_futex":{1},"forced_switch":{1},"blocked_by":[{{"waiter":8,"holder":9,"at_least_ns":4000,"at_most_ns":5000}}],"threads":[{{"tid":8,"take_gil":{futex},"futex":{futex}}}]}}]}}"#,
        figures(count + 1, sum_us),
        figures(yields, yields * 100),
    )
}

fn gilscope(count: u64, sum_us: u64, p99_ns: u64, yields: u64, lost: u64) -> String {
    let figures = |count: u64, sum_us: u64| {
        let sum_ns = sum_us * 1_000;
        format!(
            r#"{{"count":{count},"sum_ns":{sum_ns},"max_ns":900000,"p50_ns":100000,"p99_ns":{p99_ns},"hdr":null}}"#
        )
    };
    let wait = figures(count, sum_us);
    format!(
        r#"{{"loss":{{"events_lost":{lost},"waits_lost":0}},"processes":[{{"pid":7,"gils":[{{"source":"futex","python":"3.12.1"}}],"gil_wait":{wait},
        "blocked_by":[{{"waiter":8,"holder":9,"sum_ns":5000}}],"blocked_by_nobody_ns":0,"blocked_by_unknown_ns":1000,"threads":[{{"tid":8,"gil":[{{"wait":{wait},"yield":{}}}]}},{{"tid":9,"gil":[]}}]}}]}}"#,
        figures(yields, yields * 100),
    )
}

fn broken(oracle: &str, gilscope: &str) -> Vec<String> {
    let run = Comparison::new("python", "spin", oracle.as_bytes(), gilscope.as_bytes());
    run.unwrap().broken()
}

#[test]
fn within_the_bounds_nothing_is_broken() {
    assert_eq!(
        broken(
            &oracle(1000, 100_000, 200),
            &gilscope(971, 101_900, 314_000, 197, 0)
        ),
        [""; 0]
    );
}

#[test]
fn each_bound_is_held_for_the_process_and_its_thread() {
    let told = broken(
        &oracle(1000, 100_000, 0),
        &gilscope(960, 102_100, 320_000, 0, 0),
    );
    assert_eq!(
        told,
        [
            "python, spin: waits -4.00 %, bound 3 %, of 1000",
            "python, spin: total wait +2.10 %, bound 2 %, of 1000",
            "python, spin: p99 +6.67 %, bound 5 %, of 1000",
            "python, spin: thread 8: waits -4.00 %, bound 3 %, of 1000",
            "python, spin: thread 8: total wait +2.10 %, bound 2 %, of 1000",
            "python, spin: thread 8: p99 +6.67 %, bound 5 %, of 1000",
        ]
    );
}

#[test]
fn a_distribution_of_few_waits_is_not_judged_but_their_number_is() {
    let told = broken(
        &oracle(500, 50_000, 0),
        &gilscope(400, 50_000, 900_000, 0, 0),
    );
    assert_eq!(told, ["python, spin: waits -20.00 %, bound 3 %, of 500"]);
    assert_eq!(
        broken(&oracle(50, 5_000, 0), &gilscope(1, 1, 1, 0, 0)),
        [""; 0]
    );
}

#[test]
fn forced_switches_and_losses_are_told() {
    let told = broken(
        &oracle(500, 50_000, 200),
        &gilscope(500, 50_000, 300_000, 190, 3),
    );
    assert_eq!(
        told,
        [
            "python, spin: gilscope lost 3 events, 0 of them waits",
            "python, spin: forced switches: waits -5.00 %, bound 3 %, of 200",
            "python, spin: forced switches: total wait -5.00 %, bound 2 %, of 200",
        ]
    );
}

#[test]
fn a_thread_that_gilscope_did_not_see_is_broken() {
    let blind = gilscope(1000, 100_000, 300_000, 0, 0).replace(r#""tid":8"#, r#""tid":10"#);
    let told = broken(&oracle(1000, 100_000, 0), &blind);
    assert!(
        told.contains(&"python, spin: thread 8: waits -100.00 %, bound 3 %, of 1000".to_owned()),
        "{told:?}"
    );
    assert!(
        told.contains(&"python, spin: thread 8: p50 missing, of 1000".to_owned()),
        "{told:?}"
    );
}

#[test]
fn what_has_no_futex_call_is_counted_apart() {
    let (oracle, gilscope) = (oracle(10, 100, 0), gilscope(10, 100, 1, 0, 0));
    let run = Comparison::new("python", "spin", oracle.as_bytes(), gilscope.as_bytes());
    assert_eq!(run.unwrap().without_futex, 1);
}

#[test]
fn a_percentile_may_be_its_neighbour() {
    let near = |low, high| {
        let report = oracle(1000, 100_000, 0);
        report.replace(
            r#""p99_ns":300000"#,
            &format!(r#""p99_ns":300000,"p99_near_ns":[{low},{high}]"#),
        )
    };
    let said = gilscope(1000, 100_000, 400_000, 0, 0);
    assert_eq!(broken(&near(250_000, 400_000), &said), [""; 0]);
    assert_eq!(broken(&near(250_000, 386_000), &said), [""; 0]);
    assert_eq!(broken(&near(250_000, 384_000), &said).len(), 2);
}

/// 200 of 10 µs each.
#[test]
fn the_two_programs_time_is_no_error_of_a_forced_switch() {
    let of_10_us = |sum_us| {
        let truth = oracle(500, 50_000, 200).replace(r#""sum_ns":20000000"#, r#""sum_ns":2000000"#);
        let said = gilscope(500, 50_000, 300_000, 200, 0);
        let said = said.replace(r#""sum_ns":20000000"#, &format!(r#""sum_ns":{sum_us}000"#));
        broken(&truth, &said)
    };
    assert_eq!([1_800, 1_799].map(|sum_us| of_10_us(sum_us).len()), [0, 1]);
}

/// Waits of 10 µs: the total is held to its share all the same.
#[test]
fn a_short_wait_is_no_excuse() {
    let told = broken(&oracle(999, 9_990, 0), &gilscope(999, 9_790, 300_000, 0, 0));
    assert_eq!(told.len(), 1, "{told:?}");
}

/// One wrong guess is no error of a semaphore's longest wait; of another GIL's it is.
#[test]
fn a_longest_wait_may_be_two_where_nothing_tells() {
    let truth = oracle(1000, 100_000, 0).replace(
        r#""max_ns":900000"#,
        r#""max_ns":900000,"max_near_ns":[800000,1700000]"#,
    );
    let told = |max_ns: u64, python: &str| {
        let said = gilscope(1000, 100_000, 300_000, 0, 0)
            .replace(r#""max_ns":900000"#, &format!(r#""max_ns":{max_ns}"#))
            .replace("3.12.1", python);
        broken(&truth, &said).len()
    };
    assert_eq!([800_000, 1_700_000].map(|ns| told(ns, "2.7.18")), [0, 0]);
    assert_eq!([750_000, 1_750_000].map(|ns| told(ns, "2.7.18")), [2, 2]);
    assert_eq!([800_000, 1_700_000].map(|ns| told(ns, "3.12.1")), [2, 2]);
}

/// A thread that was preempted between the two tracers' programs is longer or shorter by that to one of them.
#[test]
fn a_preemption_between_the_programs_is_no_error() {
    let truth = oracle(1000, 100_000, 0).replace(
        r#""max_ns":900000"#,
        r#""max_ns":900000,"max_disturbed_ns":[700000,900000],"disturbed_ns":4000000"#,
    );
    let told = |max_ns: u64, sum_us: u64| {
        let said = gilscope(1000, sum_us, 300_000, 0, 0)
            .replace(r#""max_ns":900000"#, &format!(r#""max_ns":{max_ns}"#));
        broken(&truth, &said).len()
    };
    assert_eq!([700_000, 650_000].map(|ns| told(ns, 100_000)), [0, 2]);
    assert_eq!([96_000, 95_900].map(|us| told(900_000, us)), [0, 2]);
}

/// By uprobes a wait lies between its futex calls and the function around them.
#[test]
fn a_part_of_the_function_lies_between() {
    let truth = oracle(1000, 100_000, 0);
    let (calls, whole) = (r#""sum_ns":100000000"#, r#""sum_ns":110000000"#);
    let truth = truth.replace(
        &format!(r#""take_gil":{{"count":1000,{calls}"#),
        &format!(r#""take_gil":{{"count":1000,{whole}"#),
    );
    let truth = truth.replace(
        &format!(r#""take_gil":{{"count":1001,{calls}"#),
        &format!(r#""take_gil":{{"count":1001,{whole}"#),
    );
    let told = |sum_us, source| {
        let said = gilscope(1000, sum_us, 300_000, 0, 0).replace("futex", source);
        broken(&truth, &said).len()
    };
    let within = [98_000, 112_000];
    assert_eq!(within.map(|us| told(us, "uprobe")), [0, 0]);
    assert_eq!([97_900, 112_100].map(|us| told(us, "uprobe")), [2, 2]);
    assert_eq!(within.map(|us| told(us, "futex")), [0, 2]);
}

#[test]
fn no_percentile_is_judged_finer_than_the_programs_see() {
    let told = |p99_ns| {
        let truth = oracle(1000, 100_000, 0).replace(r#""p99_ns":300000"#, r#""p99_ns":1000"#);
        broken(&truth, &gilscope(1000, 100_000, p99_ns, 0, 0)).len()
    };
    assert_eq!([1_200, 1_201].map(told), [0, 2]);
}

#[test]
fn a_wrong_holder_is_told() {
    let truth = oracle(1000, 100_000, 0);
    let said = gilscope(1000, 100_000, 300_000, 0, 0);
    assert_eq!(broken(&truth, &said), [""; 0]);
    let wrong = ["python, spin: 0.200 % of 5010 ns are said of the wrong holder"];
    let longer = said.replace(r#""sum_ns":5000}"#, r#""sum_ns":5010}"#);
    assert_eq!(broken(&truth, &longer), wrong);
    let other = said.replace(r#""holder":9"#, r#""holder":8"#);
    assert_eq!(broken(&truth, &other).len(), 1);
    // The threads had it for 4 us at least, of 100 ms.
    let nobody = |ns: u64| {
        let said = format!(r#""blocked_by_nobody_ns":{ns}"#);
        gilscope(1000, 100_000, 300_000, 0, 0).replace(r#""blocked_by_nobody_ns":0"#, &said)
    };
    assert_eq!(broken(&truth, &nobody(99_990_000)), [""; 0]);
    assert_eq!(broken(&truth, &nobody(101_000_000)).len(), 1);
    // It cannot tell.
    let silent = r#""blocked_by":null"#;
    let blind = truth.replace(
        r#""blocked_by":[{"waiter":8,"holder":9,"at_least_ns":4000,"at_most_ns":5000}]"#,
        silent,
    );
    assert_eq!(broken(&blind, &other), [""; 0]);
}
