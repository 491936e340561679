//! Who runs the tests, and who runs gilscope in them.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::OnceLock,
};

use tempfile::TempDir;

/// Tracing needs root.
///
/// # Panics
/// Where that is missing, with the way to get it.
pub fn need_root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test traces processes and needs root: run `cargo xtask test`, which uses sudo, or \
         CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER='sudo -E' cargo test -p gilscope-tests"
    );
}

/// A copy of gilscope where any user may run it, and the folder that it is in: a checkout may be
/// out of their reach.
pub fn for_anybody() -> PathBuf {
    static COPY: OnceLock<TempDir> = OnceLock::new();
    let folder = COPY.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        fs::copy(super::gilscope(), folder.path().join("gilscope")).unwrap();
        folder
    });
    folder.path().join("gilscope")
}
