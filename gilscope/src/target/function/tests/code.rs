//! What a function is seen to do, instruction by instruction.

use super::super::{Code, Use};
use super::elf::{ADDRESS, Elf, Symbol};

/// Variables, and a slot for the address of the imported function `lock`.
const A: u64 = 0x9000;
const B: u64 = 0x9100;
const SLOT: u64 = 0xa000;
/// From the start of the code to an entry of the procedure linkage table, behind all functions.
const STUB: usize = 0x80;

const RET: &[u8] = &[0xc3];
const LEA_RDI: &[u8] = &[0x48, 0x8d, 0x3d];
const LEA_RBX: &[u8] = &[0x48, 0x8d, 0x1d];
const MOV_RDI_RBX: &[u8] = &[0x48, 0x89, 0xdf];
const JMP: &[u8] = &[0xff, 0x25];
const CALL: &[u8] = &[0xe8];

struct Assembler(Vec<u8>);

impl Assembler {
    fn plain(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// An instruction that ends in the distance to this address.
    fn to(self, opcode: &[u8], address: u64) -> Self {
        self.operand_behind(opcode, address, &[])
    }

    /// The same with an operand behind that.
    fn operand_behind(self, opcode: &[u8], address: u64, operand: &[u8]) -> Self {
        let behind = ADDRESS + (self.0.len() + opcode.len() + 4 + operand.len()) as u64;
        let distance = address.wrapping_sub(behind) as i32;
        self.plain(opcode)
            .plain(&distance.to_le_bytes())
            .plain(operand)
    }

    fn call_stub(self) -> Self {
        self.to(CALL, ADDRESS + STUB as u64)
    }

    /// The file with `f` at the start of this code.
    fn elf(mut self) -> Elf {
        self.0.resize(STUB, 0xcc);
        let code = self.plain(&[0xf3, 0x0f, 0x1e, 0xfa]).to(JMP, SLOT).0;
        let mut elf = Elf::of(&code);
        let mut import = Symbol::function("lock", 0);
        (import.section, import.address) = (0, 0);
        elf.symbols.push(import.clone());
        import.name = "abort";
        elf.symbols.push(import);
        elf.relocations = vec![(SLOT, 2, 7), (SLOT + 8, 3, 7)];
        elf
    }

    fn uses(self) -> Vec<Use<'static>> {
        uses(&self.elf())
    }
}

fn code() -> Assembler {
    Assembler(Vec::new())
}

fn uses(elf: &Elf) -> Vec<Use<'static>> {
    let file = elf.build();
    let code = Code::read(&file, &["unlock", "lock"], &["abort"]).unwrap();
    let uses = code.uses("f").unwrap().into_iter();
    uses.map(|one| match one {
        Use::Import("lock", arguments) => lock(arguments),
        Use::Import(_, arguments) => Use::Import("abort", arguments),
        Use::Call(to) => Use::Call(to),
        Use::Read(address, size) => Use::Read(address, size),
        Use::Write(address, size) => Use::Write(address, size),
    })
    .collect()
}

fn lock(arguments: [Option<u64>; 2]) -> Use<'static> {
    Use::Import("lock", arguments)
}

#[test]
fn variables_are_read_and_written() {
    let found = code()
        .to(&[0x8b, 0x05], A) // mov eax,[A]
        .to(&[0x48, 0x89, 0x3d], A) // mov [A],rdi
        .operand_behind(&[0x48, 0x83, 0x05], B, &[1]) // add qword [B],1
        .operand_behind(&[0xc7, 0x05], A, &[1, 0, 0, 0]) // mov dword [A],1
        .to(LEA_RBX, A)
        .plain(&[0x48, 0x8b, 0x43, 0x08]) // mov rax,[rbx+8]
        .plain(&[0x48, 0x8b, 0x04, 0x25, 0, 0x90, 0, 0]) // mov rax,[A], absolute
        .plain(&[0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0]) // mov rax,fs:0x28
        .plain(&[0x48, 0x8b, 0x46, 0x08]) // mov rax,[rsi+8]
        .plain(RET)
        .uses();
    let expected = [
        Use::Read(A, 4),
        Use::Write(A, 8),
        Use::Read(B, 8),
        Use::Write(B, 8),
        Use::Write(A, 4),
        Use::Read(A + 8, 8),
        Use::Read(A, 8),
    ];
    assert_eq!(found, expected);
}

