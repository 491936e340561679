//! Looks at who has a GIL, and where in Python, by reading memory: those that nobody waits for are seen too.

use crate::{
    interpreter::{Interpreter, Stacks},
    model::{Gil, Held, PythonStack, Sampled},
    target::Process,
};

/// Reads them.
#[derive(Default)]
pub(super) struct Sampler {
    /// Reads stacks, once there was one.
    stacks: Option<Stacks>,
}

impl Sampler {
    /// Looks at a GIL. The thread that has it goes on meanwhile; it is believed if the same has it before and after.
    /// `tid`: the thread with this id in the process's PID namespace.
    pub(super) fn look(
        &mut self,
        process: &Process,
        interpreter: &Interpreter,
        gil: &Gil,
        tid: impl FnOnce(u32) -> Option<u32>,
    ) -> Sampled {
        let memory = process.memory();
        let Some(state) = interpreter.holder(memory, gil) else {
            return Sampled::Free;
        };
        let held = interpreter.thread_state(memory, state).and_then(|thread| {
            let holder = tid(thread.ns_tid)?;
            let stat = process.thread(holder).stat().ok()?;
            if self.stacks.is_none() {
                self.stacks = interpreter.stacks(memory);
            }
            let stack = self.stacks.as_mut().map(|stacks| stacks.read(&thread));
            let stack = stack.filter(|stack| stack.consistent);
            Some(Held {
                holder,
                is_asleep: matches!(stat.state, 'S' | 'D' | 'I'),
                is_collecting: interpreter.is_collecting(memory, state),
                stack: stack.map(PythonStack::from),
            })
        });
        match held {
            Some(held) if interpreter.holder(memory, gil) == Some(state) => Sampled::Held(held),
            _ => Sampled::Unknown,
        }
    }

    /// Forgets what was read, and what it took: a program with endless names cannot keep gilscope busy. To be called about once a second.
    pub(super) fn renew(&mut self) {
        self.stacks = None;
    }
}
