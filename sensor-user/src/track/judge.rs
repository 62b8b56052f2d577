//! Who judges an exec, and what goes on while it takes its time.

use std::time::Duration;

use crate::identify::{Candidate, Identifier, Judgement};

/// How long it waits for a judgement before it looks at the ring again.
const MEANWHILE: Duration = Duration::from_millis(1);

/// Judges an exec. The real one is [`Identifier`].
pub trait Judge {
    /// `meanwhile` is called again and again while the judgement takes its time.
    fn judge(&mut self, candidate: &Candidate<'_>, meanwhile: &mut dyn FnMut()) -> Judgement;
}

impl Judge for Identifier {
    fn judge(&mut self, candidate: &Candidate<'_>, meanwhile: &mut dyn FnMut()) -> Judgement {
        if self.knows(candidate) {
            return Identifier::judge(self, candidate);
        }
        // In a thread of its own, for as long as it takes; records go on coming.
        let here = std::thread::current();
        let mut case = Some(self);
        let judged = std::thread::scope(|scope| {
            let identifier = case.take()?;
            let work = || {
                let judgement = Identifier::judge(identifier, candidate);
                here.unpark();
                judgement
            };
            let worker = std::thread::Builder::new()
                .name("judge".to_owned())
                .spawn_scoped(scope, work)
                .ok()?;
            while !worker.is_finished() {
                meanwhile();
                std::thread::park_timeout(MEANWHILE);
            }
            match worker.join() {
                Ok(judgement) => Some(judgement),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        });
        // No thread to be had: the file is looked at the next time it is executed.
        judged.unwrap_or_default()
    }
}
