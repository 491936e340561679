extern crate std;

use super::*;
use crate::records::kind;
use std::{boxed::Box, collections::HashMap, vec::Vec};

/// As CPython 3.12 has it (`Include/internal/pycore_frame.h`), in short.
const OFFSETS: FrameOffsets = FrameOffsets {
    last_holder: 0,
    locked: 0,
    thread_id: 136,
    frame: 56,
    has_cframe: 1,
    cframe_frame: 0,
    previous: 8,
    code: 0,
    state: 0,
    interpreter: 0,
    requester: 0,
    native_id: 0,
    runtime_requester: 0,
    instruction: 56,
    instruction_unused_bits: 0,
    owner: 70,
    owner_mask: 0xff,
    no_function_from: 3,
    frame_length: 72,
    code_from: 64,
    code_length: 64,
    file: 112 - 64,
    name: 120 - 64,
    name_hash: 24,
    first_line: 68 - 64,
};
const STATE: u64 = 0x10_000;
const C_FRAME: u64 = 0x20_000;

#[derive(Clone, Default)]
struct Words(HashMap<u64, u64>);

impl Memory for Words {
    fn word(&self, address: u64) -> u64 {
        self.0.get(&address).copied().unwrap_or(0)
    }

    fn span(&self, address: u64, length: u32, into: &mut Span) {
        for (at, word) in into.iter_mut().enumerate().take(length as usize / 8) {
            *word = self.word(address + 8 * at as u64);
        }
    }
}

impl Words {
    /// A thread whose functions have these frames, the innermost first: each its address, its code object and its owner.
    fn thread(frames: &[(u64, u64, u8)]) -> Self {
        let mut words = Self::default();
        words.0.insert(STATE + 56, C_FRAME);
        words.is_in(frames);
        words
    }

    fn is_in(&mut self, frames: &[(u64, u64, u8)]) {
        let first = frames.first().map_or(0, |frame| frame.0);
        self.0.insert(C_FRAME, first);
        for (at, &(address, code, owner)) in frames.iter().enumerate() {
            let previous = frames.get(at + 1).map_or(0, |frame| frame.0);
            self.0.insert(address, code | 1);
            self.0.insert(address + 8, previous);
            self.0.insert(address + 56, code + 300);
            // It is the byte at 70.
            let owner = 0xff00_ffff_ffff_ffff | u64::from(owner) << 48;
            self.0.insert(address + 64, owner);
            self.is_code(code, 7);
        }
    }

    fn is_code(&mut self, code: u64, name_hash: u64) {
        self.0.insert(code + 112, code + 1_000);
        self.0.insert(code + 120, code + 2_000);
        self.0.insert(code + 64, 12 << 32 | 0xdead);
        self.0.insert(code + 2_000 + 24, name_hash);
    }

    /// A walk, and whether the thread was still there after `then`.
    fn walk(&self, then: impl FnOnce(&mut Words)) -> (Box<Stack>, bool) {
        let header = Header {
            kind: kind::STACK,
            tgid: 1,
            ..Header::default()
        };
        let mut stack = Box::new(Stack {
            header,
            id: 0,
            next: 0,
            unreadable: 9,
            count: 9,
            span: [0; SPAN / 8],
            frames: [Frame::default(); MAX_FRAMES],
        });
        stack.begin(header, innermost(self, &OFFSETS, STATE));
        for _ in 0..MAX_STEPS {
            stack.step(self, &OFFSETS);
        }
        let mut after = self.clone();
        then(&mut after);
        let now = innermost(&after, &OFFSETS, STATE);
        let is_there = stack.is_still_there(&after, &OFFSETS, now);
        stack.end();
        (stack, is_there)
    }
}

fn stay(_: &mut Words) {}

fn codes(stack: &Stack) -> Vec<u64> {
    let frames = stack.frames[..stack.count as usize].iter();
    frames.map(|frame| frame.code).collect()
}

const THREE: [(u64, u64, u8); 3] = [
    (0x1000, 0xa000, 0),
    (0x2000, 0xb000, 0),
    (0x3000, 0xc000, 0),
];

#[test]
fn functions_come_from_the_innermost_on() {
    let (stack, is_there) = Words::thread(&THREE).walk(stay);
    assert_eq!(codes(&stack), [0xa000, 0xb000, 0xc000]);
    assert_eq!((stack.next, stack.unreadable, is_there), (0, 0, true));
    assert_eq!(stack.frames[1].instruction, 0xb000 + 300);
    let expected = identity(0xa000 + 1_000, 0xa000 + 2_000, 7, 12);
    assert_eq!(stack.frames[0].identity, expected);
    assert_ne!(stack.id, 0);
}

