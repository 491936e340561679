//! The line on the terminal while tracing.

use super::options::Options;
use crate::{
    model::{Progress, StormKind, StormNews},
    output::{progress, storm},
    watch::Session,
};
use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

/// Of pauses that follow each other, one is told in this time.
const PAUSES: Duration = Duration::from_secs(1);

/// One line on the terminal, written over each second.
pub struct ProgressLine {
    before: Progress,
    shown: bool,
    wanted: bool,
    quiet: bool,
    /// When a pause was told last, and how many were not since.
    pauses: (Option<Instant>, u64),
}

impl ProgressLine {
    /// A line, if it is wanted and there is a terminal.
    pub fn new(options: &Options) -> Self {
        Self {
            before: Progress::default(),
            shown: false,
            quiet: options.quiet,
            pauses: (None, 0),
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

    /// Tells of storms, each in a line that stays.
    pub fn tell(&mut self, news: Vec<(u32, StormNews)>) {
        if self.quiet {
            return;
        }
        for (pid, news) in news {
            let mut untold = 0;
            if news.storm.kind == StormKind::Pause {
                let (told_at, not_told) = self.pauses;
                if told_at.is_some_and(|told_at| told_at.elapsed() < PAUSES) {
                    self.pauses.1 += 1;
                    continue;
                }
                untold = not_told;
                self.pauses = (Some(Instant::now()), 0);
            }
            self.clear();
            let line = storm::line(pid, &news, untold);
            let _ = writeln!(std::io::stderr(), "gilscope: {line}");
        }
    }

    /// Leaves the terminal as it was.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
