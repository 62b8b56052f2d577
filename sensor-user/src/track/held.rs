//! Execs whose verdict waits for what they open first.
//!
//! A runtime whose code came through a pipe, or is put together while it runs, says by its command line nothing of
//! what it is. Its claim is not answered then, so that the kernel side goes on reporting what it does, and a file it
//! opens may tell: one that an agent is started by. Invariants:
//! - records of a claim that waits are kept, in order, and handled once the verdict is there, so that an agent's
//!   session has them all; of what turns out to be none they are dropped, and counted as ignored;
//! - what is forked or executed meanwhile by one that waits belongs to its group, and is answered with it; an agent
//!   among that ends the waiting of its group;
//! - in a session nothing is kept back: a process of it that waits acts as what it was until a file tells;
//! - who waits does so for [`WAIT_NS`], [`OPENS_MAX`] opens and [`ASKS_MAX`] questions at most, and until it executes
//!   something else or ends. What is not known by then is told as not judged.
//!
//! Bounds: [`GROUPS_MAX`] groups and as many processes of sessions; [`super::Bounds::held_bytes`] of records, an
//! eighth of that for one group.

use std::collections::VecDeque;

use skep_abi::Claim;

use super::{IGNORED, Judge, Tracker, candidate};
use crate::{
    decode::{self, Body, Common, Record},
    identify::{Judgement, Unjudged},
    step::Sink,
    verdicts::Verdicts,
};

const WAIT_NS: u64 = 5_000_000_000;
const OPENS_MAX: u32 = 2_048;
const ASKS_MAX: u32 = 16;
const GROUPS_MAX: usize = 64;
/// Of the memory for what is kept, the part that one group may take.
const GROUP_PART: usize = 8;
/// What an exec takes here besides its texts.
const EXEC_BYTES: usize = 1 << 10;

/// Everything that waits.
pub(super) struct Held {
    groups: Vec<Group>,
    /// Processes of sessions.
    members: Vec<Waiting>,
    bytes: usize,
    bytes_max: usize,
    questions: VecDeque<Question>,
    /// Somebody has nothing more to wait for.
    is_over: bool,
}

/// What waits for one verdict: a process, and what it forked and executed meanwhile.
struct Group {
    claims: Vec<Claim>,
    items: Vec<Item>,
    bytes: usize,
    waiting: Vec<Waiting>,
    is_full: bool,
}

/// One record that is kept.
enum Item {
    Exec(Box<Exec>),
    Record(Box<[u8]>),
}

struct Exec {
    common: Common,
    exec: decode::Exec,
    judgement: Judgement,
}

/// A process that waits.
struct Waiting {
    common: Common,
    exec: decode::Exec,
    /// What holds if no file tells.
    judgement: Judgement,
    opens: u32,
    asks: u32,
    is_over: bool,
}

/// A file that may tell what a process is.
struct Question {
    tgid: u32,
    exec_ns: u64,
    path: Box<[u8]>,
}

// === impl Waiting ===

impl Waiting {
    fn new(common: &Common, exec: &decode::Exec, judgement: &Judgement) -> Self {
        Self {
            common: *common,
            exec: exec.clone(),
            judgement: judgement.clone(),
            opens: 0,
            asks: 0,
            is_over: false,
        }
    }

    fn is(&self, common: &Common) -> bool {
        let same =
            |own: Option<u64>, other: Option<u64>| own.is_none() || other.is_none() || own == other;
        self.common.tgid == common.tgid && same(self.common.start_ns, common.start_ns)
    }

    fn is_asked(&self, question: &Question) -> bool {
        self.common.tgid == question.tgid && self.common.time_ns == question.exec_ns
    }

    fn has_waited(&self, now_ns: u64) -> bool {
        self.is_over || now_ns.saturating_sub(self.common.time_ns) > WAIT_NS
    }
}

// === impl Held ===

