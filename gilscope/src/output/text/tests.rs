#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::model::{
    Finding, Frame, GilWaits, HistogramSummary, Loss, NativeFunction, OtherLocks, OtherStorms,
    OtherThreads, Purpose, Storm, StormKind, Unfinished,
};
use crate::output::sample::{MS, idle, lock, process, report, storm, thread, waits, what_if};

fn shown_with(report: &Report, style: Style, all_threads: bool) -> String {
    let mut out = Vec::new();
    write(&mut out, report, style, all_threads).unwrap();
    String::from_utf8(out).unwrap()
}

fn shown(process: ProcessReport) -> String {
    shown_with(&report(process), Style::default(), false)
}

fn has_line(text: &str, line: &str) {
    assert!(
        text.lines().any(|shown| shown == line),
        "no line {line:?} in\n{text}"
    );
}

#[test]
fn leads_with_the_process_then_its_worst_threads() {
    let expected = "\
Process 4242: python3 app.py --port 80
Verdict: convoy
  A thread that runs little waited behind thread 4243 (worker-1): thread 4242 (python3) 20.0 % of
  its life, 5.0 ms each time (400 waits).
  in App.render, /srv/app/app.py:98
    called in App.main, /srv/app/app.py:140
  To do: Compute in other processes, or in native code that lets go of the GIL.
At least one thread waited for the GIL 62.3 % of the time (6.23 s of 10.0 s).
Its 3 threads waited 6.97 s in all, in 12,745 waits.
The worst is 4243 worker-1: 4.97 s, 49.7 % of its life.

   tid  thread     waits      p50      p99      max  waited  vol.sw  invol.sw  futile
  4243  worker-1  12,345  1.80 µs  24.7 ms   1.05 s  49.7 %   1,234        56      12
  4242  python3      400  5.01 ms  9.99 ms  15.1 ms  20.0 %   1,234        56      12
waited: share of the thread's life. vol.sw, invol.sw: switches by itself, and by preemption.
futile: woken because the GIL was free, found it taken again.
Not shown: 1 thread did not wait (--all-threads shows them).

Who had the GIL while others waited for it:
  4243 worker-1: 610 ms (65.7 %), longest 12.0 ms, 1 waiter
    on the CPU 70.0 %, runnable 10.0 %, asleep 10.0 % (fsync), not known 10.0 %
  4242 python3: 270 ms (29.1 %), longest 12.0 ms, 1 waiter
    on the CPU 70.0 %, runnable 10.0 %, asleep 10.0 %, not known 10.0 %
  Nobody (dropped, not yet taken): 7.00 ms (0.8 %); not known: 41.0 ms (4.4 %)
What the waiters had come back from:
  recvfrom: 400 waits, 5.97 s
  eval-loop: 12,345 waits, 1.00 s

Where it was had:
  App.render, /srv/app/app.py:98: 600 ms (64.7 %)
    called in App.main, /srv/app/app.py:140
    waited for in App.handle, /srv/app/app.py:12: 600 ms
  App.handle, /srv/app/app.py:12: 250 ms (26.9 %)
    called in App.main, /srv/app/app.py:140
    waited for in App.render, /srv/app/app.py:98: 250 ms
  Nobody had it yet, mostly after it was dropped in
  App.render, /srv/app/app.py:98: 5.00 ms (0.5 %)
  Both places are known for 92.1 % of the time waited.

What ran with it: Python 75.0 %, native code 24.5 %, not known 0.5 % (200 samples).
  libz.so.1.2.13 crc32_z: thread 4243, 20.0 %
    called from _zlib.so checksum: 18.0 %

Forced switches, apart from waits: a thread gave way 300 times, 800 ms in all, longest 6.00 ms.
Voluntary context switches: 3,702, of which 2,400 (64.8 %) to wait for the GIL (24 futile wake-ups).
Garbage collections: 310 of generation 0, 28 of generation 1, 2 of generation 2; 105 ms in all.
Unfinished waits, in no count or percentile: 0 ns at the start of tracing, 3.00 ms at its end.
GIL 0: CPython 3.11.2; found by _PyRuntime, measured by futex calls.
";
    assert_eq!(shown(process()), expected);
}