#[test]
fn arguments_of_imported_functions() {
    let found = code()
        .to(LEA_RBX, A)
        .plain(MOV_RDI_RBX)
        .to(&[0x48, 0x8d, 0x35], B) // lea rsi,[B]
        .call_stub()
        .call_stub()
        .plain(MOV_RDI_RBX)
        .to(&[0xff, 0x15], SLOT) // call [SLOT]
        .plain(&[0xbf, 0, 0x91, 0, 0]) // mov edi,B
        .call_stub()
        .to(LEA_RDI, A)
        .plain(&[0x31, 0xff]) // xor edi,edi
        .call_stub()
        .to(CALL, ADDRESS)
        .plain(RET)
        .uses();
    let expected = [
        lock([Some(A), Some(B)]),
        lock([None, None]),
        Use::Read(SLOT, 8),
        lock([Some(A), None]),
        lock([Some(B), None]),
        lock([None, None]),
        Use::Call(ADDRESS),
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_differs_with_the_way_taken_is_not_known() {
    let joined = |other| {
        code()
            .to(LEA_RDI, A)
            .plain(&[0x74, 7]) // je over the next
            .to(LEA_RDI, other)
            .call_stub()
            .plain(RET)
            .uses()
    };
    assert_eq!(joined(A), [lock([Some(A), None])]);
    assert_eq!(joined(B), [lock([None, None])]);
    let looped = code()
        .to(LEA_RBX, A)
        .plain(MOV_RDI_RBX)
        .call_stub()
        .to(LEA_RBX, B)
        .plain(&[0x75, 0xef]) // jne to the mov
        .plain(RET)
        .uses();
    assert_eq!(looped, [lock([None, None])]);
}

#[test]
fn a_jump_is_followed_and_the_next_function_is_not() {
    let tail = code()
        .to(LEA_RDI, A)
        .plain(&[0xeb, 1, 0xc3]) // jmp over a ret
        .call_stub()
        .to(LEA_RBX, B);
    let end = tail.0.len() as u64;
    let mut elf = tail
        .plain(MOV_RDI_RBX)
        .call_stub()
        .to(&[0x8b, 0x05], A)
        .plain(RET)
        .elf();
    assert_eq!(uses(&elf).len(), 3);
    elf.symbols.push(Symbol::function("g", end));
    assert_eq!(uses(&elf), [lock([Some(A), None])]);
}

#[test]
fn what_never_returns() {
    let call = |opcode: &[u8], to| {
        code()
            .to(LEA_RDI, A)
            .plain(&[0x74, opcode.len() as u8 + 4]) // je over the next
            .to(opcode, to)
            .call_stub()
            .plain(RET)
            .elf()
    };
    let mut named = call(CALL, ADDRESS + 0x60);
    let reached = |elf: &Elf| uses(elf).contains(&lock([Some(A), None]));
    assert!(!reached(&named), "a call may change it");
    named.symbols.push(Symbol::function("abort", 0x60));
    assert!(reached(&named), "abort, of this file");
    let imported = call(&[0xff, 0x15], SLOT + 8);
    assert!(reached(&imported), "abort, of another file");
}

#[test]
fn hostile_files_and_code() {
    let good = code().to(LEA_RDI, A).call_stub().plain(RET).elf();
    let relocated = |slot, symbol, kind| {
        let mut elf = good.clone();
        elf.relocations = vec![(slot, symbol, kind)];
        uses(&elf)
    };
    let found = [lock([Some(A), None])];
    assert_eq!(relocated(SLOT, 2, 6), found, "GLOB_DAT");
    let direct = [Use::Call(ADDRESS + STUB as u64)];
    assert_eq!(relocated(SLOT, 2, 8), direct, "RELATIVE");
    assert_eq!(relocated(SLOT, 1, 7), direct, "another function");
    assert_eq!(relocated(SLOT, u32::MAX, 7), direct, "no symbol");
    assert_eq!(relocated(SLOT + 16, 2, 7), direct, "another slot");
    assert_eq!(uses(&Elf::of(&[0xeb, 0xfe])), [], "an endless loop");
    assert_eq!(uses(&Elf::of(&[0xff, 0xe0])), [], "a computed jump");
    let long = code().to(LEA_RDI, A).0;
    let long = [long, vec![0x90; 4000], RET.to_vec()].concat();
    assert_eq!(uses(&Elf::of(&long)), [], "too many instructions");
    let mut random = 1_u64;
    for _ in 0..2000 {
        let bytes = [(); 64].map(|()| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 56) as u8
        });
        uses(&Elf::of(&bytes));
    }
}
