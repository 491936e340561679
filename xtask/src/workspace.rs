//! Where things are.

use std::path::{Path, PathBuf};

/// The workspace's root folder.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// The folder that cargo builds the workspace into.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// gilscope's release binary, once it is built.
pub fn gilscope() -> PathBuf {
    target().join("release/gilscope")
}

/// A test workload's script.
pub fn workload(name: &str) -> PathBuf {
    root().join(format!("tests/workloads/{name}.py"))
}
