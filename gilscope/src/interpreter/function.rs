//! What a Python function is called, from the address of its code object.

use super::Interpreter;
use super::layout::{CONTENDING, IDLE};
use crate::model::Purpose;
use crate::target::Memory;

/// A function's names, as its code object has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// `co_filename`.
    pub file: String,
    /// `co_name`.
    pub name: String,
}

impl Interpreter {
    /// The function with this code object; `None` where there is none.
    pub fn function(&self, memory: Memory, code: u64) -> Option<Function> {
        self.objects(memory)?.function(code)
    }
}

/// What a thread waits for in a function, called by another.
pub fn purpose(function: &Function, caller: Option<&Function>) -> Purpose {
    let is_any = |function: &Function, known: &[(&str, &str)]| {
        known
            .iter()
            .any(|(file, name)| function.name == *name && is_library_file(&function.file, file))
    };
    if !is_any(function, &IDLE) {
        return Purpose::Contention;
    }
    match caller {
        _ if !is_any(function, &IDLE[..1]) => Purpose::Idle,
        Some(caller) if is_any(caller, &CONTENDING) => Purpose::Contention,
        Some(_) => Purpose::Idle,
        None => Purpose::Unknown,
    }
}

/// Whether a path is that of a file of the standard library: `…/python3.11/threading.py`, `…/python311.zip/threading.py`,
/// `…/Lib/threading.py` in a build's own folder, or without any folder, as frozen programs have it.
pub(super) fn is_library_file(path: &str, file: &str) -> bool {
    match path.strip_suffix(file) {
        Some("") => true,
        Some(folder) => {
            let folder = folder.strip_suffix('/').and_then(|f| f.rsplit('/').next());
            folder.is_some_and(|name| name.starts_with("python") || name == "Lib")
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(file: &str, name: &str) -> Function {
        Function {
            file: file.to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn who_waits_for_work_is_idle_and_who_is_hindered_is_not() {
        let threading = |name| function("/usr/lib/python3.11/threading.py", name);
        let queue = |name| function("/usr/lib/python3.11/queue.py", name);
        let own = function("/srv/app/threading.py", "wait");
        let cases = [
            (threading("wait"), Some(threading("wait")), Purpose::Idle),
            (threading("wait"), Some(queue("get")), Purpose::Idle),
            (threading("wait"), Some(own.clone()), Purpose::Idle),
            (
                threading("wait"),
                Some(threading("acquire")),
                Purpose::Contention,
            ),
            (threading("wait"), Some(queue("put")), Purpose::Contention),
            (threading("wait"), None, Purpose::Unknown),
            (threading("join"), None, Purpose::Idle),
            (
                threading("_wait_for_tstate_lock"),
                Some(threading("join")),
                Purpose::Idle,
            ),
            (threading("__enter__"), None, Purpose::Contention),
            (own, None, Purpose::Contention),
            (function("/srv/app/x.py", "join"), None, Purpose::Contention),
        ];
        for (top, caller, expected) in cases {
            assert_eq!(
                purpose(&top, caller.as_ref()),
                expected,
                "{top:?} {caller:?}"
            );
        }
    }

    #[test]
    fn the_library_s_files_are_known_by_their_folder() {
        for (path, is) in [
            ("/usr/lib/python3.11/concurrent/futures/thread.py", true),
            ("/x/lib/python311.zip/concurrent/futures/thread.py", true),
            ("/build/Lib/concurrent/futures/thread.py", true),
            ("concurrent/futures/thread.py", true),
            ("/srv/concurrent/futures/thread.py", false),
            ("/usr/lib/python3.11/xconcurrent/futures/thread.py", false),
            ("", false),
        ] {
            assert_eq!(
                is_library_file(path, "concurrent/futures/thread.py"),
                is,
                "{path}"
            );
        }
    }
}
