//! `--help` teaches, and does not change unnoticed.

use gilscope_tests::run;

const HELP: &str = include_str!("../snapshots/help.txt");

/// What is printed belongs in `tests/snapshots/help.txt` as it is.
#[test]
fn help_is_as_written_down() {
    let ended = run(&["--help"]);
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    assert!(
        ended.stdout == HELP,
        "tests/snapshots/help.txt is not what `gilscope --help` prints; if it should be, write it \
         there:\n{}",
        ended.stdout
    );
}

#[test]
fn help_teaches() {
    for part in [
        "Examples:",
        "sudo gilscope --pid",
        "--duration 10s",
        "--json",
        "-- python3",
        "Exit status:",
        "125",
        "A wait is",
        "--children",
        "--flamegraph",
    ] {
        assert!(HELP.contains(part), "{part}");
    }
    assert!(HELP.lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn the_short_help_fits_a_screen() {
    let ended = run(&["-h"]);
    assert_eq!(ended.status, 0);
    assert!(ended.stdout.lines().count() <= 50, "{}", ended.stdout);
}

#[test]
fn the_version() {
    let ended = run(&["--version"]);
    let version = concat!("gilscope ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!((ended.status, ended.stdout.as_str()), (0, version));
}

#[test]
fn without_arguments_it_says_what_it_wants() {
    let ended = run::<&str>(&[]);
    assert_eq!((ended.status, ended.stdout.as_str()), (2, ""));
    for part in ["--pid", "Usage:", "--help"] {
        assert!(ended.stderr.contains(part), "{ended:?}");
    }
}
