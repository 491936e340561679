//! A process that ends with its guard, and what it prints meanwhile.

use std::{
    io::{BufReader, Read, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Instant,
};

use nix::{
    sys::{
        prctl,
        signal::{Signal, kill, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::Pid,
};

use crate::{DEADLINE, until};

/// A process that was started here. When this is dropped, it is killed, and with it what it has started itself.
///
/// It is the first of a process group of its own, which tells what to kill, even when it has ended itself. It is reaped no
/// sooner, as its id, which is the group's as well, may then become another's.
pub struct Running {
    child: Child,
    stdout: Arc<Stream>,
    stderr: Arc<Stream>,
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    /// Exit status, as a shell has it: 128 + the signal that ended it.
    pub status: i32,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

impl Running {
    /// Starts it with pipes on all three standard streams.
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        // The terminal's Ctrl-C, which ends the tests, does not reach another group; so it is to end with the thread that starts it.
        // SAFETY: between fork and exec it makes one system call, and nothing else.
        unsafe { command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)) };
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = Stream::read(child.stdout.take().unwrap());
        let stderr = Stream::read(child.stderr.take().unwrap());
        Self {
            child,
            stdout,
            stderr,
        }
    }

    /// Starts it and waits for the line `ready`.
    pub fn ready(command: &mut Command) -> Self {
        let running = Self::start(command);
        running.prints("ready");
        running
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of its standard output that contains `part`, and answers with the line.
    pub fn prints(&self, part: &str) -> String {
        self.stdout.line(part).unwrap_or_else(|| {
            panic!(
                "no {part:?} in {:?}; it complained: {}",
                self.stdout.so_far(),
                self.stderr.so_far()
            )
        })
    }

    /// The same of its standard error.
    pub fn complains(&self, part: &str) -> String {
        let said = self.stderr.line(part);
        said.unwrap_or_else(|| panic!("no {part:?} in {:?}", self.stderr.so_far()))
    }

    /// Waits for so many lines of its standard error that contain `part`.
    pub fn complains_often(&self, part: &str, times: usize) {
        let lines = |text: &str| text.lines().filter(|line| line.contains(part)).count();
        let enough = |text: &str, closed| (lines(text) >= times || closed).then(|| lines(text));
        let found = self.stderr.wait(enough);
        assert!(
            found >= times,
            "{found} × {part:?} in {:?}",
            self.stderr.so_far()
        );
    }

    /// Writes a line to its standard input.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("stdin is open");
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Closes its standard input.
    pub fn hang_up(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.id(), signal).unwrap();
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        self.status().is_none()
    }

    /// Waits for its end.
    pub fn end(self) -> Ended {
        Ended {
            status: until("the end of a process", || self.status()),
            stdout: self.stdout.whole(),
            stderr: self.stderr.whole(),
        }
    }

    fn id(&self) -> Pid {
        Pid::from_raw(self.pid().try_into().unwrap())
    }

    /// How it has ended, as a shell has it. This does not reap it.
    fn status(&self) -> Option<i32> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(self.id()), flags).unwrap() {
            WaitStatus::Exited(_, code) => Some(code),
            WaitStatus::Signaled(_, signal, _) => Some(128 + signal as i32),
            _ => None,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = killpg(self.id(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// What came out of a pipe so far, and whether it is closed.
#[derive(Default)]
struct Stream {
    read: Mutex<(Vec<u8>, bool)>,
    grown: Condvar,
}

impl Stream {
    fn read(pipe: impl Read + Send + 'static) -> Arc<Self> {
        let stream = Arc::new(Self::default());
        let writer = Arc::clone(&stream);
        thread::spawn(move || writer.fill(pipe));
        stream
    }

    fn fill(&self, pipe: impl Read) {
        let mut pipe = BufReader::new(pipe);
        let mut bytes = [0; 4096];
        loop {
            let length = pipe.read(&mut bytes).unwrap_or(0);
            let mut read = self.read.lock().unwrap();
            read.0.extend_from_slice(&bytes[..length]);
            read.1 = length == 0;
            self.grown.notify_all();
            if read.1 {
                return;
            }
        }
    }

    /// A whole line with `part` in it; `None` if the pipe was closed before.
    fn line(&self, part: &str) -> Option<String> {
        self.wait(|text, closed| {
            let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
            let line = whole.lines().find(|line| line.contains(part));
            match line {
                Some(line) => Some(Some(line.to_owned())),
                None if closed => Some(None),
                None => None,
            }
        })
    }

    fn whole(&self) -> String {
        self.wait(|text, closed| closed.then(|| text.to_owned()))
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.read.lock().unwrap().0).into_owned()
    }

    fn wait<T>(&self, answer: impl Fn(&str, bool) -> Option<T>) -> T {
        let start = Instant::now();
        let mut read = self.read.lock().unwrap();
        loop {
            let text = String::from_utf8_lossy(&read.0);
            if let Some(answer) = answer(&text, read.1) {
                return answer;
            }
            let left = DEADLINE.checked_sub(start.elapsed());
            let left = left.unwrap_or_else(|| panic!("waited in vain; so far: {text:?}"));
            read = self.grown.wait_timeout(read, left).unwrap().0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Waits until nothing is left of a process but what its parent may ask for.
    fn is_gone(pid: &str) {
        until("the end of a child", || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.map_or(true, |stat| stat.contains(") Z "))
                .then_some(())
        });
    }

    #[test]
    fn what_it_has_started_goes_with_it() {
        let script = "sleep 1000 >/dev/null 2>&1 & echo child $!; wait";
        let running = Running::start(Command::new("sh").args(["-c", script]));
        let line = running.prints("child");
        drop(running);
        is_gone(line.trim_start_matches("child "));
    }

    #[test]
    fn what_it_leaves_behind_goes_too() {
        let script = "sleep 1000 >/dev/null 2>&1 & echo child $!; exit 3";
        let ended = Running::start(Command::new("sh").args(["-c", script])).end();
        assert_eq!(ended.status, 3);
        is_gone(ended.stdout.trim().trim_start_matches("child "));
    }

    #[test]
    fn its_status_is_a_shells() {
        for (script, status) in [("exit 0", 0), ("exit 255", 255), ("kill -9 $$", 137)] {
            let ended = Running::start(Command::new("sh").args(["-c", script])).end();
            assert_eq!(ended.status, status, "{script}");
        }
    }
}
