//! What a Python program calls its threads: `threading.Thread.name`.

use super::function::is_library_file;
use super::layout::{self, RLock};
use super::object::Objects;
use super::threads::ThreadState;
use super::walk::MARKS;
use super::{Interpreter, text};
use crate::target::Memory;

/// The first functions of a thread that `threading` has started, which have its `Thread` as their first argument (`Lib/threading.py`, 3.x and 2.7).
const FIRST: [&str; 2] = ["_bootstrap", "__bootstrap"];
/// Callers of functions that are looked through, from the outermost on: C may have called Python before.
const OUTERMOST: usize = 4;
/// Functions of a stack that are looked at in all.
const MAX_FRAMES: usize = 1_024;
/// The attribute that has the name.
const NAME: &str = "_name";
/// In 2.7.
const NAME_2_7: &str = "_Thread__name";

impl Interpreter {
    /// The name of a thread; `None` of one that Python has not started, such as the main one, and where it cannot be read.
    pub fn thread_name(&self, memory: Memory, thread: &ThreadState) -> Option<String> {
        let objects = self.objects(memory)?;
        let walk = objects.walk(thread.address, MAX_FRAMES);
        if walk.truncated || walk.broken {
            return None;
        }
        let is_first = |code: u64| {
            let function = objects.function(code)?;
            Some(
                FIRST.contains(&&*function.name) && is_library_file(&function.file, "threading.py"),
            )
        };
        let mut outermost = walk.frames.iter().rev().take(OUTERMOST);
        let frame = outermost.find(|frame| is_first(frame.code) == Some(true))?;
        let name = match objects.layout.rlock {
            RLock::Python { local, .. } => {
                let thread = objects.word(frame.address, local)?;
                objects.attribute(thread, NAME_2_7)?
            }
            RLock::C { .. } => {
                let layout = layout::instances(self.version, self.free_threaded)?;
                let thread = objects.word(frame.address, layout.first_local)? & !MARKS;
                objects.instance_attribute(&layout, thread, NAME)?
            }
        };
        let name = objects.string(name)?;
        Some(name).filter(|name| !name.is_empty())
    }
}

impl Objects {
    /// The characters of an object, if it is a `str`.
    fn string(&self, object: u64) -> Option<String> {
        let is_str = self.is_a(object, b"str\0")?;
        is_str.then(|| text::read(self.memory, object, self.layout.text))?
    }
}
