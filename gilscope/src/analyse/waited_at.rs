//! Where in Python threads waited for a GIL, and where the one was that had it.

use crate::model::{self, BlockedAt, Frame, OtherBlockedAt, PythonStack, Storm};
use std::{cmp::Reverse, collections::HashMap};

/// Stacks that are told apart; what comes beyond is not known.
const MAX_STACKS: usize = 16_384;
/// Bytes of stacks that are told apart, since names may be long; what does not fit is not known. With names as they usually are, it is some 16,384
/// stacks of 20 functions.
const MAX_BYTES: usize = 64 << 20;
/// The kernel's numbers that are remembered, of which many may be of one stack: a line has several instructions.
const MAX_NUMBERS: usize = 1 << 20;
/// Rows that are kept; beyond, the smallest are merged.
const MAX_ROWS: usize = 16_384;
/// Rows in the report.
const MAX_REPORTED: usize = 1_000;

/// A GIL, its holder if there was one, and the two stacks.
type Key = (u32, Option<u32>, Option<usize>, Option<usize>);

/// Stacks that are told apart, each once.
#[derive(Debug, Default)]
pub(super) struct ToldApart {
    /// In the order in which they came.
    pub indices: HashMap<PythonStack, usize>,
    bytes: usize,
}

impl ToldApart {
    /// Which one it is. `None` where nothing is known of it, or it is beyond so many, or beyond [`MAX_BYTES`].
    pub fn index(&mut self, mut stack: PythonStack, most: usize) -> Option<usize> {
        if let Some(index) = self.indices.get(&stack) {
            return Some(*index);
        }
        let next = self.indices.len();
        // Who reads one sets room aside for the deepest.
        stack.frames.shrink_to_fit();
        let bytes = self.bytes.saturating_add(size(&stack));
        if stack.frames.is_empty() || next >= most || bytes > MAX_BYTES {
            return None;
        }
        self.bytes = bytes;
        self.indices.insert(stack, next);
        Some(next)
    }
}

/// Bytes that it takes.
fn size(stack: &PythonStack) -> usize {
    let names = |frame: &Frame| {
        let qualified_name = frame.qualified_name.as_ref().map_or(0, String::capacity);
        frame.name.capacity() + frame.file.capacity() + qualified_name
    };
    size_of::<(PythonStack, usize)>()
        + stack.frames.capacity() * size_of::<Frame>()
        + stack.frames.iter().map(names).sum::<usize>()
}

/// What has been seen so far.
#[derive(Debug, Default)]
pub(super) struct WaitedAt {
    /// Which stack has this number of the kernel's.
    numbers: HashMap<u64, Option<usize>>,
    stacks: ToldApart,
    rows: HashMap<Key, Sum>,
    both_ns: u64,
    others: OtherBlockedAt,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    count: u64,
    sum_ns: u64,
}

/// What the report says of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Places {
    pub rows: Vec<BlockedAt>,
    pub both_ns: u64,
    pub others: Option<OtherBlockedAt>,
    pub stacks: Vec<PythonStack>,
}

impl WaitedAt {
    /// A stack has been read, and has this number.
    pub fn read(&mut self, number: u64, stack: PythonStack) {
        if self.numbers.len() >= MAX_NUMBERS && !self.numbers.contains_key(&number) {
            return;
        }
        let index = self.stacks.index(stack, MAX_STACKS);
        self.numbers.insert(number, index);
    }

    /// Threads have waited so much more. Answers with the holder's stack, by the number that it has here.
    pub fn add(&mut self, more: &model::WaitedAt) -> Option<usize> {
        let index = |number| self.numbers.get(&number).copied().flatten();
        let (waiter, holder) = (index(more.waiter_stack), index(more.holder_stack));
        if waiter.is_none() && holder.is_none() {
            return None;
        }
        if waiter.is_some() && holder.is_some() {
            self.both_ns = self.both_ns.saturating_add(more.sum_ns);
        }
        let key = (more.gil_id, more.holder, waiter, holder);
        let sum = self.rows.entry(key).or_default();
        sum.count = sum.count.saturating_add(more.count);
        sum.sum_ns = sum.sum_ns.saturating_add(more.sum_ns);
        // Not at every new one, since it looks at all.
        if self.rows.len() > MAX_ROWS + MAX_ROWS / 4 {
            self.merge_beyond(MAX_ROWS);
        }
        holder
    }

    /// Keeps so many rows, the longest; which are sorted, longest first.
    fn merge_beyond(&mut self, limit: usize) -> Vec<(Key, Sum)> {
        let mut rows: Vec<_> = self.rows.drain().collect();
        rows.sort_unstable_by_key(|(key, sum)| (Reverse(sum.sum_ns), *key));
        for (_, sum) in rows.drain(limit.min(rows.len())..) {
            self.others.rows += 1;
            self.others.count = self.others.count.saturating_add(sum.count);
            self.others.sum_ns = self.others.sum_ns.saturating_add(sum.sum_ns);
        }
        self.rows = rows.iter().copied().collect();
        rows
    }

