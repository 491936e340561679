//! Why a function cannot be probed.

/// Why a function, or all of its exits, could not be found. `at` is a virtual address of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FunctionError {
    /// The bytes are no ELF file that can be read.
    #[error("not a readable ELF file: {0}")]
    BadElf(String),
    /// The file is not x86-64 code.
    #[error("not an x86-64 shared object or executable")]
    WrongArchitecture,
    /// No defined function has this name in its default version.
    #[error("{name}: no such function in the symbol tables")]
    NoSuchSymbol {
        /// The function.
        name: String,
    },
    /// Several functions claim to be the default version of this name.
    #[error("{name}: defined more than once")]
    Ambiguous {
        /// The function.
        name: String,
    },
    /// The symbol is an IFUNC: the code that runs is chosen when it is loaded.
    #[error("{name}: an indirect function (IFUNC), its code is chosen at load time")]
    IndirectFunction {
        /// The function.
        name: String,
    },
    /// It jumps to a computed address, so its exits cannot all be found.
    #[error("{name}: jumps indirectly at {at:#x}, so its exits cannot all be found")]
    IndirectJump {
        /// The function.
        name: String,
        /// The jump.
        at: u64,
    },
    /// Its code runs out of the file's executable segments.
    #[error("{name}: its code leaves the file at {at:#x}")]
    LeavesFile {
        /// The function.
        name: String,
        /// The first address outside.
        at: u64,
    },
    /// Its code contains something that is no x86-64 user code.
    #[error("{name}: cannot decode the instruction at {at:#x}")]
    Undecodable {
        /// The function.
        name: String,
        /// The instruction.
        at: u64,
    },
    /// It reaches more code than is believable for one function.
    #[error("{name}: reaches more than {limit} instructions")]
    TooLarge {
        /// The function.
        name: String,
        /// The limit.
        limit: usize,
    },
    /// No `ret` is reachable.
    #[error("{name}: never returns")]
    NeverReturns {
        /// The function.
        name: String,
    },
}

impl From<object::read::Error> for FunctionError {
    fn from(error: object::read::Error) -> Self {
        Self::BadElf(error.to_string())
    }
}
