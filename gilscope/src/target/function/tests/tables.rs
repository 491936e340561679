//! Jump tables: followed only where the code itself proves their bounds.

use super::super::{FunctionError, find};
use super::elf::{ADDRESS, Elf, OFFSET};

const COMPARE: &[u8] = &[0x83, 0xf8, 0x01, 0x77, 16]; // cmp $1,%eax; ja to the first `ret`
const ADDRESS_OF_TABLE: &[u8] = &[0x48, 0x8d, 0x15, 13, 0, 0, 0]; // lea table(%rip),%rdx
const READ: &[u8] = &[0x48, 0x63, 0x04, 0x82]; // movslq (%rdx,%rax,4),%rax
const ADD: &[u8] = &[0x48, 0x01, 0xd0]; // add %rdx,%rax
const JUMP: &[u8] = &[0xff, 0xe0]; // jmp *%rax
const BODY: &[u8] = &[0xc3, 0xc3, 0x90, 0xc3]; // default, case 0, case 1 two bytes long
const TABLE: &[u8] = &[0xfd, 0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff]; // case 0 at -3, case 1 at -2

const JUMP_AT: u64 = 19;

fn switch() -> Vec<u8> {
    [COMPARE, ADDRESS_OF_TABLE, READ, ADD, JUMP, BODY, TABLE].concat()
}

fn exits_of(code: &[u8]) -> Result<Vec<u64>, FunctionError> {
    let function = find(&Elf::of(code).build(), "f")?;
    Ok(function
        .exit_offsets
        .iter()
        .map(|exit| exit - OFFSET)
        .collect())
}

fn refused_at(at: u64) -> Result<Vec<u64>, FunctionError> {
    Err(FunctionError::IndirectJump {
        name: "f".to_owned(),
        at: ADDRESS + at,
    })
}

/// The switch with some of its bytes replaced.
fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut code = switch();
    code[at..at + bytes.len()].copy_from_slice(bytes);
    code
}

#[test]
fn every_case_of_a_switch_is_followed() {
    assert_eq!(exits_of(&switch()), Ok(vec![21, 22, 24]));
    let one = with(2, &[0]);
    assert_eq!(
        exits_of(&one),
        Ok(vec![21, 22]),
        "the comparison bounds the table"
    );
    let other_sum = [&with(18, &[0xc2, 0xff, 0xe2])[..]].concat();
    assert_eq!(
        exits_of(&other_sum),
        Ok(vec![21, 22, 24]),
        "add %rax,%rdx; jmp *%rdx"
    );
}

#[test]
fn other_instructions_may_stand_between() {
    // jg before ja, as in glibc 2.31's __pthread_mutex_clocklock_common, and lea 0x10(%rdi),%r15
    let unrelated = [0x7f, 22, 0x77, 20, 0x4c, 0x8d, 0x7f, 0x10];
    let code = [
        &COMPARE[..3],
        &unrelated,
        ADDRESS_OF_TABLE,
        READ,
        ADD,
        JUMP,
        BODY,
        TABLE,
    ]
    .concat();
    assert_eq!(exits_of(&code), Ok(vec![27, 28, 30]));
}

#[test]
fn a_table_whose_bounds_are_not_proved_is_refused() {
    let refused = refused_at(JUMP_AT);
    assert_eq!(
        exits_of(&with(3, &[0x90, 0x90])),
        refused,
        "no branch on the comparison"
    );
    assert_eq!(exits_of(&with(3, &[0x72])), refused, "another condition");
    assert_eq!(
        exits_of(&with(1, &[0xf9])),
        refused,
        "another register compared"
    );
    assert_eq!(
        exits_of(&with(0, &[0x85, 0xc0, 0x90])),
        refused,
        "no number compared with"
    );
    assert_eq!(
        exits_of(&with(0, &[0x3d, 0xff, 0xff, 0xff, 0xff])),
        Err(FunctionError::IndirectJump {
            name: "f".to_owned(),
            at: ADDRESS + JUMP_AT
        }),
        "no branch at all"
    );
    for (what, bytes) in [
        ("the index overwritten", &[0x31, 0xc0][..]),
        ("the table overwritten", &[0x31, 0xd2]),
        ("a system call", &[0x0f, 0x05]),
        ("a call", &[0xe8, 0, 0, 0, 0]),
    ] {
        let code = [
            COMPARE,
            ADDRESS_OF_TABLE,
            bytes,
            READ,
            ADD,
            JUMP,
            BODY,
            TABLE,
        ]
        .concat();
        assert_eq!(
            exits_of(&code),
            refused_at(JUMP_AT + bytes.len() as u64),
            "{what}"
        );
    }
}

#[test]
fn a_way_around_the_comparison_is_refused() {
    // case 1 jumps back to the read of the table: found only after the table was followed
    let back = with(23, &[0xeb, 0xf3]);
    assert_eq!(exits_of(&back), refused_at(JUMP_AT));
    // … or the only case is the read itself, which has been followed already
    let mut itself = with(2, &[0]);
    itself[25] = 0xf3;
    assert_eq!(exits_of(&itself), refused_at(JUMP_AT));
    // … and back to the comparison itself, which is harmless
    let loops = with(23, &[0xeb, 0xe7]);
    assert_eq!(exits_of(&loops), Ok(vec![21, 22]));
}

#[test]
fn a_table_outside_the_file_is_refused() {
    for distance in [0x7fff_ffff_i32, -0x8000_0000, 14] {
        let code = with(8, &distance.to_le_bytes());
        assert_eq!(exits_of(&code), refused_at(JUMP_AT), "{distance:#x}");
    }
    let huge = [&[0x3d, 0xff, 0xff, 0xff, 0x7f][..], &COMPARE[3..]].concat();
    let code = [&huge, ADDRESS_OF_TABLE, READ, ADD, JUMP, BODY, TABLE].concat();
    assert_eq!(exits_of(&code), refused_at(JUMP_AT + 2));
}

#[test]
fn a_case_outside_the_code_is_refused() {
    let at = (ADDRESS + 25).wrapping_add_signed(i32::MAX.into());
    let error = FunctionError::LeavesFile {
        name: "f".to_owned(),
        at,
    };
    assert_eq!(exits_of(&with(25, &i32::MAX.to_le_bytes())), Err(error));
}