#[test]
fn a_gil_that_is_off_is_no_result() {
    let mut off = ProcessReport {
        gil_wait: HistogramSummary::default(),
        contended_ns: 0,
        threads: vec![idle(4_242), idle(4_243)],
        ..process()
    };
    off.gils[0].free_threaded = true;
    off.gils[0].enabled = false;
    let text = shown(off);
    has_line(
        &text,
        "Its GIL is switched off (free-threaded), so no thread waited for it.",
    );
    assert!(!text.contains("That is a result"), "{text}");
}

#[test]
fn says_plainly_that_nobody_waited() {
    let quiet = ProcessReport {
        gil_wait: HistogramSummary::default(),
        contended_ns: 0,
        threads: vec![idle(4_242), idle(4_243)],
        blocked_by: Vec::new(),
        waited_at: Vec::new(),
        findings: Vec::new(),
        ..process()
    };
    let expected = "\
Process 4242: python3 app.py --port 80
No thread waited for the GIL in these 10.0 s.
2 threads followed. That is a result: whatever it is slow by, it is not the wait for the GIL.

GIL 0: CPython 3.11.2; found by _PyRuntime, measured by futex calls.
";
    assert_eq!(shown(quiet), expected);
}

/// There may be hundreds, all alike.
#[test]
fn gils_that_are_alike_are_one_line() {
    let mut many = process();
    many.gils = vec![many.gils[0].clone(); 5];
    for (id, gil) in many.gils.iter_mut().enumerate() {
        gil.id = u32::try_from(id).unwrap();
    }
    many.gils[4].enabled = false;
    let text = shown(many);
    let how = "found by _PyRuntime, measured by futex calls.";
    has_line(&text, &format!("GILs 0 to 3: CPython 3.11.2; {how}"));
    has_line(
        &text,
        &format!("GIL 4: CPython 3.11.2, switched off; {how}"),
    );
}

#[test]
fn gils_without_room_are_said() {
    let quiet = ProcessReport {
        gil_wait: HistogramSummary::default(),
        threads: vec![idle(4_242)],
        gils_not_traced: 1_200,
        ..process()
    };
    let text = shown(quiet.clone());
    let lines = [
        "1 thread followed. That is no result, as some of its GILs were not traced.",
        "1,200 GILs were not traced, as there was no room for them.",
    ];
    lines.iter().for_each(|line| has_line(&text, line));
    let none = ProcessReport {
        gils: Vec::new(),
        ..quiet
    };
    has_line(&shown(none), "None of its GILs was traced.");
}

#[test]
fn a_process_without_a_gil_is_no_result_about_one() {
    let other = ProcessReport {
        gil_wait: HistogramSummary::default(),
        contended_ns: 0,
        gils: Vec::new(),
        threads: vec![idle(4_242)],
        blocked_by: Vec::new(),
        waited_at: Vec::new(),
        findings: Vec::new(),
        ..process()
    };
    let expected = "\
Process 4242: python3 app.py --port 80
No GIL was found in it, so there was none to wait for.
It is no CPython, or a 2.7 that never had a second thread.

";
    assert_eq!(shown(other), expected);
}

/// A thread that waits all the time finishes no wait.
#[test]
fn an_unfinished_wait_is_a_wait() {
    let mut stuck = thread(4_243, "stuck", HistogramSummary::default());
    stuck.gil[0].unfinished.at_end_ns = 9_000 * MS;
    let text = shown(ProcessReport {
        gil_wait: HistogramSummary::default(),
        threads: vec![stuck],
        ..process()
    });
    has_line(
        &text,
        "  4243  stuck       0    –    –    –  90.0 %   1,234        56      12",
    );
    assert!(!text.contains("No thread waited"));
}

