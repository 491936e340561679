//! From an interpreter to its threads, from a thread state to the Python functions that the thread runs, and to their names and
//! lines: offsets in bytes.

use std::ops::Range;

/// Where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLayout {
    /// Interpreter → pointer to its newest thread state.
    pub threads: u64,
    /// Thread state → pointer to the next older one.
    pub next_thread: u64,
    /// Thread state → pointer to its interpreter.
    pub interpreter: u64,
    /// Thread state → `thread_id` (the thread's `pthread_t`).
    pub thread_id: u32,
    /// Behind it is the thread's id in its PID namespace (3.11+).
    pub has_native_id: bool,
    /// Thread state → `tick_counter` (int), which grows each time that the thread has run a check interval of instructions
    /// (`Python/ceval.c`, 2.7); `None` in others.
    pub ticks: Option<u32>,
    /// Where a thread waits for the end of a stop-the-world pause; `None` where there are none, or it is not known.
    pub pause: Option<PauseLayout>,
    /// Thread state → pointer to the innermost frame, or to the C frame.
    pub frame: u32,
    /// C frame → pointer to the innermost frame, where there is one.
    pub cframe_frame: Option<u32>,
    /// Frame → pointer to the caller's.
    pub previous: u32,
    /// Frame → pointer to its code object, the lowest two bits of which may be marks.
    pub code: u32,
    /// Frame → its instruction, as [`FrameLayout::position`] says.
    pub instruction: u32,
    /// What is kept of the instruction.
    pub position: Position,
    /// Frame → who owns it (char).
    pub owner: Option<u32>,
    /// Any object → its type.
    pub object_type: u64,
    /// A type → pointer to its name.
    pub type_name: u64,
    /// Code object → what is in it.
    pub in_code: CodeLayout,
    /// How its table of lines is written.
    pub lines: LineFormat,
    /// How names are kept.
    pub text: Text,
    /// `bytes`, or 2.7's `str`, → its length.
    pub bytes_length: u64,
    /// The same → its bytes.
    pub bytes: u64,
    /// How an RLock is kept.
    pub rlock: RLock,
    /// Where a frame keeps the values that its instructions work with.
    pub values: Values,
    /// `with` has the manager's `__exit__` among these values while it calls `__enter__` (`Python/ceval.c`, 2.7: `SETUP_WITH`, 3.11: `BEFORE_WITH`;
    /// `Python/bytecodes.c`, 3.14: `LOAD_SPECIAL`), not only from then on (3.12, 3.13).
    pub exit_comes_first: bool,
}

/// Where the values are that a frame's instructions work with; `co_stacksize` at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Frame → pointer to the first (`f_valuestack`, `Include/frameobject.h`, 2.7; `Include/cpython/frameobject.h`, 3.10).
    At {
        /// Frame → that pointer.
        first: u64,
    },
    /// Behind the frame's local variables (`Include/internal/pycore_frame.h`, 3.11; `pycore_interpframe_structs.h`, 3.14).
    BehindLocals {
        /// Frame → its first local variable (`localsplus`).
        locals: u64,
        /// Code object → how many there are (`co_nlocalsplus`, int).
        count: u64,
        /// Frame → pointer behind the last value, while it calls something (`stackpointer`, 3.14+).
        end: Option<u64>,
    },
}

/// What tells of a stop-the-world pause (`Python/pystate.c`: `stop_the_world`, `tstate_wait_attach`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PauseLayout {
    /// Thread state → `state`, by whose address it waits for the end.
    pub state: u32,
    /// Interpreter → pointer to the thread state that asked for the pause.
    pub requester: u32,
    /// `_PyRuntime` → the same, for a pause of all interpreters.
    pub runtime_requester: u64,
}

/// The parts of a code object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeLayout {
    /// `co_filename`.
    pub file: u64,
    /// `co_name`.
    pub name: u64,
    /// `co_qualname` (3.11+).
    pub qualified_name: Option<u64>,
    /// `co_firstlineno` (int).
    pub first_line: u64,
    /// `co_stacksize` (int).
    pub stack_size: u64,
    /// Pointer to the table of lines.
    pub lines: u64,
    /// `_co_firsttraceable` (int): a frame that has not come so far is not complete (`Include/internal/pycore_frame.h`:
    /// `_PyFrame_IsIncomplete`).
    pub first_traceable: Option<u64>,
}

/// What a frame keeps of its instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// `f_lasti` (int), in units of so many bytes; negative before the first.
    Index {
        /// Bytes in a unit.
        unit: i32,
    },
    /// The instruction's address. Its code begins this far into the code object.
    Address {
        /// Code object → its first instruction.
        first: u64,
        /// Code object → how many units of two bytes follow (Py_ssize_t).
        units: u64,
    },
}

/// How a table of lines is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// `co_lnotab` (`Objects/lnotab_notes.txt`), whose lines only grow (2.7).
    GrowingDeltas,
    /// The same, where lines may go back (3.6 – 3.9).
    SignedDeltas,
    /// `co_linetable` of PEP 626 (3.10).
    Ranges,
    /// `co_linetable` of PEP 657 (3.11+; `Objects/locations.md`, to 3.13, then `InternalDocs/code_objects.md`).
    Locations,
}

