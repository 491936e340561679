//! The program under test.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

static GILSCOPE: OnceLock<PathBuf> = OnceLock::new();

/// gilscope's executable: the one that was named, by [`use_gilscope`] or `GILSCOPE_BIN`, else built once, in the profile
/// that the tests were built in.
pub fn gilscope() -> &'static Path {
    GILSCOPE.get_or_init(|| {
        env::var_os("GILSCOPE_BIN").map_or_else(|| build("gilscope"), PathBuf::from)
    })
}

/// Names gilscope's executable, before anything is traced: for who has built it.
pub fn use_gilscope(program: PathBuf) {
    // One that is in use already stays.
    let _ = GILSCOPE.set(program);
}

/// The oracle's executable, built once likewise.
pub fn gil_oracle() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build("gil-oracle"))
}

/// Builds the program of this package, which has its name.
fn build(package: &str) -> PathBuf {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--package", package, "--bin", package]);
    command.args(["--message-format", "json"]);
    if is_release() {
        command.arg("--release");
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let messages = String::from_utf8(output.stdout).unwrap();
    let executable = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(message.get("executable")?.as_str()?.into())
    });
    executable.expect("cargo names the executable")
}

/// Whether cargo built this test by `--release`: it is in `target/release/deps`.
fn is_release() -> bool {
    let test = env::current_exe().unwrap();
    test.components().any(|part| part.as_os_str() == "release")
}