impl Held {
    pub(super) fn within(bytes_max: usize) -> Self {
        Self {
            groups: Vec::new(),
            members: Vec::new(),
            bytes: 0,
            bytes_max,
            questions: VecDeque::new(),
            is_over: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.members.is_empty()
    }

    fn has_room(&self) -> bool {
        self.groups.len() < GROUPS_MAX && self.bytes < self.bytes_max
    }

    fn group_of(&self, claim: Option<Claim>) -> Option<usize> {
        let claim = claim?;
        self.groups
            .iter()
            .position(|group| group.claims.contains(&claim))
    }

    fn all_waiting(&mut self) -> impl Iterator<Item = &mut Waiting> {
        let of_groups = self.groups.iter_mut().flat_map(|group| &mut group.waiting);
        of_groups.chain(&mut self.members)
    }

    fn keep(&mut self, at: usize, item: Item, bytes: usize) {
        let group = &mut self.groups[at];
        let fits = group.bytes + bytes <= self.bytes_max / GROUP_PART
            && self.bytes + bytes <= self.bytes_max;
        if fits {
            group.items.push(item);
            group.bytes += bytes;
            self.bytes += bytes;
        } else {
            group.is_full = true;
            self.is_over = true;
        }
    }

    fn take(&mut self, at: usize) -> Group {
        let group = self.groups.swap_remove(at);
        self.bytes -= group.bytes;
        group
    }
}

fn bytes_of(exec: &decode::Exec) -> usize {
    let argv = exec
        .argv
        .iter()
        .map(|argument| argument.as_bytes().len() + 32);
    EXEC_BYTES + argv.sum::<usize>()
}

// === impl Tracker ===

impl<J: Judge> Tracker<J> {
    /// Whether something waits for a verdict that what it opens may give.
    pub fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// The oldest record that is kept, boot clock, nanoseconds.
    pub fn held_since_ns(&self) -> Option<u64> {
        let first = |group: &Group| match group.items.first() {
            Some(Item::Exec(exec)) => Some(exec.common.time_ns),
            Some(Item::Record(_)) | None => None,
        };
        self.held.groups.iter().filter_map(first).min()
    }

    /// Whether [`Tracker::settle_held`] has something to ask or to end.
    pub fn has_questions(&self) -> bool {
        self.held.is_over || !self.held.questions.is_empty()
    }

    /// Keeps a record that is no exec, if its process waits for a verdict; true when it must not be handled now.
    pub fn holds(&mut self, record: &Record<'_>, bytes: &[u8]) -> bool {
        if self.held.is_empty() {
            return false;
        }
        let Record { common, body } = record;
        match body {
            Body::Open(open) => self.opens(common, open),
            Body::Exit(_) => self.nothing_more(common),
            Body::Task(_) => return false,
            _ => {}
        }
        let claim = common.claim.filter(|_| common.session.is_none());
        let Some(at) = self.held.group_of(claim) else {
            return false;
        };
        self.held.keep(at, Item::Record(bytes.into()), bytes.len());
        true
    }

    /// A file of which the path says that it may tell is asked about.
    fn opens(&mut self, common: &Common, open: &decode::Open<'_>) {
        let Self { held, judge, .. } = self;
        let Some(waiting) = held.all_waiting().find(|waiting| waiting.is(common)) else {
            return;
        };
        waiting.opens += 1;
        let mut is_over = waiting.opens > OPENS_MAX;
        waiting.is_over |= is_over;
        let mut question = None;
        if let Some(path) = open.facts.path
            && open.result.is_none_or(|result| result >= 0)
            && waiting.asks < ASKS_MAX
            && judge.is_telling(path)
        {
            waiting.asks += 1;
            question = Some(Question {
                tgid: common.tgid,
                exec_ns: waiting.common.time_ns,
                path: path.into(),
            });
            is_over = true;
        }
        held.questions.extend(question);
        held.is_over |= is_over;
    }

    /// A process has ended, or executes something else: what it waited with will not tell any more.
    pub(super) fn nothing_more(&mut self, common: &Common) {
        let found = self.held.all_waiting().find(|waiting| waiting.is(common));
        if let Some(waiting) = found {
            waiting.is_over = true;
            self.held.is_over = true;
        }
    }

    /// Has a process of a session wait; false when there are too many.
    pub(super) fn hold_member(
        &mut self,
        common: &Common,
        exec: &decode::Exec,
        judgement: &Judgement,
    ) -> bool {
        let fits = self.held.members.len() < GROUPS_MAX;
        if fits {
            let waiting = Waiting::new(common, exec, judgement);
            self.held.members.push(waiting);
        }
        fits
    }

    /// Has an exec of no session wait, by itself or with the group of who executed it; false when it is to be
    /// handled now.
    pub(super) fn hold(
        &mut self,
        common: &Common,
        exec: &decode::Exec,
        judgement: &Judgement,
    ) -> bool {
        let Some(claim) = common.claim else {
            return false;
        };
        let group = self.held.group_of(exec.previous_claim.or(common.claim));
        let at = match group {
            Some(at) => at,
            None if judgement.waits && self.held.has_room() => {
                self.held.groups.push(Group {
                    claims: Vec::new(),
                    items: Vec::new(),
                    bytes: 0,
                    waiting: Vec::new(),
                    is_full: false,
                });
                self.held.groups.len() - 1
            }
            None => return false,
        };
        let group = &mut self.held.groups[at];
        if !group.claims.contains(&claim) {
            group.claims.push(claim);
        }
        if judgement.waits {
            group.waiting.push(Waiting::new(common, exec, judgement));
        }
        let bytes = bytes_of(exec);
        let item = Item::Exec(Box::new(Exec {
            common: *common,
            exec: exec.clone(),
            judgement: judgement.clone(),
        }));
        self.held.keep(at, item, bytes);
        true
    }