/// An entry of the interpreter into itself runs no function: between two, and as the innermost.
#[test]
fn frames_of_no_function_are_left_out() {
    let with_entry = [
        (0x900, 0x90_000, 3),
        THREE[0],
        (0x1800, 0x90_000, 3),
        THREE[1],
    ];
    let (stack, is_there) = Words::thread(&with_entry).walk(stay);
    assert_eq!((codes(&stack), is_there), (std::vec![0xa000, 0xb000], true));
    assert_eq!(stack.unreadable, 0);
}

#[test]
fn too_many_are_cut_off_and_a_circle_ends() {
    let many: Vec<_> = (1..=200)
        .map(|at| (0x100_0000 + at * 0x1000, 0x1000_0000 + at * 0x1_0000, 0))
        .collect();
    let (stack, is_there) = Words::thread(&many).walk(stay);
    assert_eq!((stack.count as usize, is_there), (MAX_FRAMES, true));
    assert_eq!(stack.next, many[MAX_FRAMES].0);
    let mut circle = Words::thread(&THREE);
    circle.0.insert(0x3000 + 8, 0x1000);
    let (stack, _) = circle.walk(stay);
    assert_eq!(stack.count as usize, MAX_FRAMES);
    // Frames of no function, without end.
    let mut circle = Words::thread(&[(0x1000, 0xa000, 3)]);
    circle.0.insert(0x1000 + 8, 0x1000);
    let (stack, is_there) = circle.walk(stay);
    assert_eq!((stack.count, stack.next, is_there), (0, 0x1000, false));
}

#[test]
fn what_cannot_be_read_is_counted() {
    let mut words = Words::thread(&THREE);
    words.0.remove(&0x2000);
    let (stack, _) = words.walk(stay);
    assert_eq!((codes(&stack), stack.unreadable), (std::vec![0xa000], 1));
}

/// Whoever goes on in the same function is still there; who has been elsewhere meanwhile is not.
#[test]
fn a_thread_that_moves_is_seen() {
    let words = Words::thread(&THREE);
    let is_there = |change: fn(&mut Words)| words.walk(change).1;
    assert!(is_there(|now| {
        now.0.insert(0x1000 + 56, 0xa000 + 302);
    }));
    assert!(!is_there(|now| now.is_in(&THREE[1..])));
    assert!(!is_there(|now| now.is_in(&[(0x1000, 0xd000, 0), THREE[1]])));
    // The same function in the same place, called from another instruction.
    assert!(!is_there(|now| {
        now.0.insert(0x2000 + 56, 0xb000 + 304);
    }));
    // It has called another.
    assert!(!is_there(|now| now.is_in(&[
        (0x800, 0xd000, 0),
        THREE[0],
        THREE[1]
    ])));
}

/// Whatever differs in what a stack leads to gives it another number.
#[test]
fn a_number_is_of_one_stack() {
    let words = Words::thread(&THREE);
    let id = |change: fn(&mut Words)| {
        let mut changed = words.clone();
        change(&mut changed);
        changed.walk(stay).0.id
    };
    let same = id(stay);
    assert_eq!(id(stay), same);
    let changes: [fn(&mut Words); 5] = [
        |now| {
            now.0.insert(0x1000 + 56, 0xa000 + 302);
        },
        // Another name in the same place.
        |now| now.is_code(0xb000, 8),
        |now| {
            now.0.insert(0xc000 + 64, 13 << 32);
        },
        |now| {
            now.0.insert(0x3000 + 64, 1 << 48);
        },
        |now| {
            now.0.remove(&0x3000);
        },
    ];
    for (at, change) in changes.into_iter().enumerate() {
        assert_ne!(id(change), same, "{at}");
    }
}

/// `f_lasti` is an `int`, and −1 before the first instruction.
#[test]
fn an_index_is_no_address() {
    let offsets = FrameOffsets {
        instruction_unused_bits: 32,
        ..OFFSETS
    };
    let mut words = Words::thread(&THREE);
    words.0.insert(0x1000 + 56, 0xdead_beef_ffff_ffff);
    let (frame, _) = frame(&words, &offsets, 0x1000, &mut [0; SPAN / 8]);
    assert_eq!(frame.instruction, u64::MAX);
}
