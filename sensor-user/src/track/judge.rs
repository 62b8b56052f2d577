//! Who judges an exec, and what goes on while it takes its time.

use skep_event::Repository;

use crate::identify::{Candidate, Judgement};

/// Looks at processes and at the files they run. The real one is [`crate::inspect::Inspector`].
pub trait Judge {
    /// Judges an exec. `meanwhile` is called again and again while the judgement takes its time.
    fn judge(&mut self, candidate: &Candidate<'_>, meanwhile: &mut dyn FnMut()) -> Judgement;

    /// The repository around the working directory; `None` as well when it could not be looked at.
    fn repository(
        &mut self,
        _candidate: &Candidate<'_>,
        _meanwhile: &mut dyn FnMut(),
    ) -> Option<Repository> {
        None
    }

    /// Whether a file of this path may be one that an agent is started by, so that it is worth asking about.
    fn is_telling(&self, _path: &[u8]) -> bool {
        false
    }

    /// Judges an exec that waits ([`Judgement::waits`]) by a file that its process has opened. Only an agent
    /// is an answer.
    fn opened(
        &mut self,
        _candidate: &Candidate<'_>,
        _path: &[u8],
        _meanwhile: &mut dyn FnMut(),
    ) -> Judgement {
        Judgement::default()
    }
}
