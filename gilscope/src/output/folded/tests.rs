#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::output::sample::{MS, process, report};

fn text(process: ProcessReport, side: Side) -> String {
    let mut out = Vec::new();
    write(&mut out, &Folded::of(&report(process), side)).unwrap();
    String::from_utf8(out).unwrap()
}

fn sum_us(text: &str) -> u64 {
    let figures = text.lines().map(|line| line.rsplit_once(' ').unwrap().1);
    figures.map(|figure| figure.parse::<u64>().unwrap()).sum()
}

const BOTH: [Side; 2] = [Side::Holder, Side::Waiter];

#[test]
fn who_had_it() {
    assert_eq!(
        text(process(), Side::Holder),
        "\
4242 python3.11;4242 python3;App.main (/srv/app/app.py:140);App.handle (/srv/app/app.py:12) 250000
4242 python3.11;4242 python3;[not read] 20000
4242 python3.11;4243 worker-1;App.main (/srv/app/app.py:140);App.render (/srv/app/app.py:98) 600000
4242 python3.11;4243 worker-1;[not read] 10000
4242 python3.11;[holder not known] 41000
4242 python3.11;[nobody: dropped, not yet taken] 2000
4242 python3.11;[nobody: dropped, not yet taken];App.main (/srv/app/app.py:140);App.render (/srv/app/app.py:98) 5000
"
    );
}

#[test]
fn who_waited() {
    assert_eq!(
        text(process(), Side::Waiter),
        "\
4242 python3.11;App.main (/srv/app/app.py:140);App.handle (/srv/app/app.py:12) 615000
4242 python3.11;App.main (/srv/app/app.py:140);App.render (/srv/app/app.py:98) 250000
4242 python3.11;[not read] 63000
"
    );
}

#[test]
fn it_adds_up_however_small_the_parts() {
    let mut process = process();
    process.blocked_by[0].sum_ns = 610 * MS + 1_499;
    process.blocked_by_nobody_ns = 999;
    process.blocked_by_unknown_ns = 1;
    process.waited_at.pop();
    let row = process.waited_at[0];
    let (frame, stack) = (process.stacks[0].frames[0].clone(), process.stacks.len());
    for line in 0..2_000 {
        let mut stack = process.stacks[0].clone();
        stack.frames[0] = Frame {
            line: Some(line),
            ..frame.clone()
        };
        process.stacks.push(stack);
    }
    // Of the ten milliseconds of the holder that no stack was known of, and of the waiter's.
    process.waited_at.extend((0..2_000).map(|index| BlockedAt {
        waiter_stack: Some(stack + index),
        holder_stack: Some(stack + index),
        sum_ns: 333,
        ..row
    }));
    for side in BOTH {
        let text = text(process.clone(), side);
        // 880,002,499 ns.
        assert_eq!(sum_us(&text), 880_002, "{side:?}");
        assert!(!text.contains(" 0\n"), "{side:?}");
    }
}

/// Where rows were forgotten, their time is unknown, but that of their stacks is known.
#[test]
fn what_has_no_row_is_not_counted_twice() {
    let mut process = process();
    process.blocked_by.truncate(1);
    process.blocked_by_unknown_ns += 270 * MS;
    let holders = text(process, Side::Holder);
    assert_eq!(sum_us(&holders), 928_000);
    assert!(holders.contains(";[holder not known] 61000\n"), "{holders}");
}

#[test]
fn what_is_missing_is_said() {
    let mut process = process();
    process.stacks[1].truncated = true;
    process.stacks[1].unreadable = 2;
    process.threads.clear();
    process.stacks[1].frames[1].line = None;
    let holders = text(process, Side::Holder);
    let line = "4242 python3.11;4243 ?;[truncated];[unreadable];App.main (/srv/app/app.py);App.render (/srv/app/app.py:98) 600000\n";
    assert!(holders.contains(line), "{holders}");
}

#[test]
fn names_cannot_do_harm() {
    let mut process = process();
    process.exe = "/tmp/a;b\n 1".to_owned();
    process.threads[0].name = Some("x;\u{1b}[31m 7\r\n".to_owned());
    let frame = &mut process.stacks[1].frames[0];
    frame.qualified_name = Some(format!("f;g\n# h 12\u{2028}\0{}", "x".repeat(1 << 20)));
    frame.file = "; 99\n".to_owned();
    let lines = text(process, Side::Holder);
    assert_eq!(lines.lines().count(), 7, "{lines}");
    let line = lines.lines().find(|line| line.contains("f:g")).unwrap();
    let start = "4242 a:b� 1;4243 x:�[31m 7��;App.main (/srv/app/app.py:140);f:g�# h 12��xx";
    assert!(line.starts_with(start), "{line}");
    assert!(line.ends_with("xx… (: 99�:98) 600000"), "{line}");
    assert!(line.len() < 1_000);
}

#[test]
fn nobody_waited() {
    let mut process = process();
    process.blocked_by.clear();
    process.waited_at.clear();
    process.blocked_by_nobody_ns = 0;
    process.blocked_by_unknown_ns = 0;
    for side in BOTH {
        let text = text(process.clone(), side);
        assert_eq!(text, "[nobody waited for a GIL] 0\n");
    }
}
