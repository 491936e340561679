//! Exit statuses, and the sentence that goes with a failure.

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

/// An error with its causes. One that tells its cause in its own words is not repeated.
pub fn message(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |told, cause| {
        let cause = cause.to_string();
        match told {
            told if told.is_empty() => cause,
            told if told.contains(&cause) => told,
            told => format!("{told}: {cause}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read it: {source}; try again")]
    struct Telling {
        source: std::io::Error,
    }

    #[test]
    fn nothing_is_said_twice() {
        let source = std::io::Error::other("refused");
        let error = anyhow::Error::new(Telling { source }).context("no report");
        assert_eq!(
            message(&error),
            "no report: cannot read it: refused; try again"
        );
    }
}
