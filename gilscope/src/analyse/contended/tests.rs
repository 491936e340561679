use super::*;

/// xorshift64: numbers that look random and are the same in every run.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// The length of the union, by sorting.
fn union_ns(intervals: &[(u64, u64)]) -> u64 {
    let mut sorted = intervals.to_vec();
    sorted.sort_unstable();
    let (mut total, mut reached) = (0, 0);
    for (start, end) in sorted {
        total += end.saturating_sub(start.max(reached));
        reached = reached.max(end);
    }
    total
}

/// Adds the intervals as `lateness` shuffles them.
fn added(intervals: &[(u64, u64)], lateness: usize, state: &mut u64) -> Contended {
    let mut order = intervals.to_vec();
    order.sort_unstable_by_key(|&(_, end)| end);
    for window in order.chunks_mut(lateness.max(1)) {
        for i in (1..window.len()).rev() {
            window.swap(i, (next(state) % (i as u64 + 1)) as usize);
        }
    }
    let mut contended = Contended::default();
    order
        .iter()
        .for_each(|&(start, end)| contended.add(start, end));
    contended
}

#[test]
fn is_the_union_whatever_the_order() {
    let mut state = 0x9e37_79b9;
    for round in 1..400 {
        let (reach, longest) = (1 + next(&mut state) % 3_000, 1 + next(&mut state) % 60);
        let intervals: Vec<_> = (0..round)
            .map(|_| (next(&mut state) % reach, next(&mut state) % longest))
            .map(|(start, length)| (start, start + length))
            .collect();
        let contended = added(&intervals, round, &mut state);
        assert_eq!(contended.total_ns(), union_ns(&intervals), "{intervals:?}");
        assert_eq!(contended.uncertain_ns(), 0);
        assert!(contended.spans.values().all(|span| span.covered_ns > 0));
    }
}

/// 300,000 stretches apart, in threads' usual disorder: exact although most are blurred.
#[test]
fn is_exact_beyond_its_memory_while_lateness_is_bounded() {
    let mut state = 7;
    let intervals: Vec<_> = (0..300_000)
        .map(|i| (i * 10, i * 10 + 1 + next(&mut state) % 8))
        .collect();
    let contended = added(&intervals, 5_000, &mut state);
    assert_eq!(contended.total_ns(), union_ns(&intervals));
    assert_eq!(contended.uncertain_ns(), 0);
    assert!(contended.spans.len() <= MAX_SPANS);
}

/// Waits that reach far behind what is remembered: the truth lies within what is said.
#[test]
fn says_how_uncertain_it_is_when_intervals_come_too_late() {
    let mut state = 11;
    let mut intervals: Vec<_> = (0..300_000_u64).map(|i| (i * 10, i * 10 + 5)).collect();
    let mut contended = added(&intervals, 1, &mut state);
    for round in 1..=100 {
        let start = next(&mut state) % 3_000_000;
        let interval = (start, start + 1 + next(&mut state) % 4_000);
        contended.add(interval.0, interval.1);
        intervals.push(interval);
        if round % 25 == 0 {
            let (truth, least) = (union_ns(&intervals), contended.total_ns());
            let most = least + contended.uncertain_ns();
            assert!(
                (least..=most).contains(&truth),
                "{least} <= {truth} <= {most}"
            );
        }
    }
    assert!(contended.uncertain_ns() > 0);
}

/// A wait of half the run that ends last covers blurred spans whole, so all of it counts.
#[test]
fn a_long_late_wait_counts_whole() {
    let mut contended = Contended::default();
    (0..200_000_u64).for_each(|i| contended.add(i * 10, i * 10 + 5));
    contended.add(0, 2_000_000);
    assert_eq!(
        (contended.total_ns(), contended.uncertain_ns()),
        (2_000_000, 0)
    );
    assert_eq!(contended.spans.len(), 1);
}

#[test]
fn takes_any_numbers() {
    let mut contended = Contended::default();
    for (start, end) in [
        (5, 5),
        (9, 3),
        (0, u64::MAX),
        (u64::MAX, 0),
        (1, 2),
        (u64::MAX - 1, u64::MAX),
    ] {
        contended.add(start, end);
    }
    assert_eq!(contended.total_ns(), u64::MAX);
}
