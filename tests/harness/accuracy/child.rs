//! A child process that says when it is ready.

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    process::{self, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Where it talks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// stdout; its stderr is ours.
    Stdout,
    /// stderr; its stdout is as the command says.
    Stderr,
}

/// Killed when dropped.
pub struct Child {
    child: process::Child,
    program: String,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    patience: Duration,
}

impl Child {
    /// Starts it; each later step may take as long as `patience`.
    pub fn start(command: &mut Command, stream: Stream, patience: Duration) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::piped());
        match stream {
            Stream::Stdout => command.stdout(Stdio::piped()),
            Stream::Stderr => command.stderr(Stdio::piped()),
        };
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        let stdin = child.stdin.take();
        let lines = match stream {
            Stream::Stdout => child.stdout.take().map(lines_of),
            Stream::Stderr => child.stderr.take().map(lines_of),
        };
        let lines = lines.context("a pipe that was asked for is not there")?;
        Ok(Self {
            child,
            program,
            stdin,
            lines,
            patience,
        })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line with this in it.
    pub fn line(&mut self, word: &str) -> Result<String> {
        let (deadline, mut said) = (Instant::now() + self.patience, Vec::new());
        while let Ok(line) = self
            .lines
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if line.contains(word) {
                return Ok(line);
            }
            said.push(line);
        }
        bail!(
            "{} has not said {word:?}, but: {}",
            self.program,
            said.join("; ")
        )
    }

    /// Writes an empty line to its stdin.
    pub fn say_line(&mut self) -> Result<()> {
        let stdin = self.stdin.as_mut().context("its stdin is closed")?;
        Ok(stdin.write_all(b"\n")?)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.pid().try_into()?), signal)?)
    }

    /// Closes its stdin and waits for its end, which must be a success.
    pub fn end(mut self) -> Result<()> {
        self.stdin = None;
        let (deadline, mut said) = (Instant::now() + self.patience, Vec::new());
        // Its end closes the stream.
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => said.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => bail!("{} does not end", self.program),
            }
        }
        let status = self.child.wait()?;
        ensure!(
            status.success(),
            "{}: {status}: {}",
            self.program,
            said.join("; ")
        );
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads to the end, so that the child never waits for a reader.
fn lines_of(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}
