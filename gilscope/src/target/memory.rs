//! Bounded reads of a target's memory, through `process_vm_readv(2)`: no stop, no attach.

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use std::io::IoSliceMut;
use thiserror::Error;

/// The most that one read may ask for.
pub const MAX_READ: usize = 16 << 20;

/// Why memory could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MemoryError {
    /// The process has ended.
    #[error("process {pid} has ended: start it again and pass its new process id")]
    Gone {
        /// Process.
        pid: u32,
    },
    /// The kernel does not let us.
    #[error(
        "no permission to read the memory of process {pid}: run gilscope as root, or give it CAP_SYS_PTRACE"
    )]
    NoPermission {
        /// Process.
        pid: u32,
    },
    /// Nothing, or not enough, is mapped there.
    #[error(
        "process {pid} has no {len} readable bytes at {address:#x}: if it was starting or ending, try again"
    )]
    Unreadable {
        /// Process.
        pid: u32,
        /// Where.
        address: u64,
        /// How many bytes were asked for.
        len: usize,
    },
    /// The system call failed for another reason.
    #[error(
        "cannot read the memory of process {pid}: {errno}; process_vm_readv(2) must be allowed"
    )]
    System {
        /// Process.
        pid: u32,
        /// Why.
        errno: Errno,
    },
}

/// A process's memory.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pid: u32,
}

impl Memory {
    /// Of the process with this id. An id may be used again: see
    /// [`Process::still_same`](super::Process::still_same).
    pub fn new(pid: u32) -> Memory {
        Memory { pid }
    }

    /// Fills `buffer` from `address`, or fails.
    pub fn read_into(&self, address: u64, buffer: &mut [u8]) -> Result<(), MemoryError> {
        let (pid, len) = (self.pid, buffer.len());
        let unreadable = MemoryError::Unreadable { pid, address, len };
        let Ok(base) = usize::try_from(address) else {
            return Err(unreadable);
        };
        let Ok(raw_pid) = i32::try_from(pid) else {
            return Err(MemoryError::Gone { pid });
        };
        if len > MAX_READ || base.checked_add(len).is_none() {
            return Err(unreadable);
        }
        let remote = [RemoteIoVec { base, len }];
        match process_vm_readv(
            Pid::from_raw(raw_pid),
            &mut [IoSliceMut::new(buffer)],
            &remote,
        ) {
            Ok(n) if n == len => Ok(()),
            Ok(_) | Err(Errno::EFAULT | Errno::EIO) => Err(unreadable),
            Err(Errno::ESRCH) => Err(MemoryError::Gone { pid }),
            Err(Errno::EPERM | Errno::EACCES) => Err(MemoryError::NoPermission { pid }),
            Err(errno) => Err(MemoryError::System { pid, errno }),
        }
    }

    /// `len` bytes, [`MAX_READ`] at most.
    pub fn read_bytes(&self, address: u64, len: usize) -> Result<Vec<u8>, MemoryError> {
        let mut bytes = vec![0; len.min(MAX_READ + 1)];
        self.read_into(address, &mut bytes)?;
        Ok(bytes)
    }

    /// `N` bytes.
    pub fn read_array<const N: usize>(&self, address: u64) -> Result<[u8; N], MemoryError> {
        let mut bytes = [0; N];
        self.read_into(address, &mut bytes)?;
        Ok(bytes)
    }

    /// An unsigned long or a pointer.
    pub fn read_u64(&self, address: u64) -> Result<u64, MemoryError> {
        self.read_array(address).map(u64::from_le_bytes)
    }

    /// An int.
    pub fn read_i32(&self, address: u64) -> Result<i32, MemoryError> {
        self.read_array(address).map(i32::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory() {
        let value = [0x1122_3344_5566_7788_u64, 7];
        let memory = Memory::new(std::process::id());
        let address = value.as_ptr() as u64;
        assert_eq!(memory.read_u64(address), Ok(value[0]));
        assert_eq!(memory.read_i32(address + 8), Ok(7));
        assert_eq!(memory.read_bytes(address + 8, 2), Ok(vec![7, 0]));
    }

    #[test]
    fn hostile_addresses_and_lengths_fail() {
        let memory = Memory::new(std::process::id());
        for address in [0, 8, u64::MAX, u64::MAX - 7, 1 << 63] {
            assert!(matches!(
                memory.read_u64(address),
                Err(MemoryError::Unreadable { .. })
            ));
        }
        let here = (&raw const memory) as u64;
        let too_long = memory.read_bytes(here, usize::MAX);
        assert!(matches!(too_long, Err(MemoryError::Unreadable { .. })));
    }

    #[test]
    fn a_process_that_is_not_there_is_gone() {
        let memory = Memory::new(1 << 30);
        assert_eq!(
            memory.read_u64(4096),
            Err(MemoryError::Gone { pid: 1 << 30 })
        );
        assert!(matches!(
            Memory::new(u32::MAX).read_u64(4096),
            Err(MemoryError::Gone { .. })
        ));
    }
}
