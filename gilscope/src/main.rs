//! gilscope: shows who waits for CPython's GIL, in a live process.

use gilscope::{cli::Cli, commands::trace};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse_or_exit();
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Warn)
        // What the libraries say of themselves helps nobody who traces Python.
        .filter_module("gilscope", cli.log_level())
        .format_target(false)
        .init();
    trace::run(&cli.into_options())
}
