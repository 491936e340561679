//! gilscope: shows who waits for CPython's GIL, in a live process.

use gilscope::{
    cli::{Cli, Verb},
    commands::{dump, trace},
};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse_or_exit();
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Warn)
        // What the libraries say of themselves helps nobody who traces Python.
        .filter_module("gilscope", cli.log_level())
        .format_target(false)
        .init();
    return_large_buffers();
    match cli.into_verb() {
        Verb::Trace(options) => trace::run(&options),
        Verb::Dump(options) => dump::run(&options),
    }
}

/// The kernel's type information and the target's files are read whole and forgotten: megabytes that
/// glibc would keep for the next time, because a freed mapping raises its threshold
/// (`malloc/malloc.c`: `munmap_chunk`).
fn return_large_buffers() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a parameter of the allocator, and there is one thread.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 256 << 10);
    }
}
