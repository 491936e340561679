//! Why tracing could not begin, and what to do about it.

use crate::target::function::FunctionError;
use std::{io, path::PathBuf};

/// An error on the kernel's side.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Not allowed to load programs.
    #[error(
        "not permitted to trace: this needs root, or the capabilities {missing}; \
         try `sudo gilscope …`"
    )]
    NotPermitted {
        /// What is missing, as a part of the sentence.
        missing: String,
    },
    /// The kernel is locked down so far that programs may not read memory.
    #[error(
        "the kernel is locked down to confidentiality, where no tracer can read memory; boot \
         without `lockdown=confidentiality`"
    )]
    LockedDown,
    /// Another architecture.
    #[error("not supported yet: {0} (gilscope runs on x86_64)")]
    Architecture(String),
    /// The processors are not known.
    #[error("cannot tell which processors there are: {reason}")]
    Clocks {
        /// What was wrong.
        reason: String,
    },
    /// No type information about the kernel.
    #[error(
        "the kernel has no usable BTF at {path} ({reason}); it must be built with \
         CONFIG_DEBUG_INFO_BTF=y, as every distribution's kernel is since 5.10"
    )]
    NoBtf {
        /// Where it was looked for.
        path: &'static str,
        /// What was wrong.
        reason: String,
    },
    /// No tracefs, and it could not be mounted.
    #[error(
        "tracefs is not mounted and could not be mounted ({source}); as root, type: \
         mount -t tracefs tracefs /sys/kernel/tracing"
    )]
    NoTracefs {
        /// Why mounting failed.
        source: io::Error,
    },
    /// The tracepoint is missing or has another layout.
    #[error("the kernel's tracepoint {name} is not as expected: {reason}")]
    Tracepoint {
        /// Category and name.
        name: &'static str,
        /// What differs.
        reason: String,
    },
    /// A function of the C library cannot be probed.
    #[error("cannot probe {}: {reason}; try --source futex", path.display())]
    Function {
        /// The library.
        path: PathBuf,
        /// Why.
        reason: FunctionError,
    },
    /// No mapped file has the function.
    #[error("no file that the target has mapped defines {name}; try --source futex")]
    NoFunction {
        /// Its name.
        name: &'static str,
    },
    /// A program was not accepted.
    #[error("the kernel did not accept gilscope's program {program}: {reason}")]
    Load {
        /// Its name.
        program: String,
        /// The kernel's answer.
        reason: String,
    },
    /// Maps and programs do not fit into the memory that may be locked (before 5.11).
    #[error(
        "the kernel did not let gilscope lock enough memory: the limit is {limit_bytes} bytes, and \
         raising it needs CAP_SYS_RESOURCE; type `ulimit -l unlimited` first, as root"
    )]
    LockedMemory {
        /// `RLIMIT_MEMLOCK`, the soft one.
        limit_bytes: u64,
    },
    /// The object has no such program or map: a fault of ours.
    #[error("the embedded object lacks {0}: this is a bug in gilscope")]
    Incomplete(&'static str),
    /// A map could not be read or written.
    #[error("cannot {action} the kernel's map {map}: {reason}")]
    Map {
        /// Read, write.
        action: &'static str,
        /// Its name.
        map: &'static str,
        /// The kernel's answer.
        reason: String,
    },
}
