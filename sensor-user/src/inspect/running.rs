//! What is asked of processes that run already.

use super::{Inspector, Memory, wire::Ask};
use crate::{
    decode::{self, Common},
    identify::{Candidate, Unjudged},
    proc::{Image, Proc},
    track::adopt::Running,
};

impl Running for Inspector {
    fn image(
        &mut self,
        common: &Common,
        task: &decode::Task,
        meanwhile: &mut dyn FnMut(),
    ) -> Option<decode::Exec> {
        let start_ns = common.start_ns?;
        let candidate = Candidate {
            pid: common.tgid,
            file: task.file,
            file_size: 0,
            exe: None,
            filename: None,
            argv: &[],
            argv_truncated: false,
            cwd: None,
            uid: Some(task.uid),
            switches: None,
            since: None,
        };
        match self.desk().ask(
            Ask::Image { start_ns },
            &candidate,
            Memory::default(),
            meanwhile,
        ) {
            Ok(answer) => answer.found_image().map(|image| image.exec(task)),
            Err(Unjudged::Gone) => None,
            // It runs, and nothing of it could be looked at: that is not nothing.
            Err(_) => Some(
                Image {
                    argv_truncated: true,
                    ..Image::default()
                }
                .exec(task),
            ),
        }
    }

    fn alive(&mut self, tgid: u32, start_ns: Option<u64>) -> bool {
        Proc.alive(tgid, start_ns)
    }

    fn end_is_to_come(&mut self, tgid: u32, start_ns: u64) -> bool {
        Proc.end_is_to_come(tgid, start_ns)
    }
}