#[test]
fn shows_twenty_threads_unless_all_are_wanted() {
    let mut busy = process();
    let wait = |tid| waits(10, u64::from(tid), 1_000, 2_000, 3_000);
    busy.threads = (1..=25)
        .rev()
        .map(|n| thread(4_300 + n, "w", wait(n)))
        .collect();
    busy.threads.extend([idle(5_000), idle(5_001)]);
    let text = shown(busy.clone());
    assert_eq!(
        text.lines().filter(|line| line.starts_with("  43")).count(),
        20
    );
    has_line(
        &text,
        "Not shown: 5 more waited 15.0 ms in all; 2 threads did not wait (--all-threads shows them).",
    );
    let text = shown_with(&report(busy), Style::default(), true);
    assert_eq!(
        text.lines().filter(|line| line.starts_with("  43")).count(),
        25
    );
    has_line(
        &text,
        "  5001  idle        0        –        –        –     0 %   1,234        56       0",
    );
    assert!(!text.contains("Not shown"));
}

#[test]
fn says_that_and_how_a_process_ended() {
    let cases = [
        (
            Some(ExitStatus::Code(1)),
            "It ended with status 1 after 3.00 s: ",
        ),
        (
            Some(ExitStatus::Signal(9)),
            "It ended by signal 9 after 3.00 s: ",
        ),
        (None, "It ended after 3.00 s: "),
    ];
    for (status, expected) in cases {
        let ended = Some(ProcessEnd {
            at_ns: 3_000 * MS,
            status,
        });
        let text = shown(ProcessReport { ended, ..process() });
        assert!(text.lines().nth(1).unwrap().starts_with(expected), "{text}");
    }
}

#[test]
fn says_what_was_lost() {
    assert!(!shown(process()).contains("Lost"));
    let mut lossy = report(process());
    lossy.loss = Loss {
        events_lost: 12,
        waits_lost: 5,
        wait_lost_ns: 7 * MS,
    };
    let text = shown_with(&lossy, Style::default(), false);
    has_line(
        &text,
        "Lost: 12 records came too fast to be taken, among them 5 waits of 7.00 ms in all.",
    );
    has_line(
        &text,
        "Counts, totals and the longest waits are complete all the same; percentiles lack the lost.",
    );
}

/// The five worst, who sleeps on purpose apart from who is hindered, and never among the GIL's.
#[test]
fn other_locks_come_last() {
    assert!(!shown(process()).contains("lock"));
    let wait = |ms| waits(10, ms, 1_000, 2_000, 3 * MS);
    let mut contended = process();
    contended.locks = (0..7)
        .map(|id| lock(id, Purpose::Contention, wait(700 - u64::from(id))))
        .collect();
    contended.locks[1].unfinished.at_end_ns = 4 * MS;
    contended.locks[6].purpose = Purpose::Unknown;
    contended.locks.push(lock(7, Purpose::Idle, wait(90_000)));
    contended.other_locks = Some(OtherLocks {
        rows: 3,
        wait: wait(2),
        unfinished: Unfinished::default(),
    });
    let expected = "
Other locks, apart from the GIL: 70 waits, 4.88 s in all (4.00 ms of it unfinished).
  0x7f0000002000 semaphore: 10 waits, 700 ms, longest 3.00 ms, 3 threads
  0x7f0000002001 semaphore: 10 waits, 703 ms, longest 3.00 ms, 3 threads
  0x7f0000002002 semaphore: 10 waits, 698 ms, longest 3.00 ms, 3 threads
  0x7f0000002003 semaphore: 10 waits, 697 ms, longest 3.00 ms, 3 threads
  0x7f0000002004 semaphore: 10 waits, 696 ms, longest 3.00 ms, 3 threads
  2 more: 20 waits, 1.39 s in all (--json has them).
  Of these, whether for work or for what another had is not known: 10 waits, 694 ms.
Asleep on purpose, waiting for work: 10 times, 90.0 s in all, on 1 lock.
Beyond the row limit: 10 waits, 2.00 ms in all.
";
    let text = shown(contended);
    assert!(text.ends_with(expected), "{text}");
    assert_fits(&text);
}

