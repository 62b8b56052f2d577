//! Runs the walk over the kernel's task list: every process that runs, into the ring.

use aya::programs::{Program, RawTracePointRunOptions, TestRun};
use skep_abi::{WALK_DONE, WALK_MORE, Walk};

use super::Probes;
use crate::causes::with_causes;

/// The kernel program.
const PROGRAM: &str = "walk_tasks";
/// A walk that is upset this often will not come round.
const UPSET_MAX: u32 = 64;

/// How far a walk has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkStep {
    /// Call again, once the ring has been read: up to [`skep_abi::WALK_TASKS`] records more wait in it.
    More,
    /// Every process that was there from the first step to this one was reported, some perhaps twice.
    Done,
}

#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    #[error("the kernel refuses to walk over its tasks: {0}")]
    Refused(String),
    #[error("the walk over the kernel's tasks was upset {UPSET_MAX} times by processes that ended")]
    Upset,
}

impl Probes {
    /// One step of a walk over every process: records of kind `Task` in the ring. A walk is begun with
    /// `upset` at 0, which counts how often it had to begin again.
    pub fn walk(&mut self, upset: &mut u32) -> Result<WalkStep, WalkError> {
        let refused = |error: &dyn std::error::Error| WalkError::Refused(with_causes(error));
        let Some(Program::RawTracePoint(program)) = self.programs.object.program_mut(PROGRAM)
        else {
            return Err(WalkError::Refused(format!(
                "program {PROGRAM} is not in the kernel object"
            )));
        };
        if program.fd().is_err() {
            program.load().map_err(|error| refused(&error))?;
        }
        program
            .test_run(RawTracePointRunOptions::new())
            .map_err(|error| refused(&error))?;
        let walk = self.walk.get(&0, 0).map_err(|error| refused(&error))?;
        match walk.outcome {
            WALK_MORE => Ok(WalkStep::More),
            outcome => {
                self.walk
                    .set(0, Walk::default(), 0)
                    .map_err(|error| refused(&error))?;
                if outcome == WALK_DONE {
                    return Ok(WalkStep::Done);
                }
                *upset += 1;
                if *upset >= UPSET_MAX {
                    return Err(WalkError::Upset);
                }
                Ok(WalkStep::More)
            }
        }
    }
}
