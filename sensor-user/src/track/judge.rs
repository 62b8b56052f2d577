//! Who judges an exec, and what goes on while it takes its time.
//!
//! Invariants: every exec is judged, in this thread where no other is to be had; a judgement that
//! panics is one of something unseen, which is counted, and ends neither the daemon nor its memory of
//! other files.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, Once, PoisonError},
    thread::Builder,
    time::Duration,
};

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
        let known = self.knows(candidate);
        let identifier = Mutex::new(self);
        let work = || {
            let mut identifier = identifier.lock().unwrap_or_else(PoisonError::into_inner);
            Identifier::judge(&mut identifier, candidate)
        };
        if known {
            guarded(&work)
        } else {
            beside(Builder::new().name("judge".to_owned()), &work, meanwhile)
        }
    }
}

/// Does the work in a thread of its own, for as long as it takes, and calls `meanwhile`; where no
/// thread is to be had (a fork bomb, a limit), does it here.
fn beside(
    thread: Builder,
    work: &(impl Fn() -> Judgement + Sync),
    meanwhile: &mut dyn FnMut(),
) -> Judgement {
    let here = std::thread::current();
    std::thread::scope(|scope| {
        let there = || {
            let judgement = guarded(work);
            here.unpark();
            judgement
        };
        let Ok(worker) = thread.spawn_scoped(scope, there) else {
            return guarded(work);
        };
        while !worker.is_finished() {
            meanwhile();
            std::thread::park_timeout(MEANWHILE);
        }
        worker.join().unwrap_or(Judgement::UNSEEN)
    })
}

/// A file that makes the judge panic is a mistake here: said once, and the exec is one that could not
/// be looked at.
fn guarded(work: &impl Fn() -> Judgement) -> Judgement {
    static SAID: Once = Once::new();
    // What a panic leaves behind is the memory of files, each entered whole.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        SAID.call_once(|| {
            tracing::error!("judging a file panicked: such programs count as not judged");
        });
        Judgement::UNSEEN
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn multicall() -> Judgement {
        Judgement {
            multicall: true,
            ..Judgement::default()
        }
    }

    /// A thread nobody can have: its stack is larger than the address space.
    fn impossible() -> Builder {
        Builder::new().stack_size(1 << 47)
    }

    #[test]
    fn where_no_thread_is_to_be_had_it_is_judged_here() {
        let here = std::thread::current().id();
        let work = || {
            assert_eq!(std::thread::current().id(), here);
            multicall()
        };
        assert_eq!(beside(impossible(), &work, &mut || {}), multicall());
    }

    #[test]
    fn records_go_on_coming_while_it_takes_its_time() {
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let work = || {
            let wait = wait.lock().unwrap();
            wait.recv().expect("called meanwhile");
            multicall()
        };
        let mut meanwhile = || {
            // Nobody waits any more once it is judged.
            let _ = go_on.send(());
        };
        assert_eq!(beside(Builder::new(), &work, &mut meanwhile), multicall());
    }

    #[test]
    fn a_judgement_that_panics_is_one_of_something_unseen() {
        let work = || -> Judgement { panic!("a hostile file") };
        for thread in [Builder::new(), impossible()] {
            assert_eq!(beside(thread, &work, &mut || {}), Judgement::UNSEEN);
        }
    }
}
