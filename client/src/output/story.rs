//! A session in the forms that `-o` names: a tree, JSON, or CSV with a line a fact.

use std::io::Write;

use crate::{
    csv,
    error::ClientError,
    format::Format,
    story::{Change, Destination, FailedExec, File, Finding, Gap, Process, Story},
    tree,
};

/// Prints it; a tree is fitted into `width` columns.
pub fn print(
    story: &Story,
    format: Format,
    width: usize,
    out: &mut impl Write,
) -> Result<(), ClientError> {
    match format {
        Format::Ndjson => {
            serde_json::to_writer(&mut *out, story)?;
            writeln!(out)?;
        }
        Format::Parquet => {
            let session = story.session.session.clone();
            return Err(ClientError::TreeAsRows { session });
        }
        Format::Table => out.write_all(tree::draw(story, width).as_bytes())?,
        Format::Json => {
            // An array, as every command prints.
            serde_json::to_writer_pretty(&mut *out, &[story])?;
            writeln!(out)?;
        }
        Format::Csv => {
            let names = "kind,pid,start,ppid,what,access,result,count,first,last,inferred";
            write!(out, "{names}\r\n")?;
            for process in &story.processes {
                csv_lines(process, out)?;
            }
            for finding in &story.findings {
                csv_finding(finding, out)?;
            }
            for gap in &story.not_vouched_for {
                csv_gap(gap, out)?;
            }
        }
    }
    Ok(out.flush()?)
}

fn csv_lines(process: &Process, out: &mut impl Write) -> Result<(), ClientError> {
    let start = process.start.clone().unwrap_or_default();
    let ppid = process
        .ppid
        .map(|ppid| ppid.to_string())
        .unwrap_or_default();
    let inferred = process
        .inferred
        .map(|inferred| inferred.to_string())
        .unwrap_or_default();
    let mut line = |kind: &str, rest: [String; 6]| {
        let place = [
            kind.to_owned(),
            process.pid.to_string(),
            start.clone(),
            ppid.clone(),
        ];
        let cells = place.into_iter().chain(rest).chain([inferred.clone()]);
        csv::line(&cells.collect::<Vec<_>>(), out)
    };
    let number = |result: Option<i32>| result.map(|result| result.to_string()).unwrap_or_default();
    let argv = process
        .argv
        .as_ref()
        .map(serde_json::to_string)
        .transpose()?;
    let what = argv.or_else(|| process.exe.clone()).unwrap_or_default();
    let exit = process
        .exit
        .as_ref()
        .map(|exit| exit.time.clone())
        .unwrap_or_default();
    let none = String::new;
    line(
        "process",
        [
            what,
            none(),
            none(),
            none(),
            process.first_seen.clone(),
            exit,
        ],
    )?;
    for exec in &process.failed_execs {
        let FailedExec {
            time,
            filename,
            argv,
            result,
        } = exec.clone();
        let argv = argv.as_ref().map(serde_json::to_string).transpose()?;
        let what = argv.or(filename).unwrap_or_default();
        let result = result.to_string();
        line(
            "failed exec",
            [what, none(), result, "1".to_owned(), time, none()],
        )?;
    }
    for file in &process.files {
        let File {
            path,
            access,
            result,
            links: _,
            became: _,
            count,
            first,
            last,
        } = file.clone();
        let path = path.unwrap_or_default();
        line(
            "file",
            [path, access, number(result), count.to_string(), first, last],
        )?;
    }
    for change in &process.changes {
        let Change {
            op,
            path,
            was,
            many: _,
            result,
            count,
            first,
            last,
        } = change.clone();
        let path = path.unwrap_or_default();
        let what = match was {
            Some(was) => format!("{was} → {path}"),
            None => path,
        };
        line(
            "change",
            [what, op, number(result), count.to_string(), first, last],
        )?;
    }
    for peer in &process.destinations {
        let Destination {
            family: _,
            destination,
            proto,
            result,
            count,
            first,
            last,
        } = peer.clone();
        let what = destination.unwrap_or_default();
        let proto = proto.unwrap_or_default();
        line(
            "destination",
            [what, proto, number(result), count.to_string(), first, last],
        )?;
    }
    process
        .children
        .iter()
        .try_for_each(|child| csv_lines(child, out))
}

/// `access` is the severity.
fn csv_finding(finding: &Finding, out: &mut impl Write) -> Result<(), ClientError> {
    let Finding {
        time,
        severity,
        rule,
        title,
        reason,
        attack: _,
        pid,
        exe: _,
    } = finding.clone();
    let none = String::new;
    let pid = pid.map(|pid| pid.to_string()).unwrap_or_default();
    let cells = [
        "finding".to_owned(),
        pid,
        none(),
        none(),
        format!("{rule}: {title}: {reason}"),
        severity.unwrap_or_default(),
        none(),
        none(),
        time,
        none(),
        none(),
    ];
    Ok(csv::line(&cells, out)?)
}

/// What is not vouched for is of no process: only `what`, `count`, `first` and `last` are filled, and
/// `access` with the kind of gap.
fn csv_gap(gap: &Gap, out: &mut impl Write) -> Result<(), ClientError> {
    let Gap {
        whole_host: _,
        what,
        hook,
        first,
        last,
        count,
        reason,
    } = gap.clone();
    let none = String::new;
    let reason = match hook {
        Some(hook) => format!("{hook}: {reason}"),
        None => reason,
    };
    let cells = [
        "gap".to_owned(),
        none(),
        none(),
        none(),
        reason,
        what,
        none(),
        count.to_string(),
        first,
        last.unwrap_or_default(),
        none(),
    ];
    Ok(csv::line(&cells, out)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::{DEEPEST, Header, family_tree};

    #[test]
    fn a_chain_of_a_hundred_thousand_processes_is_shown_in_every_form() {
        const LEVELS: u32 = 100_000;
        let chain = (1..=LEVELS).map(|pid| Process::seen(pid, pid.checked_sub(1)));
        let (processes, too_deep) = family_tree(chain.collect());
        assert_eq!(processes.len(), LEVELS.div_ceil(DEEPEST as u32) as usize);
        assert_eq!(too_deep as usize, processes.len() - 1);
        let story = Story {
            session: Header {
                session: "s".to_owned(),
                processes: LEVELS.into(),
                ..Header::default()
            },
            findings: Vec::new(),
            processes,
            too_deep,
            child_sessions: Vec::new(),
            not_vouched_for: Vec::new(),
            cut: Vec::new(),
        };
        let printed = |format| {
            let mut out = Vec::new();
            print(&story, format, 160, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let tree = printed(Format::Table);
        assert!(tree.lines().count() > LEVELS as usize);
        assert!(
            tree.contains("2,083 processes are 48 levels below another"),
            "it says so"
        );
        assert_eq!(printed(Format::Csv).lines().count(), LEVELS as usize + 1);
        for json in [printed(Format::Json), printed(Format::Ndjson)] {
            // Within what readers take.
            let _: serde_json::Value = serde_json::from_str(&json).unwrap();
        }
    }
}
