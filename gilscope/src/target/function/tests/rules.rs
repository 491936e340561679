//! What is found and what is refused, rule by rule.

use super::super::{Function, FunctionError, find};
use super::elf::{ADDRESS, Elf, OFFSET, Symbol};

const RET: u8 = 0xc3;
const CALL: [u8; 5] = [0xe8, 0, 0, 0, 0];

fn name() -> String {
    "f".to_owned()
}

/// The exits of `f`, as distances from the start of the code.
fn exits(elf: &Elf) -> Result<Vec<u64>, FunctionError> {
    let function = find(&elf.build(), "f")?;
    assert_eq!(function.entry_offset, OFFSET);
    Ok(function
        .exit_offsets
        .iter()
        .map(|exit| exit - OFFSET)
        .collect())
}

fn exits_of(code: &[u8]) -> Result<Vec<u64>, FunctionError> {
    exits(&Elf::of(code))
}

#[test]
fn every_kind_of_near_return_is_an_exit() {
    assert_eq!(exits_of(&[0x90, RET]), Ok(vec![1]));
    assert_eq!(exits_of(&[0xf3, RET]), Ok(vec![0]), "repz ret");
    assert_eq!(exits_of(&[0xf2, RET]), Ok(vec![0]), "bnd ret");
    assert_eq!(exits_of(&[0xc2, 8, 0]), Ok(vec![0]), "ret 8");
}

#[test]
fn both_sides_of_a_condition_are_followed() {
    assert_eq!(exits_of(&[0x74, 1, RET, RET]), Ok(vec![2, 3]), "je");
    assert_eq!(exits_of(&[0xe3, 1, RET, RET]), Ok(vec![2, 3]), "jrcxz");
    assert_eq!(exits_of(&[0xe2, 1, RET, RET]), Ok(vec![2, 3]), "loop");
    assert_eq!(
        exits_of(&[0x0f, 0x84, 1, 0, 0, 0, RET, RET]),
        Ok(vec![6, 7]),
        "je near"
    );
    assert_eq!(
        exits_of(&[0xc7, 0xf8, 1, 0, 0, 0, RET, RET]),
        Ok(vec![6, 7]),
        "xbegin"
    );
}

#[test]
fn a_jump_leads_into_other_functions() {
    let mut elf = Elf::of(&[0xeb, 2, RET, RET, RET]);
    elf.symbols.push(Symbol::function("g", 4));
    elf.unwound = vec![0, 4];
    assert_eq!(
        exits(&elf),
        Ok(vec![4]),
        "the code jumped over is not its own"
    );
    assert_eq!(
        exits_of(&[0xe9, 1, 0, 0, 0, RET, RET]),
        Ok(vec![6]),
        "jmp near"
    );
}

#[test]
fn loops_end() {
    assert_eq!(
        exits_of(&[0x90, 0x75, 0xfd, RET]),
        Ok(vec![3]),
        "back to the entry"
    );
    let never = Err(FunctionError::NeverReturns { name: name() });
    assert_eq!(exits_of(&[0xeb, 0xfe]), never);
}

#[test]
fn calls_are_stepped_over_even_to_oneself() {
    assert_eq!(exits_of(&[0xe8, 0xfb, 0xff, 0xff, 0xff, RET]), Ok(vec![5]));
    assert_eq!(exits_of(&[0xff, 0xd0, RET]), Ok(vec![2]), "call *%rax");
    assert_eq!(exits_of(&[0x0f, 0x05, RET]), Ok(vec![2]), "syscall");
}

/// Also those of a function that it jumps to, and none that is not reached.
#[test]
fn what_is_behind_its_calls_is_known() {
    // call *%rax; syscall; jmp +1; (not reached); call *%rax; ret
    let code = [
        0xff, 0xd0, 0x0f, 0x05, 0xeb, 0x02, 0xff, 0xd0, 0xff, 0xd0, RET,
    ];
    let found = find(&Elf::of(&code).build(), "f").map(|function| function.return_addresses);
    assert_eq!(found, Ok(vec![ADDRESS + 2, ADDRESS + 4, ADDRESS + 10]));
}

#[test]
fn a_call_that_never_returns_ends_a_path() {
    // je past the call to a final call that nothing valid follows
    for garbage in [
        &[][..],
        &[0x06],
        &[0x0f, 0x0b, RET],
        &[0xf4, RET],
        &[0xcc, RET],
    ] {
        let code = [&[0x74, 1, RET][..], &CALL, garbage].concat();
        assert_eq!(exits_of(&code), Ok(vec![2]), "{garbage:x?}");
    }
}

#[test]
fn a_call_at_a_functions_end_never_returns() {
    let code = [&[0x74, 1, RET][..], &CALL, &[0x90, 0x90, RET]].concat();
    assert_eq!(
        exits_of(&code),
        Ok(vec![2, 10]),
        "nothing tells that the function ended"
    );
    let mut unwound = Elf::of(&code);
    unwound.unwound = vec![0, 10];
    assert_eq!(
        exits(&unwound),
        Ok(vec![2]),
        "the unwind table does, behind the padding"
    );
    let mut named = Elf::of(&code);
    named.symbols.push(Symbol::function("g", 10));
    assert_eq!(exits(&named), Ok(vec![2]), "the next function does");
    let mut sized = Elf::of(&code);
    sized.symbols[0].size = 8;
    assert_eq!(exits(&sized), Ok(vec![2]), "the function's own size does");
}

