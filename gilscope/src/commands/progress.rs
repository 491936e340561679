//! The line on the terminal while tracing.

use super::options::Options;
use crate::{model::Progress, output::progress, watch::Session};
use std::io::{IsTerminal, Write};

/// One line on the terminal, written over each second.
pub struct ProgressLine {
    before: Progress,
    shown: bool,
    wanted: bool,
}

impl ProgressLine {
    /// A line, if it is wanted and there is a terminal.
    pub fn new(options: &Options) -> Self {
        Self {
            before: Progress::default(),
            shown: false,
            wanted: !options.quiet && std::io::stderr().is_terminal(),
        }
    }

    /// Shows what the last second was.
    pub fn show(&mut self, session: &Session) {
        if self.wanted {
            let now = session.progress();
            let line = progress::line(&self.before, &now);
            self.before = now;
            let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
            self.shown = true;
        }
    }

    /// Leaves the terminal as it was.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
