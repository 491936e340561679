//! Shows what each thread of a process is doing, once.

use super::{failure, report::style};
use crate::{
    interpreter::Interpreter,
    output::{Destination, json, sentence, text},
    target::Process,
    watch,
};
use std::process::ExitCode;

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The process.
    pub pid: u32,
    /// As JSON.
    pub json: bool,
}

/// Does it, and says how it went.
pub fn run(options: &Options) -> ExitCode {
    match dump(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gilscope: {}", sentence(&failure::message(&error)));
            ExitCode::FAILURE
        }
    }
}

fn dump(options: &Options) -> anyhow::Result<()> {
    let process = Process::open(options.pid)?;
    let interpreter = Interpreter::find(&process)?;
    let dump = watch::dump(&process, &interpreter)?;
    let style = style(&std::io::stdout());
    Destination::Stdout.write(None, |out| {
        if options.json {
            json::write(out, &dump)
        } else {
            text::write_dump(out, &dump, style)
        }
    })?;
    Ok(())
}
