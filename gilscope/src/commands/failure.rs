//! Exit statuses.

use std::process::ExitCode;

/// With a COMMAND, gilscope's own failures must not look like the command's.
pub const FAILED_TO_RUN: u8 = 125;

/// The exit status of a command that was run: its own, or 128 + the signal that ended it.
pub fn of_command(status: nix::sys::wait::WaitStatus) -> ExitCode {
    use nix::sys::wait::WaitStatus;
    match status {
        WaitStatus::Exited(_, code) => ExitCode::from((code & 0xff) as u8),
        WaitStatus::Signaled(_, signal, _) => ExitCode::from(128 + signal as u8),
        _ => ExitCode::from(FAILED_TO_RUN),
    }
}
