#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::target::{Process, module::Functions};
use std::{arch::asm, hint::black_box};

/// The registers in the function that asks, and what is on its stack.
#[inline(always)]
fn here() -> (Registers, Vec<u8>) {
    let (ip, sp, bp): (u64, u64, u64);
    // SAFETY: reads three registers.
    unsafe {
        asm!(
            "lea {ip}, [rip]",
            "mov {sp}, rsp",
            "mov {bp}, rbp",
            ip = out(reg) ip,
            sp = out(reg) sp,
            bp = out(reg) bp,
        );
    }
    // SAFETY: the test's own stack, which reaches further up than that: a thread's begins with 2 MiB.
    let stack = unsafe { std::slice::from_raw_parts(sp as *const u8, 2048) };
    let registers = Registers {
        ip,
        sp,
        bp,
        is_behind_call: false,
    };
    (registers, stack.to_vec())
}

#[inline(never)]
fn innermost(depth: u32) -> (Registers, Vec<u8>) {
    black_box(depth);
    black_box(here())
}

/// Its stack is aligned, so its callee knows its frame by an expression or by a register.
#[inline(never)]
fn aligned(depth: u32) -> (Registers, Vec<u8>) {
    #[repr(align(64))]
    struct Aligned([u8; 64]);
    let room = black_box(Aligned([depth as u8; 64]));
    let found = black_box(innermost(u32::from(room.0[1])));
    black_box(&room.0);
    found
}

#[inline(never)]
fn outermost() -> (Registers, Vec<u8>) {
    black_box(aligned(black_box(3)))
}

fn own_module() -> Module {
    let me = Process::open(std::process::id()).unwrap();
    let exe = std::env::current_exe().unwrap();
    let mut all = crate::target::module::modules(&me).unwrap();
    all.find_map(|module| module.ok().filter(|module| module.path == exe))
        .unwrap()
}

#[test]
fn functions_are_told_by_whom_they_were_called() {
    let (mut registers, bytes) = outermost();
    let module = own_module();
    let table = UnwindTable::read(&module, 64 << 20).unwrap();
    let functions = Functions::from(module);
    let stack = StackCopy {
        from: registers.sp,
        bytes: &bytes,
    };
    let is_function = |registers: &Registers, function: &str| {
        let names = functions.names(&[registers.inside()]);
        let name = names[0].as_deref().unwrap_or_default();
        assert!(name.contains(function), "{name}, not {function}");
    };
    is_function(&registers, "innermost");
    for function in ["aligned", "outermost"] {
        registers = table.caller(&registers, stack).unwrap();
        is_function(&registers, function);
    }
}

fn unwind_section_of(module: &Module) -> (u64, Vec<u8>) {
    let section = Elf::unwind_section(&module.file, 64 << 20);
    section.unwrap().unwrap()
}

#[test]
fn a_table_larger_than_its_room_is_not_read() {
    let module = own_module();
    let size = unwind_section_of(&module).1.len();
    assert!(UnwindTable::read(&module, size).is_some());
    assert!(UnwindTable::read(&module, size - 1).is_none());
}

/// What is behind the copy is not known.
#[test]
fn a_stack_that_was_cut_off_has_no_caller() {
    let (registers, _) = outermost();
    let table = UnwindTable::read(&own_module(), 64 << 20).unwrap();
    let stack = StackCopy {
        from: registers.sp,
        bytes: &[],
    };
    assert_eq!(table.caller(&registers, stack), None);
}

/// Whatever a file says, an answer comes, or none.
#[test]
fn damaged_tables_end_the_search() {
    let me = Process::open(std::process::id()).unwrap();
    let mut all = crate::target::module::modules(&me).unwrap();
    let loader = all.find_map(|module| {
        let is_it = |module: &Module| module.path.to_string_lossy().contains("/ld-");
        module.ok().filter(is_it)
    });
    let (address, frames) = unwind_section_of(&loader.unwrap());
    let whole = UnwindTable::new(0, address, frames.clone());
    let functions: Vec<_> = whole.entries.iter().map(|(start, _)| *start).collect();
    let stack: Vec<u8> = (0..=255).cycle().take(4096).collect();
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        // Knuth's MMIX generator.
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let (mut found, mut missing) = (0, 0);
    for round in 0..2_000 {
        let mut damaged = frames.clone();
        for _ in 0..round % 50 {
            damaged[random(frames.len())] = random(256) as u8;
        }
        if round % 10 == 0 {
            damaged.truncate(random(frames.len()));
        }
        let table = UnwindTable::new(0, address, damaged);
        for _ in 0..20 {
            let registers = Registers {
                ip: functions[random(functions.len())] + random(64) as u64,
                sp: 0x7ffe_0000_0000,
                bp: 0x7ffe_0000_0100,
                is_behind_call: random(2) == 0,
            };
            let stack = StackCopy {
                from: registers.sp,
                bytes: &stack,
            };
            match table.caller(&registers, stack) {
                Some(_) => found += 1,
                None => missing += 1,
            }
        }
    }
    assert!(found > 1_000 && missing > 1_000, "{found}, {missing}");
}
