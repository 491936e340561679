use super::*;
use crate::{
    holder::{Division, Look, Piece, Turns},
    sched::{Sched, state},
};

extern crate std;
use std::vec::Vec;

const READ: u16 = 0;
const SLEEP: u16 = 230;

fn at(sched: &Sched, now_ns: u64) -> Snapshot {
    let mut snapshot = Snapshot::NONE;
    sched.look(now_ns, &mut snapshot);
    snapshot
}

/// On the CPU from 0 on.
fn running() -> Sched {
    Sched::seen(0, state::ON_CPU)
}

fn parts(on_cpu_ns: u64, runnable_ns: u64, asleep_ns: u64, sleeps: u32, call: u16) -> Parts {
    Parts {
        on_cpu_ns,
        runnable_ns,
        asleep_ns,
        sleeps,
        call: call.into(),
    }
}

#[test]
fn a_stretch_is_what_the_thread_did_in_it() {
    let mut sched = running();
    let before = at(&sched, 50_000);
    sched.leaves_cpu(80_000, false, call::UNKNOWN, true);
    let preempted = at(&sched, 90_000);
    sched.enters_cpu(100_000);
    sched.leaves_cpu(150_000, true, READ, true);
    let asleep = at(&sched, 160_000);
    sched.woken(250_000);
    let woken = at(&sched, 255_000);
    sched.enters_cpu(260_000);
    let after = at(&sched, 300_000);
    let between = |from, to, ns| Parts::between(&from, &to, ns);
    let nothing = call::UNKNOWN;
    assert_eq!(
        between(before, preempted, 40_000),
        parts(30_000, 10_000, 0, 0, nothing)
    );
    assert_eq!(
        between(preempted, asleep, 70_000),
        parts(50_000, 10_000, 10_000, 1, READ)
    );
    // It went on with the sleep that had begun.
    assert_eq!(
        between(asleep, woken, 95_000),
        parts(0, 5_000, 90_000, 0, READ)
    );
    assert_eq!(
        between(before, after, 250_000),
        parts(120_000, 30_000, 100_000, 1, READ)
    );
}

#[test]
fn several_sleeps_are_named_if_they_are_of_one_call() {
    let mut sched = running();
    let mut sleeps = |calls: &[u16]| {
        let from = at(&sched, sched.since_ns);
        let began_ns = sched.since_ns;
        for call in calls {
            sched.leaves_cpu(sched.since_ns + 10_000, true, *call, true);
            sched.woken(sched.since_ns + 10_000);
            sched.enters_cpu(sched.since_ns);
        }
        let to = at(&sched, sched.since_ns);
        Parts::between(&from, &to, sched.since_ns - began_ns)
    };
    let unknown = call::UNKNOWN;
    assert_eq!(sleeps(&[READ]), parts(10_000, 0, 10_000, 1, READ));
    assert_eq!(sleeps(&[READ, READ]), parts(20_000, 0, 20_000, 2, READ));
    assert_eq!(sleeps(&[SLEEP]), parts(10_000, 0, 10_000, 1, SLEEP));
    assert_eq!(sleeps(&[SLEEP, READ]), parts(20_000, 0, 20_000, 2, unknown));
}

/// It was asleep in one call, and sleeps in another by now.
#[test]
fn the_call_of_a_sleep_that_ended_meanwhile_is_not_the_next_ones() {
    let mut sched = running();
    sched.leaves_cpu(10_000, true, READ, true);
    let from = at(&sched, 20_000);
    sched.woken(30_000);
    sched.enters_cpu(30_000);
    sched.leaves_cpu(40_000, true, SLEEP, true);
    let to = at(&sched, 60_000);
    assert_eq!(
        Parts::between(&from, &to, 40_000),
        parts(10_000, 0, 30_000, 1, call::UNKNOWN)
    );
}

/// Who sleeps without the GIL has let go of it, unless it was seen asleep with it.
#[test]
fn a_sleep_without_the_gil_is_none_with_it() {
    let mut sched = running();
    let from = at(&sched, 10_000);
    sched.leaves_cpu(20_000, true, READ, false);
    let asleep = at(&sched, 30_000);
    sched.woken(90_000);
    sched.enters_cpu(90_000);
    let to = at(&sched, 100_000);
    let asleep_ns = |from, to, ns| Parts::between(from, to, ns).asleep_ns;
    assert_eq!(asleep_ns(&from, &to, 90_000), 0);
    assert_eq!(asleep_ns(&from, &asleep, 20_000), 10_000);
    assert_eq!(asleep_ns(&asleep, &to, 70_000), 60_000);
    // It was seen to have it a moment before it fell asleep.
    sched.leaves_cpu(110_000, true, READ, false);
    let just_before = at(&sched, 109_000);
    assert_eq!(just_before.known, known::AWAKE);
    assert_eq!(asleep_ns(&just_before, &at(&sched, 200_000), 91_000), 0);
}

#[test]
fn what_does_not_fit_is_not_known() {
    let sched = running();
    let (from, to) = (at(&sched, 100_000), at(&sched, 200_000));
    let unknown = parts(0, 0, 0, 0, call::UNKNOWN);
    let between = |from: &Snapshot, to: &Snapshot, ns| Parts::between(from, to, ns);
    assert_eq!(between(&from, &to, 100_000).on_cpu_ns, 100_000);
    assert_eq!(between(&from, &Snapshot::NONE, 100_000), unknown);
    assert_eq!(between(&Snapshot::NONE, &to, 100_000), unknown);
    // Longer on the CPU than there was time, and backwards.
    assert_eq!(between(&from, &to, 80_000), unknown);
    assert_eq!(between(&to, &from, 100_000), unknown);
    // A look that is a little late, either way.
    assert_eq!(
        between(&from, &to, 99_000),
        parts(99_000, 0, 0, 0, call::UNKNOWN)
    );
    assert_eq!(
        between(&from, &to, 101_000),
        parts(100_000, 0, 0, 0, call::UNKNOWN)
    );
}

