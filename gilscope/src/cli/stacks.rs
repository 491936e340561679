//! Which stacks are wanted, and where.

use crate::commands::options::StacksOf;
use clap::ArgGroup;
use std::path::{Path, PathBuf};

/// Options of their own, below the others.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Python stacks")]
#[command(group = ArgGroup::new("files of stacks").multiple(true))]
#[group(id = "stacks")]
pub struct Args {
    /// Draw a flame graph of the time waited, as SVG; `-`: to standard output
    #[arg(long, value_name = "FILE", group = "files of stacks")]
    pub(super) flamegraph: Option<PathBuf>,

    /// The same as text, a line per stack: `outermost;…;innermost µs`
    #[arg(long, value_name = "FILE", group = "files of stacks")]
    pub(super) folded: Option<PathBuf>,

    /// Whose stacks
    #[arg(long, hide_short_help = true, value_name = "WHO", value_enum, default_value_t = StacksOf::Holder, requires = "files of stacks")]
    pub(super) stacks_of: StacksOf,

    /// Read none in the kernel: lines come from ten looks a second at the thread that has the GIL
    #[arg(long, hide_short_help = true, conflicts_with = "files of stacks")]
    pub(super) no_stacks: bool,
}

impl Args {
    pub(super) fn files(&self) -> [Option<&Path>; 2] {
        [self.folded.as_deref(), self.flamegraph.as_deref()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        stacks: Args,
    }

    fn arguments(words: &[&str]) -> Option<Args> {
        let words = ["gilscope"].iter().chain(words);
        Some(Cli::try_parse_from(words).ok()?.stacks)
    }

    fn parse(words: &[&str]) -> Option<StacksOf> {
        arguments(words).map(|stacks| stacks.stacks_of)
    }

    #[test]
    fn no_stacks_for_no_file() {
        let no_stacks = |words| arguments(words).map(|stacks| stacks.no_stacks);
        assert_eq!(no_stacks(&[]), Some(false));
        assert_eq!(no_stacks(&["--no-stacks"]), Some(true));
        assert_eq!(no_stacks(&["--no-stacks", "--folded", "a"]), None);
        assert_eq!(no_stacks(&["--no-stacks", "--flamegraph", "a"]), None);
    }

    #[test]
    fn stacks_of_somebody_for_a_file() {
        let (holder, waiter) = (Some(StacksOf::Holder), Some(StacksOf::Waiter));
        assert_eq!(parse(&[]), holder);
        assert_eq!(parse(&["--folded", "a", "--flamegraph", "b"]), holder);
        assert_eq!(parse(&["--folded", "a", "--stacks-of", "waiter"]), waiter);
        assert_eq!(
            parse(&["--flamegraph", "a", "--stacks-of", "waiter"]),
            waiter
        );
        assert_eq!(parse(&["--stacks-of", "waiter"]), None);
        assert_eq!(parse(&["--folded", "a", "--stacks-of", "both"]), None);
    }
}