    /// The longest first, and the stacks that they and these storms name.
    pub fn report(mut self, storms: &mut [Storm]) -> Places {
        let kept = self.merge_beyond(MAX_REPORTED);
        let mut all: HashMap<usize, PythonStack> = self
            .stacks
            .indices
            .into_iter()
            .map(|(stack, index)| (index, stack))
            .collect();
        let (mut stacks, mut places) = (Vec::new(), HashMap::new());
        let mut place = |index: Option<usize>| {
            let index = index?;
            if let Some(stack) = all.remove(&index) {
                places.insert(index, stacks.len());
                stacks.push(stack);
            }
            places.get(&index).copied()
        };
        let rows = kept
            .into_iter()
            .map(|((gil_id, holder, waiter, holder_at), sum)| BlockedAt {
                gil_id,
                waiter_stack: place(waiter),
                holder,
                holder_stack: place(holder_at),
                count: sum.count,
                sum_ns: sum.sum_ns,
            })
            .collect();
        for holder in storms.iter_mut().filter_map(|it| it.top_holder.as_mut()) {
            holder.stack = place(holder.stack);
        }
        Places {
            rows,
            both_ns: self.both_ns,
            others: (self.others.rows > 0).then_some(self.others),
            stacks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(line: u32) -> PythonStack {
        PythonStack {
            frames: vec![Frame {
                name: "work".to_owned(),
                qualified_name: None,
                file: "app.py".to_owned(),
                line: Some(line),
            }],
            truncated: false,
            unreadable: 0,
        }
    }

    fn waited(waiter_stack: u64, holder_stack: u64, sum_ns: u64) -> model::WaitedAt {
        model::WaitedAt {
            gil_id: 0,
            holder: Some(9),
            waiter_stack,
            holder_stack,
            count: 1,
            sum_ns,
        }
    }

    /// Two numbers of one line are one stack; what is known of one side only counts, but not as both.
    #[test]
    fn the_instructions_of_a_line_are_one_place() {
        let mut places = WaitedAt::default();
        for (number, line) in [(11, 1), (12, 1), (13, 2)] {
            places.read(number, stack(line));
        }
        for more in [
            waited(11, 13, 10),
            waited(12, 13, 20),
            waited(0, 13, 5),
            waited(13, 99, 100),
            waited(99, 98, 1_000),
        ] {
            places.add(&more);
        }
        let told = places.report(&mut []);
        let rows: Vec<_> = told
            .rows
            .iter()
            .map(|row| (row.waiter_stack, row.holder_stack, row.count, row.sum_ns))
            .collect();
        assert_eq!(
            rows,
            [
                (Some(0), None, 1, 100),
                (Some(1), Some(0), 2, 30),
                (None, Some(0), 1, 5)
            ]
        );
        assert_eq!((told.both_ns, told.others), (30, None));
        assert_eq!(told.stacks, [stack(2), stack(1)]);
    }

    #[test]
    fn beyond_the_limit_the_smallest_are_merged() {
        let mut places = WaitedAt::default();
        for number in 1..=2_000_u32 {
            places.read(number.into(), stack(number));
            places.add(&waited(number.into(), 0, number.into()));
        }
        let told = places.report(&mut []);
        assert_eq!(
            (told.rows.len(), told.stacks.len()),
            (MAX_REPORTED, MAX_REPORTED)
        );
        assert_eq!(
            told.others,
            Some(OtherBlockedAt {
                rows: 1_000,
                count: 1_000,
                sum_ns: 500_500
            })
        );
    }

    /// Long names cannot make gilscope's memory endless. What is beyond is not known, and what is known stays so.
    #[test]
    fn no_more_bytes_are_kept_than_fit() {
        let mut places = WaitedAt::default();
        let long = |line| {
            let mut stack = stack(line);
            stack.frames[0].name = "x".repeat(MAX_BYTES / 4);
            stack
        };
        for (number, line) in [(11, 1), (12, 2), (13, 3), (14, 4), (15, 1)] {
            places.read(number, long(line));
        }
        for number in 11..=15 {
            places.add(&waited(number, 0, number));
        }
        let told = places.report(&mut []);
        let sums: Vec<_> = told.rows.iter().map(|row| row.sum_ns).collect();
        assert_eq!((sums, told.stacks.len()), (vec![11 + 15, 13, 12], 3));
    }

    /// A stack of which nothing could be read is not known.
    #[test]
    fn an_empty_stack_is_none() {
        let mut places = WaitedAt::default();
        places.read(
            5,
            PythonStack {
                frames: Vec::new(),
                ..stack(1)
            },
        );
        places.add(&waited(5, 0, 10));
        assert!(places.report(&mut []).rows.is_empty());
    }
}
