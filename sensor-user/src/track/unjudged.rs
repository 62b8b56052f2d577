//! Execs that were not judged: counted, and named as far as that helps.
//!
//! Invariants: every one of them is in the count of exactly one thing that is told, a named program or the
//! rest. A program is named once in ten minutes for each script, user and reason, so that a tool that its user
//! may run and not read does not flood. Bounds: [`NAMED_MAX`] names between two tellings, [`TOLD_MAX`] remembered,
//! [`TEXT_MAX`] bytes of a path.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use skep_event::Text;

use super::{Judge, Tracker};
use crate::{
    decode,
    identify::{Judgement, Unjudged},
};

const NAMED_MAX: usize = 32;
const TOLD_MAX: usize = 1024;
const TEXT_MAX: usize = 1024;
const AGAIN_NS: u64 = 600 * 1_000_000_000;

/// A program that was not judged, once or several times for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotJudged {
    key: u64,
    pub count: u64,
    /// Boot clock, nanoseconds.
    pub first_ns: u64,
    pub last_ns: u64,
    /// Program, script, user and why, in a sentence.
    pub reason: String,
}

#[derive(Debug, Default)]
pub(super) struct NotJudgeds {
    /// All of them.
    pub total: u64,
    /// Those that are told without a name.
    pub unnamed: u64,
    named: Vec<NotJudged>,
    /// When a program was named last, boot clock.
    told: HashMap<u64, u64>,
}

// === impl NotJudgeds ===

impl NotJudgeds {
    pub(super) fn note(&mut self, time_ns: u64, exec: &decode::Exec, judgement: &Judgement) {
        let Some(why) = judgement.unjudged else {
            return;
        };
        self.total += 1;
        let script = judgement
            .place
            .as_ref()
            .filter(|place| exec.exe.as_ref() != Some(place));
        let key = key(exec, script, why);
        if let Some(known) = self.named.iter_mut().find(|known| known.key == key) {
            known.count += 1;
            known.last_ns = time_ns;
            return;
        }
        let told_lately = |at: &u64| time_ns.saturating_sub(*at) < AGAIN_NS;
        if self.told.get(&key).is_some_and(told_lately) || self.named.len() >= NAMED_MAX {
            self.unnamed += 1;
            return;
        }
        if self.told.len() >= TOLD_MAX {
            self.told.retain(|_, at| told_lately(at));
        }
        if self.told.len() >= TOLD_MAX {
            self.told.clear();
        }
        self.told.insert(key, time_ns);
        self.named.push(NotJudged {
            key,
            count: 1,
            first_ns: time_ns,
            last_ns: time_ns,
            reason: reason(exec, script, why),
        });
    }
}

impl<J: Judge> Tracker<J> {
    /// The programs that were not judged since the last time, each with its name. Those without one are in
    /// [`super::TrackCounts::unnamed`].
    pub fn take_unjudged(&mut self) -> Vec<NotJudged> {
        std::mem::take(&mut self.unjudged.named)
    }
}

fn key(exec: &decode::Exec, script: Option<&Text>, why: Unjudged) -> u64 {
    let mut hasher = DefaultHasher::new();
    let inode = exec.file.map(|file| (file.key.dev, file.key.ino));
    (inode, &exec.exe, script, exec.uid, why).hash(&mut hasher);
    hasher.finish()
}

fn reason(exec: &decode::Exec, script: Option<&Text>, why: Unjudged) -> String {
    let program = exec.exe.as_ref().or(exec.filename.as_ref());
    let program = program.map_or_else(|| "unknown".to_owned(), shown);
    let script = script.map(|script| format!(", script {}", shown(script)));
    let user = exec
        .uid
        .map_or_else(|| "unknown user".to_owned(), |uid| format!("uid {uid}"));
    format!(
        "not judged: program {program}{}, {user}: {why}",
        script.unwrap_or_default()
    )
}

