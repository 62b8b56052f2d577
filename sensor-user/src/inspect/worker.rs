//! One question, looked into by a process of its own.
//!
//! Order: it takes hold of what only `/proc` leads to, while it still may; it becomes the person the process
//! looked at is; it gives up every means but reading; only then it opens and reads files. It answers once and
//! ends. Nothing that it reads for one user is ever there when it reads for another.

use std::{
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use rustix::{
    fs::fstat,
    net::{SendFlags, send},
};
use skep_event::Text;

use super::{
    confine::confine,
    person::Person,
    wire::{Allowed, Answer, Ask, Asked, PACKET_MAX},
};
use crate::{
    git,
    identify::{
        Identifier, Judgement, Root, Unjudged, descriptors,
        looks::{Budget, Looks},
    },
    proc::Image,
};

/// Looks into it and sends the answer. `identifier` is this process's own copy.
pub fn answer(asked: &Asked, identifier: &mut Identifier, socket: &OwnedFd) {
    // What a panic leaves behind ends with this process.
    let look = AssertUnwindSafe(|| look(asked, identifier));
    let answer = catch_unwind(look).unwrap_or_else(|_| Answer::failed(Unjudged::NotLookedAt));
    let mut packet = answer.packet();
    if packet.len() > PACKET_MAX {
        packet = Answer::failed(Unjudged::OverBudget).packet();
    }
    // Who asked has gone on without it.
    let _ = send(socket, &packet, SendFlags::NOSIGNAL);
}

fn look(asked: &Asked, identifier: &mut Identifier) -> Answer {
    let Allowed {
        millis,
        bytes,
        entries,
        memory,
    } = asked.allowed;
    let candidate = asked.candidate();
    let looks = Looks::within(Budget { bytes, entries });
    let root = match Root::of(&candidate, descriptors(&candidate), looks) {
        Ok(root) => root,
        Err(why) => return Answer::failed(why),
    };
    let image = match asked.ask {
        Ask::Image { start_ns } => Image::read(asked.pid, start_ns),
        Ask::Judge | Ask::Repository | Ask::Opened => None,
    };
    let person = Person::of(asked.pid).unwrap_or_else(|| Person::ended(asked.uid));
    // Both before anything is read: what cannot be confined reads nothing.
    if let Err(error) = person.become_it().and_then(|()| confine(memory, millis)) {
        let errno = error.raw_os_error().unwrap_or(0);
        return Answer::failed(Unjudged::Unreadable { errno });
    }
    let mut answer = match asked.ask {
        Ask::Judge => judged(asked, &root, identifier),
        Ask::Opened => {
            let path = asked.opened.as_deref().unwrap_or_default();
            Answer::judged(&identifier.judge_opened(&candidate, &root, path))
        }
        Ask::Repository => repository(asked, &root, person.uid),
        Ask::Image { .. } => {
            Answer::image(image.and_then(|image| seen(image, asked, &root)).as_ref())
        }
    };
    let used = root.looks.used();
    (answer.bytes, answer.entries) = (used.bytes, used.entries);
    answer
}

fn judged(asked: &Asked, root: &Root, identifier: &mut Identifier) -> Answer {
    let is_taught = asked
        .learned
        .as_ref()
        .is_some_and(|learned| identifier.teach(asked.file, learned));
    let is_script_taught = asked
        .script
        .as_ref()
        .is_some_and(|learned| identifier.teach_script(learned));
    let judgement: Judgement = identifier.judge_in(&asked.candidate(), root);
    let learned = if is_taught || asked.file.ino == 0 {
        None
    } else {
        identifier.learned(asked.file)
    };
    let mut answer = Answer::judged(&judgement);
    answer.learned = learned;
    // The same again is not worth its bytes; another script than the one that was told of is told.
    answer.script = identifier
        .learned_script()
        .filter(|learned| !is_script_taught || asked.script.as_ref() != Some(learned));
    answer
}

fn repository(asked: &Asked, root: &Root, uid: u32) -> Answer {
    let start = asked.cwd.as_ref().map(Text::as_bytes).unwrap_or_default();
    let start = Path::new(std::ffi::OsStr::from_bytes(start));
    let found = git::repository_in(start, root, Some(uid));
    match (found, root.looks.noted()) {
        (None, Some((why, _))) => Answer::failed(why),
        (found, _) => Answer::repository(found.as_ref()),
    }
}

/// The image with what its file system says of the executable; `None` when it is another one.
fn seen(image: Image, asked: &Asked, root: &Root) -> Option<Image> {
    let Some(stat) = root.executed_fd().and_then(|fd| fstat(fd).ok()) else {
        return Some(image);
    };
    (stat.st_ino == asked.file.ino).then(|| Image {
        size: u64::try_from(stat.st_size).ok(),
        mode: (stat.st_mode & 0xffff) as u16,
        ..image
    })
}