#[test]
fn each_gil_has_its_row() {
    let mut two = process();
    two.gils.push(crate::model::GilInfo {
        id: 1,
        ..two.gils[0].clone()
    });
    let wait = waits(7, 70, 1_000, 2_000, 3_000);
    two.threads[1].gil.push(GilWaits {
        gil_id: 1,
        wait,
        ..GilWaits::default()
    });
    let text = shown(two);
    has_line(
        &text,
        "  4242  python3     0     400  5.01 ms  9.99 ms  15.1 ms  20.0 %   1,234        56      12",
    );
    has_line(
        &text,
        "  4242  python3     1       7  1.00 µs  2.00 µs  3.00 µs   0.7 %   1,234        56       0",
    );
}

#[test]
fn python_s_name_comes_before_the_system_s() {
    let mut named = process();
    named.threads[0].name = Some("reader of the queue".to_owned());
    named.threads[1].os_name = None;
    let text = shown(named);
    assert!(text.contains("  4243  reader of the …  12,345"), "{text}");
    assert!(text.contains("  4242  ?  "), "{text}");
}

#[test]
fn merged_threads_are_one_line() {
    let wait = waits(90, 5_000, 1_000, 2_000, 3_000_000);
    let others = OtherThreads {
        threads: 95_904,
        wait,
        ..OtherThreads::default()
    };
    let text = shown(ProcessReport {
        other_threads: Some(others),
        ..process()
    });
    has_line(
        &text,
        "95,904 ended threads beyond the row limit: 90 waits, 5.00 s in all, longest 3.00 ms.",
    );
    assert!(
        text.contains("Its 95,907 threads waited 12.0 s in all"),
        "{text}"
    );
}

/// A target names its threads, its arguments and more as it likes.
#[test]
fn hostile_text_is_harmless_and_fits() {
    let evil = "\x1b]0;title\x07\u{202e}\n\r".repeat(10_000);
    let mut process = process();
    process.threads[0].name = Some(evil.clone());
    process.threads[1].os_name = Some(evil.clone());
    process.cmdline = vec![evil.clone(); 3];
    process.exe = evil.clone();
    process.container = Some(evil.clone());
    process.gils[0].python = evil.clone();
    process.stacks[1].frames[0] = Frame {
        name: evil.clone(),
        qualified_name: Some(evil.clone()),
        file: evil.clone(),
        line: Some(u32::MAX),
    };
    let native = NativeFunction {
        library: evil.clone(),
        function: Some(evil.clone()),
    };
    process.native_at[0].callers[0].functions = vec![native.clone()];
    process.native_at[0].at = native;
    process.findings[0].says = format!("thread {}", "x".repeat(3_000));
    process.findings.push(Finding {
        says: evil,
        ..process.findings[0].clone()
    });
    let text = shown(process);
    assert!(
        !text
            .chars()
            .any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')),
        "{text:?}"
    );
    assert_eq!(text.lines().count(), 58);
    assert_fits(&text);
}