fn shown(path: &Text) -> String {
    let bytes = path.as_bytes();
    match bytes.get(..TEXT_MAX) {
        Some(start) if bytes.len() > TEXT_MAX => Text::from(start).escaped() + "…",
        _ => path.escaped(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(exe: &str, uid: u32) -> decode::Exec {
        decode::Exec {
            file: None,
            previous_claim: None,
            ppid: None,
            parent_start_ns: None,
            uid: Some(uid),
            euid: None,
            login_uid: None,
            cgroup_id: 0,
            cgroup: None,
            namespaces: Default::default(),
            exe: Some(Text::from(exe)),
            filename: None,
            cwd: None,
            argv: Vec::new(),
            argv_truncated: false,
            argv_end: None,
            switches: None,
            terminal: None,
        }
    }

    fn unreadable(place: &str) -> Judgement {
        Judgement {
            place: Some(Text::from(place)),
            ..Judgement::not(Unjudged::Unreadable {
                errno: libc::EACCES,
            })
        }
    }

    fn told(all: &mut NotJudgeds) -> Vec<(u64, String)> {
        let named = std::mem::take(&mut all.named);
        named
            .into_iter()
            .map(|one| (one.count, one.reason))
            .collect()
    }

    #[test]
    fn program_script_user_and_reason_are_named() {
        let mut all = NotJudgeds::default();
        all.note(
            1,
            &exec("/usr/bin/node", 1000),
            &unreadable("/home/u/x\n.js"),
        );
        all.note(2, &exec("/usr/bin/tool", 7), &unreadable("/usr/bin/tool"));
        all.note(
            3,
            &exec("/usr/bin/node", 1000),
            &Judgement::not(Unjudged::Late),
        );
        all.note(4, &exec("/usr/bin/node", 1000), &Judgement::default());
        let reasons: Vec<_> = told(&mut all)
            .into_iter()
            .map(|(_, reason)| reason)
            .collect();
        assert_eq!(
            reasons,
            [
                "not judged: program /usr/bin/node, script /home/u/x\\x0a.js, uid 1000: \
                 it could not be read: Permission denied (os error 13)",
                "not judged: program /usr/bin/tool, uid 7: \
                 it could not be read: Permission denied (os error 13)",
                "not judged: program /usr/bin/node, uid 1000: \
                 looking at it took longer than it may ([inspector] question_milliseconds)",
            ]
        );
        assert_eq!((all.total, all.unnamed), (3, 0));
    }

    #[test]
    fn the_same_again_is_counted_and_named_once_in_a_while() {
        let mut all = NotJudgeds::default();
        let note = |all: &mut NotJudgeds, at| {
            all.note(at, &exec("/bin/tool", 7), &unreadable("/bin/tool"))
        };
        for at in 0..5 {
            note(&mut all, at);
        }
        assert_eq!(told(&mut all)[0].0, 5);
        note(&mut all, 10);
        assert_eq!((told(&mut all).len(), all.unnamed), (0, 1));
        note(&mut all, AGAIN_NS + 1);
        assert_eq!(told(&mut all)[0].0, 1);
        assert_eq!((all.total, all.unnamed), (7, 1));
    }

    #[test]
    fn names_are_bounded_and_everything_is_counted() {
        let mut all = NotJudgeds::default();
        let mut named = 0;
        for at in 0..5000 {
            all.note(at, &exec(&"x".repeat(5000), at as u32), &unreadable("/y"));
            if at % 100 == 0 {
                let told = told(&mut all);
                named += told.iter().map(|(count, _)| count).sum::<u64>();
                assert!(told.len() <= NAMED_MAX && told.iter().all(|(_, text)| text.len() < 1200));
            }
            assert!(all.told.len() <= TOLD_MAX);
        }
        named += told(&mut all).iter().map(|(count, _)| count).sum::<u64>();
        assert_eq!((all.total, named + all.unnamed), (5000, 5000));
    }
}