#[test]
fn a_torn_snapshot_is_none() {
    let mut sched = running();
    assert_eq!(at(&sched, 10).known, known::AWAKE);
    sched.version += 1;
    assert_eq!(at(&sched, 10).known, known::NOTHING);
    sched.version += 1;
    assert_eq!(at(&sched, 10).known, known::AWAKE);
    // Whether it runs is not known before its first event.
    assert_eq!(
        at(&Sched::seen(0, state::UNKNOWN), 10).known,
        known::NOTHING
    );
    for change in [
        |sched: &mut Sched| sched.leaves_cpu(10, true, READ, true),
        |sched: &mut Sched| sched.woken(20),
        |sched: &mut Sched| sched.enters_cpu(30),
        |sched: &mut Sched| sched.leaves_cpu(40, false, READ, true),
    ] {
        let before = sched.version;
        change(&mut sched);
        assert_eq!(sched.version, before + 2);
    }
}

#[test]
fn what_a_thread_came_back_from() {
    let (eval_loop, sleep) = (u32::from(call::EVAL_LOOP), u32::from(SLEEP));
    let mut slept = Slept::default();
    assert_eq!(slept.returns(0), eval_loop);
    slept.sleeps(SLEEP, 5_000);
    assert_eq!(slept.returns(9_000), sleep);
    assert_eq!(slept.returns(9_000), eval_loop, "it has had the GIL");
    slept.sleeps(SLEEP, 5_000);
    slept.has_gil();
    assert_eq!(slept.returns(9_000), eval_loop);
    slept.sleeps(SLEEP, 5_000);
    assert_eq!(slept.returns(5_001 + RETURN_CPU_NS), eval_loop);
}

#[test]
fn a_call_by_its_number() {
    assert_eq!(call::of(0), READ);
    assert_eq!(call::of(230), SLEEP);
    assert_eq!(call::of(u64::MAX), call::NONE);
    // x32's, which no CPython is built for.
    assert_eq!(call::of(0x4000_0000), call::NONE);
    assert_eq!(call::of(0xffff), call::NONE);
}

/// One who always does the same, as a look and as a teller of himself.
struct Holder {
    sched: Sched,
    id: u32,
}

impl Holder {
    fn look(&self, number: u64, now_ns: u64) -> Look {
        Look {
            number,
            now_ns,
            holder: self.id,
            holders: at(&self.sched, now_ns),
            ..Look::NONE
        }
    }
}

fn pieces(division: &mut Division, turns: &Turns, look: Look) -> Vec<Piece> {
    let mut told = Vec::new();
    division.look = look;
    division.goes_on(turns, &mut |piece| {
        let parts = piece.parts;
        assert!(parts.on_cpu_ns + parts.runnable_ns + parts.asleep_ns <= piece.ns);
        told.push(*piece);
    });
    told
}

/// The first has it and sleeps, drops it, the second takes it and is preempted; both tell.
#[test]
fn the_holders_parts_of_a_wait_add_up_to_it() {
    let mut first = Holder {
        sched: running(),
        id: 1,
    };
    let mut second = Holder {
        sched: Sched::seen(0, state::ASLEEP),
        id: 2,
    };
    let (mut division, mut turns) = (Division::NONE, Turns::NONE);
    division.look = first.look(7, 100_000);
    division.begins();
    first.sched.leaves_cpu(110_000, true, SLEEP, true);
    let mut told = pieces(&mut division, &turns, first.look(7, 140_000));
    first.sched.woken(150_000);
    first.sched.enters_cpu(155_000);
    turns.dropped(&first.look(7, 160_000), true);
    second.sched.woken(160_000);
    second.sched.enters_cpu(170_000);
    turns.gets(&second.look(8, 171_000));
    second.sched.leaves_cpu(180_000, false, 0, true);
    told.extend(pieces(&mut division, &turns, second.look(8, 200_000)));
    let expected = [
        (1, 40_000, parts(10_000, 0, 30_000, 1, SLEEP)),
        (1, 20_000, parts(5_000, 5_000, 10_000, 0, SLEEP)),
        (u32::MAX, 11_000, parts(0, 0, 0, 0, call::UNKNOWN)),
        (2, 29_000, parts(9_000, 20_000, 0, 0, call::UNKNOWN)),
    ];
    let seen: Vec<_> = (told.iter())
        .map(|piece| (piece.holder, piece.ns, piece.parts))
        .collect();
    assert_eq!(seen, expected);
    let sleeps: Vec<_> = told.iter().map(Piece::sleeps).collect();
    assert_eq!(sleeps[..2], [1, 0], "the second piece is of the same sleep");
}

/// Who took it did not tell, so nothing is known of what the one before did last.
#[test]
fn a_piece_with_one_end_is_not_known() {
    let [first, second] = [1, 2].map(|id| Holder {
        sched: running(),
        id,
    });
    let (mut division, mut turns) = (Division::NONE, Turns::NONE);
    division.look = first.look(7, 100_000);
    division.begins();
    turns.gets(&second.look(8, 150_000));
    let told = pieces(&mut division, &turns, second.look(8, 200_000));
    let seen: Vec<_> = (told.iter())
        .map(|piece| (piece.holder, piece.ns, piece.parts.on_cpu_ns))
        .collect();
    assert_eq!(seen, [(1, 50_000, 0), (2, 50_000, 50_000)]);
}