    /// An agent was executed by one that waits: what is an agent is known by that.
    pub(super) fn release_group_of(&mut self, claim: Option<Claim>, verdicts: &mut impl Verdicts) {
        if let Some(at) = self.held.group_of(claim) {
            self.give_up(at, verdicts);
        }
    }

    /// Asks about the files that may tell, and ends the waiting of those who have waited enough.
    pub fn settle_held(&mut self, now_ns: u64, verdicts: &mut impl Verdicts, out: &mut impl Sink) {
        if self.held.is_empty() {
            self.held.questions.clear();
            self.held.is_over = false;
            return;
        }
        while let Some(question) = self.held.questions.pop_front() {
            self.ask(&question, verdicts, out);
        }
        self.held.is_over = false;
        let mut at = 0;
        while let Some(group) = self.held.groups.get_mut(at) {
            let is_full = group.is_full;
            let over = group
                .waiting
                .extract_if(.., |waiting| is_full || waiting.has_waited(now_ns));
            let over: Vec<Waiting> = over.collect();
            let is_decided = group.waiting.is_empty();
            for mut waiting in over {
                // What it did was not looked at to the end.
                if is_full {
                    waiting
                        .judgement
                        .unjudged
                        .get_or_insert(Unjudged::OverBudget);
                }
                self.note_waiting(&waiting);
            }
            if is_decided {
                self.give_up(at, verdicts);
            } else {
                at += 1;
            }
        }
        let members = &mut self.held.members;
        let over: Vec<Waiting> = members
            .extract_if(.., |waiting| waiting.has_waited(now_ns))
            .collect();
        over.iter().for_each(|waiting| self.note_waiting(waiting));
    }

    fn note_waiting(&mut self, waiting: &Waiting) {
        let Waiting {
            common,
            exec,
            judgement,
            ..
        } = waiting;
        self.unjudged.note(common.time_ns, exec, judgement);
    }

    /// No agent, as far as could be seen.
    fn give_up(&mut self, at: usize, verdicts: &mut impl Verdicts) {
        let group = self.held.take(at);
        group
            .waiting
            .iter()
            .for_each(|waiting| self.note_waiting(waiting));
        self.ignored += group.items.len() as u64;
        for claim in group.claims {
            verdicts.settle(claim, IGNORED);
        }
    }

    fn ask(&mut self, question: &Question, verdicts: &mut impl Verdicts, out: &mut impl Sink) {
        let Self { held, judge, .. } = self;
        let Some(waiting) = held
            .all_waiting()
            .find(|waiting| waiting.is_asked(question))
        else {
            return;
        };
        let since = self.clock.unix(waiting.common.time_ns);
        let candidate = candidate(&waiting.common, &waiting.exec, Some(since));
        let judgement = judge.opened(&candidate, &question.path, &mut || verdicts.meanwhile());
        if judgement.agent.is_none() {
            // A file that could not be looked at is no answer.
            let open = &mut waiting.judgement.unjudged;
            *open = open.or(judgement.unjudged);
            return;
        }
        let of_group = |group: &Group| group.waiting.iter().any(|one| one.is_asked(question));
        match held.groups.iter().position(of_group) {
            Some(at) => self.begin_group(at, question, judgement, verdicts, out),
            None => {
                let is_it = |waiting: &Waiting| waiting.is_asked(question);
                let Some(at) = held.members.iter().position(is_it) else {
                    return;
                };
                let Waiting { common, exec, .. } = held.members.swap_remove(at);
                self.become_agent(&common, exec, judgement, verdicts, out);
            }
        }
    }

    /// Handles what was kept, now that one of the group is known to be an agent.
    fn begin_group(
        &mut self,
        at: usize,
        question: &Question,
        found: Judgement,
        verdicts: &mut impl Verdicts,
        out: &mut impl Sink,
    ) {
        let group = self.held.take(at);
        let others = group.waiting.iter().filter(|one| !one.is_asked(question));
        others.for_each(|waiting| self.note_waiting(waiting));
        let mut room = Vec::new();
        for item in group.items {
            match item {
                Item::Exec(kept) => {
                    let Exec {
                        common,
                        exec,
                        judgement,
                    } = *kept;
                    let is_it = common.tgid == question.tgid && common.time_ns == question.exec_ns;
                    let judgement = if is_it { found.clone() } else { judgement };
                    let member = self.member(&common, exec.previous_claim, out);
                    self.exec_judged(&common, exec, (judgement, member), verdicts, out);
                }
                Item::Record(bytes) => {
                    // It was decoded when it came.
                    if let Ok(record) = decode::decode(&bytes, &mut room) {
                        self.handle(record, verdicts, out);
                    }
                }
            }
        }
    }
}
