//! Runs the walk over the kernel's task list: every process that runs, into the ring.

use aya::{
    Ebpf,
    programs::{Program, RawTracePoint, RawTracePointRunOptions, TestRun},
};
use skep_abi::{WALK_DONE, WALK_MORE, Walk};

use super::Probes;
use crate::causes::with_causes;

/// The kernel program.
const PROGRAM: &str = "walk_tasks";
/// A walk that is upset this often will not come round.
const UPSET_MAX: u32 = 64;
/// A walk that finds the ring full this often in a row, although it is emptied before each step, will not get
/// on.
const STUCK_MAX: u32 = 256;

/// What disturbed a walk so far.
#[derive(Debug, Default)]
pub struct Disturbances {
    /// How often it had to begin again.
    upset: u32,
    /// How often, in a row, the ring had no room for one record.
    stuck: u32,
}

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
    #[error("the walk over the kernel's tasks found the ring full {STUCK_MAX} times in a row")]
    Stuck,
}

impl Probes {
    /// One step of a walk over every process: records of kind `Task` in the ring, which is to be read before
    /// the next. A walk is begun without disturbances.
    pub fn walk(&mut self, disturbances: &mut Disturbances) -> Result<WalkStep, WalkError> {
        loaded(&mut self.programs.object)?
            .test_run(RawTracePointRunOptions::new())
            .map_err(|error| refused(&error))?;
        let walk = self.walk.get(&0, 0).map_err(|error| refused(&error))?;
        let Disturbances { upset, stuck } = disturbances;
        match walk.outcome {
            WALK_MORE => {
                *stuck = if walk.reported == 0 { *stuck + 1 } else { 0 };
                if *stuck >= STUCK_MAX {
                    return Err(WalkError::Stuck);
                }
                Ok(WalkStep::More)
            }
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

/// The kernel program, loaded. That takes the verifier a moment: first asked for before the ring fills.
pub(super) fn loaded(object: &mut Ebpf) -> Result<&mut RawTracePoint, WalkError> {
    let Some(Program::RawTracePoint(program)) = object.program_mut(PROGRAM) else {
        return Err(WalkError::Refused(format!(
            "program {PROGRAM} is not in the kernel object"
        )));
    };
    if program.fd().is_err() {
        program.load().map_err(|error| refused(&error))?;
    }
    Ok(program)
}

fn refused(error: &dyn std::error::Error) -> WalkError {
    WalkError::Refused(with_causes(error))
}