#[test]
fn only_a_call_ends_at_a_boundary() {
    let mut elf = Elf::of(&[0x90, RET]);
    elf.unwound = vec![0, 1];
    assert_eq!(exits(&elf), Ok(vec![1]), "one function falls into another");
    let mut jumped = Elf::of(&[&[0x74, 5][..], &CALL, &[0x90, RET]].concat());
    jumped.unwound = vec![0, 8];
    assert_eq!(exits(&jumped), Ok(vec![8]), "the padding is also jumped to");
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let jump = |at| {
        Err(FunctionError::IndirectJump {
            name: name(),
            at: ADDRESS + at,
        })
    };
    assert_eq!(exits_of(&[0xff, 0xe0]), jump(0), "jmp *%rax");
    assert_eq!(exits_of(&[0x3e, 0xff, 0xe0]), jump(0), "notrack jmp *%rax");
    assert_eq!(
        exits_of(&[0x74, 1, RET, 0xff, 0x25, 0, 0, 0, 0]),
        jump(3),
        "jmp *got(%rip)"
    );
    let stub = [
        &[0xe9, 0, 0, 0, 0, 0xf3, 0x0f, 0x1e, 0xfa][..],
        &[0xff, 0x25, 0, 0, 0, 0],
    ]
    .concat();
    assert_eq!(exits_of(&stub), jump(9), "a tail call through the PLT");
    let undecodable = |at| {
        Err(FunctionError::Undecodable {
            name: name(),
            at: ADDRESS + at,
        })
    };
    assert_eq!(
        exits_of(&[0x90, 0x06, RET]),
        undecodable(1),
        "no instruction in 64-bit mode"
    );
    assert_eq!(exits_of(&[0xcb]), undecodable(0), "far return");
    assert_eq!(exits_of(&[0x48, 0xcf]), undecodable(0), "iretq");
    assert_eq!(exits_of(&[0x74, 0x01, RET]), leaves(3));
}

fn leaves(at: u64) -> Result<Vec<u64>, FunctionError> {
    Err(FunctionError::LeavesFile {
        name: name(),
        at: ADDRESS.wrapping_add(at),
    })
}

#[test]
fn code_outside_the_file_is_refused() {
    assert_eq!(exits_of(&[0x90]), leaves(1));
    assert_eq!(
        exits_of(&[0xeb, 0x80]),
        leaves(2_u64.wrapping_sub(0x80)),
        "backwards"
    );
    for address in [0, ADDRESS - 1, ADDRESS + 1, u64::MAX] {
        let mut elf = Elf::of(&[RET]);
        elf.symbols[0].address = address;
        let error = FunctionError::LeavesFile {
            name: name(),
            at: address,
        };
        assert_eq!(find(&elf.build(), "f"), Err(error));
    }
}

#[test]
fn endless_code_is_refused() {
    let error = FunctionError::TooLarge {
        name: name(),
        limit: 20_000,
    };
    assert_eq!(exits_of(&[0x90; 20_001]), Err(error));
    let mut longest = vec![0x90; 19_999];
    longest.push(RET);
    assert_eq!(exits_of(&longest), Ok(vec![19_999]));
}

#[test]
fn the_default_version_is_taken() {
    const HIDDEN: u16 = 0x8000;
    let mut elf = Elf::of(&[RET, RET, RET]);
    elf.versioned = true;
    elf.symbols = vec![
        Symbol::function("f", 0).version(2 | HIDDEN),
        Symbol::function("ff", 0).version(3),
        Symbol::function("f", 1).version(3),
        Symbol::function("f", 2).version(0),
    ];
    let found = Function {
        name: name(),
        entry_offset: OFFSET + 1,
        exit_offsets: vec![OFFSET + 1],
        return_addresses: Vec::new(),
    };
    assert_eq!(find(&elf.build(), "f"), Ok(found));
    elf.symbols.remove(2);
    assert_eq!(
        find(&elf.build(), "f"),
        Err(FunctionError::NoSuchSymbol { name: name() })
    );
}

#[test]
fn a_static_executables_function_is_found_in_symtab() {
    let mut elf = Elf::of(&[RET]);
    elf.table = 2;
    assert_eq!(exits(&elf), Ok(vec![0]));
}

#[test]
fn only_defined_global_functions_count() {
    let none = Err(FunctionError::NoSuchSymbol { name: name() });
    type Change = fn(&mut Symbol);
    let changes: [(&str, Change); 4] = [
        ("imported", |symbol| symbol.section = 0),
        ("local", |symbol| symbol.info = 2),
        ("data", |symbol| symbol.info = (1 << 4) | 1),
        ("longer", |symbol| symbol.name = "fn"),
    ];
    for (what, change) in changes {
        let mut elf = Elf::of(&[RET]);
        change(&mut elf.symbols[0]);
        assert_eq!(exits(&elf), none, "{what}");
    }
    let mut weak = Elf::of(&[RET]);
    weak.symbols[0].info = (2 << 4) | 2;
    assert_eq!(exits(&weak), Ok(vec![0]));
}

#[test]
fn doubtful_symbols_are_refused() {
    let mut ifunc = Elf::of(&[RET]);
    ifunc.symbols[0].info = (1 << 4) | 10;
    assert_eq!(
        exits(&ifunc),
        Err(FunctionError::IndirectFunction { name: name() })
    );
    let mut twice = Elf::of(&[RET, RET]);
    twice.symbols.push(Symbol::function("f", 1));
    assert_eq!(
        exits(&twice),
        Err(FunctionError::Ambiguous { name: name() })
    );
}

#[test]
fn other_files_are_refused() {
    assert!(matches!(find(b"", "f"), Err(FunctionError::BadElf(_))));
    assert!(matches!(
        find(b"#!/bin/sh\n", "f"),
        Err(FunctionError::BadElf(_))
    ));
    let mut arm = Elf::of(&[RET]);
    arm.machine = 183;
    assert_eq!(exits(&arm), Err(FunctionError::WrongArchitecture));
}
