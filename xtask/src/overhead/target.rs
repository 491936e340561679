//! The traced: a workload that waits for the word to begin.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSymbol as _};
use serde::Deserialize;

/// A workload started with `--hold`: all its threads exist, none works yet. Ended when dropped.
pub struct Target {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// A workload's last line.
#[derive(Deserialize)]
struct Outcome {
    rate: f64,
}

impl Target {
    /// Starts the workload and waits until it only waits for the word.
    pub fn start(python: &Path, script: &Path, seconds: f64) -> Result<Self> {
        let mut command = Command::new(python);
        command
            .arg(script)
            .arg("--hold")
            .arg("--seconds")
            .arg(seconds.to_string());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", python.display()))?;
        let (stdin, stdout) = (
            child.stdin.take().context("no stdin")?,
            child.stdout.take().context("no stdout")?,
        );
        let mut target = Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
        };
        target
            .line_with("idle")
            .with_context(|| script.display().to_string())?;
        Ok(target)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it work to the end; its rate. It is idle again, and lives, until it is dropped.
    pub fn work(mut self) -> Result<f64> {
        self.work_on()
    }

    /// The same, for a caller that still has something to look at while it lives.
    pub fn work_on(&mut self) -> Result<f64> {
        self.stdin.write_all(b"\n")?;
        self.line_with("ready")?;
        let line = self.line_with("rate")?;
        let outcome: Outcome = serde_json::from_str(&line)
            .with_context(|| format!("not a workload's result: {line}"))?;
        Ok(outcome.rate)
    }

    fn line_with(&mut self, word: &str) -> Result<String> {
        for line in self.stdout.by_ref().lines() {
            let line = line?;
            if line.contains(word) {
                return Ok(line);
            }
        }
        anyhow::bail!("the workload ended without a line with {word:?}")
    }

    /// The file that holds the interpreter's code: libpython, or the executable.
    pub fn interpreter(&self) -> Result<PathBuf> {
        match self.module("libpython")? {
            Some(path) => Ok(path),
            None => Ok(fs::read_link(format!("/proc/{}/exe", self.pid()))?),
        }
    }

    /// The mapped file whose name begins so.
    pub fn module(&self, name: &str) -> Result<Option<PathBuf>> {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.pid()))?;
        Ok(module_in(&maps, name))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn module_in(maps: &str, name: &str) -> Option<PathBuf> {
    let paths = maps
        .lines()
        .filter_map(|line| line.split_once('/'))
        .map(|(_, path)| Path::new("/").join(path));
    paths.into_iter().find(|path| {
        path.file_name()
            .is_some_and(|file| file.to_string_lossy().starts_with(name))
    })
}

/// The names in the file's `.symtab` of a function and of the copies that the compiler made of it.
pub fn symbols(file: &Path, function: &str) -> Result<Vec<String>> {
    let data = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let elf = object::File::parse(&*data)?;
    let mut names: Vec<_> = elf
        .symbols()
        .filter_map(|symbol| symbol.name().ok())
        .filter(|name| is_copy_of(name, function))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// `take_gil` and `take_gil.constprop.0`, but not `take_gil.cold`, which is a part that the function jumps to.
fn is_copy_of(name: &str, function: &str) -> bool {
    let suffix = name.strip_prefix(function);
    suffix.is_some_and(|suffix| {
        suffix.is_empty() || (suffix.starts_with('.') && !suffix.contains(".cold"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_file_is_found_by_its_name() {
        let maps = "7f00-7f01 r-xp 0 fd:00 1   /usr/lib/libc.so.6\n7f02-7f03 rw-p 0 0:0 0 \n7f04-7f05 r-xp 0 fd:00 2 /opt/a b/libpython3.12.so.1.0\n";
        assert_eq!(
            module_in(maps, "libpython"),
            Some("/opt/a b/libpython3.12.so.1.0".into())
        );
        assert_eq!(
            module_in(maps, "libc.so"),
            Some("/usr/lib/libc.so.6".into())
        );
        assert_eq!(module_in(maps, "libpthread"), None);
    }

    #[test]
    fn copies_of_a_function_are_told_from_its_cold_part_and_its_namesakes() {
        for name in ["take_gil", "take_gil.constprop.0", "take_gil.lto_priv.0"] {
            assert!(is_copy_of(name, "take_gil"), "{name}");
        }
        for name in [
            "take_gil.cold",
            "take_gil.lto_priv.0.cold",
            "drop_gil",
            "take_gil_impl",
        ] {
            assert!(!is_copy_of(name, "take_gil"), "{name}");
        }
    }
}