#[test]
fn the_greatest_numbers_fit() {
    let most = u64::MAX;
    let all = HistogramSummary {
        count: most,
        sum_ns: most,
        max_ns: most,
        ..waits(1, 1, most, most, most)
    };
    let unfinished = Unfinished {
        at_start_ns: most,
        at_end_ns: most,
    };
    let mut process = process();
    process.pid = u32::MAX;
    process.gil_wait = all.clone();
    process.contended_ns = most;
    process.ended = Some(ProcessEnd {
        at_ns: most,
        status: Some(ExitStatus::Code(i32::MIN)),
    });
    for thread in &mut process.threads {
        thread.tid = u32::MAX;
        thread.os_name = Some("fifteen letters".to_owned());
        thread.observed_ns = most;
        thread.cpu.voluntary_switches = most;
        thread.cpu.involuntary_switches = most;
        thread.gil = vec![GilWaits {
            wait: all.clone(),
            forced_switch: all.clone(),
            unfinished,
            timeouts: most,
            futile_wakeups: most,
            ..GilWaits::default()
        }];
    }
    let others = OtherThreads {
        threads: most,
        wait: all.clone(),
        unfinished,
        ..OtherThreads::default()
    };
    process.other_threads = Some(others);
    process.locks = (0..9)
        .map(|_| lock(u32::MAX, Purpose::Unknown, all.clone()))
        .collect();
    for lock in &mut process.locks {
        lock.address = None;
        lock.requested_by = Some(u32::MAX);
        lock.kind = crate::model::LockKind::StopTheWorld;
        (lock.threads, lock.unfinished) = (most, unfinished);
    }
    let mut report = report(process);
    report.loss = Loss {
        events_lost: most,
        waits_lost: most,
        wait_lost_ns: most,
    };
    assert_fits(&shown_with(&report, Style::default(), true));
}

fn assert_fits(text: &str) {
    for line in text.lines() {
        assert!(
            line.chars().count() <= WIDTH,
            "{}: {line}",
            line.chars().count()
        );
    }
}

#[test]
fn colours_change_nothing_but_colours() {
    let report = report(process());
    let coloured = shown_with(&report, Style { colour: true }, false);
    assert!(coloured.contains("\x1b[1mProcess 4242"));
    let mut plain = coloured;
    for code in ["0", "1", "2", "33"] {
        plain = plain.replace(&format!("\x1b[{code}m"), "");
    }
    assert_eq!(plain, shown_with(&report, Style::default(), false));
}

#[test]
fn processes_follow_one_another() {
    let mut two = report(process());
    two.processes.push(ProcessReport {
        pid: 5,
        ..process()
    });
    let text = shown_with(&two, Style::default(), false);
    assert!(text.contains("futex calls.\n\nProcess 5: "), "{text}");
}

#[test]
fn storms_come_with_the_worst_threads_and_what_there_is_to_gain() {
    let pause = Storm {
        kind: StormKind::Pause,
        unfinished: true,
        events_lost: 2,
        top_holder: None,
        ..storm()
    };
    let text = shown(ProcessReport {
        storms: vec![storm(), pause],
        other_storms: Some(OtherStorms {
            storms: 3,
            ..OtherStorms::default()
        }),
        what_if: Some(what_if()),
        ..process()
    });
    let expected = "
Storms, when it lost more than it should, worst first:
  contention from 1.20 s: 3.00 s, 2 threads waited 4.50 s in all, 66.7 % behind 4243
    which was in App.render, /srv/app/app.py:98
    up to 2 at once; ran 3.10 s (system 1.40 s); ready without a processor 20.0 ms
    switches/s: 14,000, 12,000 for the GIL; woken in vain 10,000 times/s
    waited longest: 4242 python3 2.50 s, 4243 worker-1 2.00 s
  pause, in which no waiter got it from 1.20 s, to the end: 3.00 s, 2 threads waited 4.50 s in all
    up to 2 at once; ran 3.10 s (system 1.40 s); ready without a processor 20.0 ms
    switches/s: 14,000, 12,000 for the GIL; woken in vain 10,000 times/s
    2 records lost meanwhile: it may have been several
    waited longest: 4242 python3 2.50 s, 4243 worker-1 2.00 s
  Not shown: 3 storms with less waiting.
Without a GIL at most 1.49 times as fast, its thread 4243 worker-1 1.99 times; 3 processes as well.
That is if each thread does the same as before, nothing new hinders it, and the change is free.
";
    assert!(text.contains(expected), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
}
