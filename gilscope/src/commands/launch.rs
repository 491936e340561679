//! Runs a command that waits, before its first instruction, until it is traced.
//!
//! A process of our own making, stopped at a pipe: no signal, no ptrace. Under sudo it runs as the
//! user who typed the command.

use anyhow::{Context, bail};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::{
        signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Gid, Pid, Uid, User, execvp, fork, initgroups, pipe2, setgid, setuid},
};
use std::{
    ffi::{CString, OsString},
    fs::File,
    io::{Read, Write},
    os::unix::ffi::OsStrExt,
};

/// The user who typed `sudo`.
struct Invoker {
    uid: Uid,
    gid: Gid,
    name: CString,
}

impl Invoker {
    fn of_sudo() -> Option<Self> {
        if !Uid::effective().is_root() {
            return None;
        }
        let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
        let uid = Uid::from_raw(number("SUDO_UID")?);
        let user = User::from_uid(uid).ok().flatten()?;
        Some(Self {
            uid,
            gid: Gid::from_raw(number("SUDO_GID")?),
            name: CString::new(user.name).ok()?,
        })
    }

    fn become_it(&self) -> Result<(), Errno> {
        initgroups(&self.name, self.gid)?;
        setgid(self.gid)?;
        setuid(self.uid)
    }
}

/// A command that has been forked and not yet executed.
pub struct Launched {
    /// Its process.
    pub pid: Pid,
    go: Option<File>,
    failure: File,
    name: String,
}

/// Forks the command. It waits for [`Launched::go`].
///
/// # Errors
/// Where it cannot be forked, or an argument holds a NUL.
pub fn launch(command: &[OsString]) -> anyhow::Result<Launched> {
    let arguments = command
        .iter()
        .map(|argument| CString::new(argument.as_bytes()))
        .collect::<Result<Vec<_>, _>>()
        .context("an argument of COMMAND holds a NUL")?;
    let Some(program) = arguments.first() else {
        bail!("COMMAND is missing");
    };
    let invoker = Invoker::of_sudo();
    let (go_reader, go) = pipe2(OFlag::O_CLOEXEC)?;
    let (failure, failure_writer) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: the process has one thread: the runtime is not running yet. The child only reads a
    // pipe, sets its ids and executes.
    match unsafe { fork() }.context("cannot fork")? {
        ForkResult::Child => {
            drop(go);
            let error = child(go_reader.into(), invoker.as_ref(), program, &arguments);
            let _ = File::from(failure_writer).write_all(&(error as i32).to_le_bytes());
            std::process::exit(127);
        }
        ForkResult::Parent { child } => Ok(Launched {
            pid: child,
            go: Some(go.into()),
            failure: failure.into(),
            name: program.to_string_lossy().into_owned(),
        }),
    }
}

fn child(
    mut go: File,
    invoker: Option<&Invoker>,
    program: &CString,
    arguments: &[CString],
) -> Errno {
    let mut byte = [0];
    if !matches!(go.read(&mut byte), Ok(1)) {
        // The tracer is gone.
        std::process::exit(125);
    }
    if let Some(invoker) = invoker
        && let Err(error) = invoker.become_it()
    {
        return error;
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    match execvp(program, arguments) {
        Err(error) => error,
    }
}

impl Launched {
    /// Lets the command begin.
    ///
    /// # Errors
    /// Where it could not be executed, with what to do.
    pub fn go(&mut self) -> anyhow::Result<()> {
        if let Some(mut go) = self.go.take() {
            go.write_all(b"x").context("the command is gone")?;
        }
        let mut code = [0; 4];
        match self.failure.read_exact(&mut code) {
            // The pipe was closed by a successful exec.
            Err(_) => Ok(()),
            Ok(()) => {
                let errno = Errno::from_raw(i32::from_le_bytes(code));
                let _ = waitpid(self.pid, None);
                bail!("cannot run {}: {errno}{}", self.name, self.advice(errno))
            }
        }
    }

    fn advice(&self, errno: Errno) -> String {
        if errno == Errno::ENOENT
            && !self.name.contains('/')
            && std::env::var_os("SUDO_UID").is_some()
        {
            let name = &self.name;
            return format!(
                " (sudo has a PATH of its own; write `sudo gilscope … -- \"$(command -v {name})\" …`)"
            );
        }
        String::new()
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<WaitStatus> {
        match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(_) => None,
            Ok(status) => Some(status),
        }
    }

    /// Hands on a signal that gilscope got.
    pub fn signal(&self, signal: Signal) {
        if let Err(error) = kill(self.pid, signal) {
            log::debug!("cannot send {signal} to the command: {error}");
        }
    }
}
