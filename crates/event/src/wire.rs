//! Events as they travel: [`Event`] to `skep.v1`.
//!
//! Text is escaped ([`Text::escaped`]), an unknown fact is an absent field. Structures are taken
//! apart completely, so that a new field of an event does not compile until it has a place here.

use crate::{
    Agent, Coverage, CoveragePhase, Detail, Event, Exec, Exit, File, Finding, Found, Lost, Net,
    Phase, Process, Repository, SessionInfo, Severity, Text, json::family_name, proto_name,
};
use skep_proto::v1;

/// The wire form of an event.
pub fn event(event: &Event) -> v1::Event {
    let Event {
        time,
        session,
        agent,
        process,
        result,
        hook,
        detail,
    } = event;
    let detail = match detail {
        Detail::Exec(Exec { filename }) => v1::event::Detail::Exec(v1::Exec {
            filename: text(filename.as_ref()),
        }),
        Detail::Exit(Exit { code, signal }) => v1::event::Detail::Exit(v1::Exit {
            code: code.map(u32::from),
            signal: signal.map(u32::from),
        }),
        Detail::Open(open) => v1::event::Detail::Open(file(open)),
        Detail::Connect(connect) => v1::event::Detail::Connect(net(connect)),
        Detail::Session(info) => v1::event::Detail::SessionInfo(session_info(info)),
        Detail::Lost(loss) => v1::event::Detail::Lost(lost(loss)),
        Detail::Coverage(change) => v1::event::Detail::Coverage(coverage(change)),
        Detail::Finding(found) => v1::event::Detail::Finding(finding(found)),
    };
    v1::Event {
        time_unix_nano: time.0,
        session: session.map(|id| id.to_string()),
        agent: agent.as_deref().map(agent_message),
        process: process.as_deref().map(process_message),
        hook: hook.map(str::to_owned),
        result: *result,
        detail: Some(detail),
    }
}

fn text(text: Option<&Text>) -> Option<String> {
    text.map(Text::escaped)
}

fn agent_message(agent: &Agent) -> v1::Agent {
    let Agent {
        family,
        version,
        confidence,
        evidence,
        install_path,
    } = agent;
    v1::Agent {
        family: family.clone(),
        version: version.clone(),
        confidence: u32::from(*confidence),
        evidence: evidence.clone(),
        install_path: text(install_path.as_ref()),
    }
}

fn process_message(process: &Process) -> v1::Process {
    let Process {
        pid,
        start,
        ppid,
        exe,
        argv,
        argv_truncated,
        cwd,
        uid,
        inferred,
    } = process;
    v1::Process {
        pid: *pid,
        start_unix_nano: start.map(|time| time.0),
        ppid: *ppid,
        exe: text(exe.as_ref()),
        argv: argv.iter().map(Text::escaped).collect(),
        argv_truncated: *argv_truncated,
        cwd: text(cwd.as_ref()),
        uid: *uid,
        inferred: *inferred,
    }
}

fn file(file: &File) -> v1::File {
    let File {
        path,
        resolved,
        flags,
        mode,
        count,
        last,
        inode,
        device,
        links,
    } = file;
    v1::File {
        path: text(path.as_ref()),
        flags: *flags,
        mode: *mode,
        count: *count,
        last_unix_nano: last.map(|time| time.0),
        path_resolved: *resolved,
        inode: *inode,
        device: device.map(|device| device.to_string()),
        links: *links,
    }
}

fn net(net: &Net) -> v1::Net {
    let Net {
        family,
        addr,
        port,
        proto,
        path,
        count,
        last,
    } = net;
    v1::Net {
        family: family_name(*family).into_owned(),
        addr: addr.map(|addr| addr.to_string()),
        port: port.map(u32::from),
        proto: proto.map(proto_name),
        path: text(path.as_ref()),
        count: *count,
        last_unix_nano: last.map(|time| time.0),
    }
}

fn session_info(info: &SessionInfo) -> v1::Session {
    let SessionInfo {
        phase,
        parent,
        user,
        uid,
        login_uid,
        terminal,
        cwd,
        repository,
        gaps,
        found,
    } = info;
    let phase = match phase {
        Phase::Start => v1::session::Phase::Start,
        Phase::Update => v1::session::Phase::Update,
        Phase::End => v1::session::Phase::End,
    };
    let found = match found {
        Found::Observed => v1::session::Found::Observed,
        Found::Resumed => v1::session::Found::Resumed,
        Found::Running => v1::session::Found::Running,
    };
    v1::Session {
        phase: phase.into(),
        parent: parent.map(|id| id.to_string()),
        user: user.clone(),
        uid: *uid,
        login_uid: *login_uid,
        terminal: text(terminal.as_ref()),
        cwd: text(cwd.as_ref()),
        repository: repository.as_ref().map(
            |Repository {
                 root,
                 remote,
                 branch,
             }| v1::Repository {
                root: root.escaped(),
                remote: text(remote.as_ref()),
                branch: text(branch.as_ref()),
            },
        ),
        gaps: Some(*gaps),
        found: found.into(),
    }
}

/// The wire form of a loss.
pub fn lost(lost: &Lost) -> v1::Lost {
    let Lost {
        hop,
        record,
        cause,
        count,
        first,
        last,
    } = lost;
    v1::Lost {
        hop: (*hop).to_owned(),
        record: (*record).to_owned(),
        cause: (*cause).to_owned(),
        count: *count,
        first_unix_nano: first.0,
        last_unix_nano: last.0,
    }
}

/// The wire form of a change of coverage.
pub fn coverage(coverage: &Coverage) -> v1::Coverage {
    let Coverage {
        what,
        phase,
        hook,
        first,
        last,
        count,
        reason,
    } = coverage;
    let phase = match phase {
        CoveragePhase::Begin => v1::coverage::Phase::Begin,
        CoveragePhase::End => v1::coverage::Phase::End,
        CoveragePhase::Point => v1::coverage::Phase::Point,
    };
    v1::Coverage {
        what: what.name().to_owned(),
        phase: phase.into(),
        hook: hook.map(str::to_owned),
        first_unix_nano: first.0,
        last_unix_nano: last.0,
        count: *count,
        reason: reason.clone(),
    }
}

/// The wire form of a finding.
pub fn finding(finding: &Finding) -> v1::Finding {
    let Finding {
        rule,
        title,
        severity,
        attack,
        reason,
    } = finding;
    let severity = match severity {
        Severity::Informational => v1::finding::Severity::Informational,
        Severity::Low => v1::finding::Severity::Low,
        Severity::Medium => v1::finding::Severity::Medium,
        Severity::High => v1::finding::Severity::High,
        Severity::Critical => v1::finding::Severity::Critical,
    };
    v1::Finding {
        rule: rule.clone(),
        title: title.clone(),
        severity: severity.into(),
        attack: attack.clone(),
        reason: reason.clone(),
    }
}

#[cfg(test)]
mod tests;