/// How a name is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// As bytes (2.7: `PyStringObject`, `Include/stringobject.h`).
    Bytes {
        /// How many.
        length: u64,
        /// The bytes.
        characters: u64,
    },
    /// As a `str` of PEP 393.
    Unicode {
        /// Its length in characters.
        length: u64,
        /// `state` (unsigned int): `kind` is bits 2 – 4, `compact` bit 5, `ascii` bit 6.
        state: u64,
        /// The characters, where all are ASCII.
        ascii: u64,
        /// The characters, where not.
        other: u64,
    },
}

/// How an RLock is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RLock {
    /// As an object of C's (`Modules/_threadmodule.c`: `rlockobject`).
    C {
        /// The lock that waiters wait for.
        lock: u64,
        /// There is a pointer to it, where the object does not hold it itself (3.14+).
        is_pointer: bool,
        /// `pthread_t` of the thread that has it, 0 for none.
        owner: u64,
    },
    /// As an object of `threading._RLock` (`Lib/threading.py`, 2.7), which is the first local variable of the function that waits.
    Python {
        /// Frame → its first local variable.
        local: u64,
        /// Object → its dictionary.
        dict: u64,
        /// Dictionary → the highest index in its table.
        mask: u64,
        /// Dictionary → its table of hash, key and value.
        table: u64,
        /// `int` → its value.
        int: u64,
        /// `thread.lock` → pointer to the lock that waiters wait for.
        lock: u64,
    },
}

/// Frames with this owner or a higher one are an entry of the interpreter into itself, or of C, and run no function of the
/// program's (`FRAME_OWNED_BY_CSTACK`, 3.12; `FRAME_OWNED_BY_INTERPRETER`, 3.14: `Include/internal/pycore_frame.h`). 3.11 has none.
pub const NO_FUNCTION_FROM: u8 = 3;
/// A generator's, which is complete from its first instruction on (`FRAME_OWNED_BY_GENERATOR`).
pub const OF_GENERATOR: u8 = 1;

/// The words in which all these fields are.
fn words(first: u64, last: u64) -> Range<u64> {
    const WORD: u64 = 8;
    first / WORD * WORD..(last / WORD + 1) * WORD
}

impl CodeLayout {
    /// Where in a code object all that is which tells it from another.
    pub fn identity_span(&self) -> Range<u64> {
        let all = [self.file, self.name, self.first_line];
        words(
            all.into_iter().fold(u64::MAX, u64::min),
            all.into_iter().fold(0, u64::max),
        )
    }
}

impl FrameLayout {
    /// From a frame's beginning on, so many bytes tell what it runs, and who called it.
    pub fn frame_span(&self) -> u64 {
        let owner = self.owner.unwrap_or(0);
        let all = [self.previous, self.code, self.instruction, owner];
        words(0, all.into_iter().fold(0, u32::max).into()).end
    }

    /// Any object → its number of references, in the word before its type; free-threaded builds keep two of them, elsewhere
    /// (`Include/object.h`, 3.13).
    pub fn references(&self) -> Option<u64> {
        (self.object_type == size_of::<u64>() as u64).then_some(0)
    }

    /// The same where an object has so many more bytes before its type.
    pub(super) fn with_head(self, head: u64) -> FrameLayout {
        let code = self.in_code;
        FrameLayout {
            object_type: self.object_type + head,
            type_name: self.type_name + head,
            in_code: CodeLayout {
                file: code.file + head,
                name: code.name + head,
                qualified_name: code.qualified_name.map(|offset| offset + head),
                first_line: code.first_line + head,
                stack_size: code.stack_size + head,
                lines: code.lines + head,
                first_traceable: code.first_traceable.map(|offset| offset + head),
            },
            position: self.position.with_head(head),
            text: self.text.with_head(head),
            bytes_length: self.bytes_length + head,
            bytes: self.bytes + head,
            rlock: self.rlock.with_head(head),
            values: self.values.with_head(head),
            ..self
        }
    }
}

impl Values {
    fn with_head(self, head: u64) -> Values {
        match self {
            Values::BehindLocals { locals, count, end } => Values::BehindLocals {
                locals,
                count: count + head,
                end,
            },
            Values::At { .. } => self,
        }
    }
}

impl Position {
    fn with_head(self, head: u64) -> Position {
        match self {
            Position::Address { first, units } => Position::Address {
                first: first + head,
                units: units + head,
            },
            Position::Index { .. } => self,
        }
    }
}

impl Text {
    /// A name → its hash, which follows its length (`PyASCIIObject`; 2.7: `PyStringObject`).
    pub fn hash(self) -> u32 {
        let (Text::Bytes { length, .. } | Text::Unicode { length, .. }) = self;
        u32::try_from(length + 8).unwrap_or(0)
    }

    fn with_head(self, head: u64) -> Text {
        match self {
            Text::Unicode {
                length,
                state,
                ascii,
                other,
            } => Text::Unicode {
                length: length + head,
                state: state + head,
                ascii: ascii + head,
                other: other + head,
            },
            Text::Bytes { .. } => self,
        }
    }
}

impl RLock {
    fn with_head(self, head: u64) -> RLock {
        match self {
            RLock::C {
                lock,
                is_pointer,
                owner,
            } => RLock::C {
                lock: lock + head,
                is_pointer,
                owner: owner + head,
            },
            RLock::Python { .. } => self,
        }
    }
}
