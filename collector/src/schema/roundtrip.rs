//! Property: the columns of a row give back the event that was encoded, fact by fact.

use std::sync::Arc;

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::{
        ArrowPrimitiveType, Decimal128Type, Int16Type, Int32Type, Int64Type,
        TimestampMicrosecondType,
    },
};
use proptest::{collection::vec, option, prelude::*};
use prost::Message;
use skep_proto::v1::{
    self, Agent, Coverage, Event, Exec, Exit, File, Finding, Lost, Net, Process, Repository,
    Session,
    coverage::Phase as CoveragePhase,
    event::Detail,
    finding::Severity,
    session::{Found, Phase},
};

use super::{Class, Origin, Row, Rows, Stored};
use crate::batch::Batch;

proptest! {
    #[test]
    fn an_event_comes_back_from_its_row(
        events in vec(event(), 1..20),
        first_seq in 1..u64::MAX / 2,
        hostname in option::of(text()),
    ) {
        let origin = Origin {
            sensor_id: "0123456789abcdef0123456789abcdef".to_owned(),
            epoch: 7,
            hostname,
            kernel: None,
        };
        let message = v1::Batch { first_seq, events: events.clone() };
        let batch = Batch::decode(message.encode_to_vec().into()).unwrap();
        for class in Class::ALL {
            let row = |(seq, event)| Row { origin: &origin, seq, class, event, parts: &batch.parts };
            let numbered = (first_seq..).zip(&batch.events);
            let of_class = numbered.filter(|(_, event)| Class::of(event) == Some(class));
            let rows: Vec<_> = of_class.map(row).collect();
            let (one, other) = rows.split_at(rows.len() / 2);
            let halves = [one, other].map(|rows| Rows::encode(class, rows));
            let encoded = Rows::concat(class, &halves).unwrap();
            prop_assert_eq!(encoded.len(), rows.len());
            let seen = plain(&encoded.batch().unwrap(), class);
            let sorted = Rows::sorted(class, halves.to_vec());
            let stored = sorted.block(0..rows.len()).unwrap();
            let mut by_time = times(&stored);
            by_time.sort();
            prop_assert_eq!(sorted.times(), by_time);
            prop_assert!(sessions_are_together(&stored));
            for (index, row) in rows.iter().enumerate() {
                let place = seqs(&stored).iter().position(|seq| *seq as u64 == row.seq).unwrap();
                prop_assert_eq!(stored.slice(place, 1), seen.slice(index, 1));
            }
            for (index, Row { seq, .. }) in rows.iter().copied().enumerate() {
                let event = &events[usize::try_from(seq - first_seq).unwrap()];
                let row = Cells { class, batch: &seen, row: index };
                prop_assert_eq!(&row.event(), event);
                prop_assert_eq!(row.u64("seq"), Some(seq));
                prop_assert_eq!(row.u64("epoch"), Some(7));
                prop_assert_eq!(row.text("sensor_id"), Some(origin.sensor_id.clone()));
                prop_assert_eq!(row.text("host"), origin.hostname.clone());
                prop_assert_eq!(row.text("kernel"), None);
            }
        }
    }
}

/// What queries see, with the types of the table.
fn plain(batch: &RecordBatch, class: Class) -> RecordBatch {
    let stored = class.schema();
    let columns = batch.columns().iter().zip(stored.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type()).unwrap());
    RecordBatch::try_new(Arc::clone(&stored), columns.collect()).unwrap()
}

fn times(batch: &RecordBatch) -> Vec<i64> {
    let times = batch.column_by_name("time").unwrap();
    times
        .as_primitive::<TimestampMicrosecondType>()
        .values()
        .to_vec()
}

/// Whether the rows of each session follow each other, in the order of their time.
fn sessions_are_together(batch: &RecordBatch) -> bool {
    let column = batch.column_by_name("session").unwrap();
    let ids: Vec<_> = column.as_string::<i32>().iter().collect();
    let times = times(batch);
    let runs: Vec<_> = ids.chunk_by(|a, b| a == b).map(<[_]>::len).collect();
    let mut seen = std::collections::BTreeSet::new();
    let mut start = 0;
    runs.into_iter().all(|len| {
        let run = start..start + len;
        start = run.end;
        seen.insert(ids[run.start]) && times[run].is_sorted()
    })
}

fn seqs(batch: &RecordBatch) -> Vec<i64> {
    let seqs = batch.column_by_name("seq").unwrap();
    seqs.as_primitive::<Int64Type>().values().to_vec()
}

// === from a row ===

struct Cells<'a> {
    class: Class,
    batch: &'a RecordBatch,
    row: usize,
}

impl Cells<'_> {
    fn column(&self, name: &str) -> Option<&dyn Array> {
        let column = self.batch.column_by_name(name).expect("a known column");
        column.is_valid(self.row).then_some(column.as_ref())
    }

    fn text(&self, name: &str) -> Option<String> {
        Some(
            self.column(name)?
                .as_string::<i32>()
                .value(self.row)
                .to_owned(),
        )
    }

    fn texts(&self, name: &str) -> Option<Vec<String>> {
        let items = self.column(name)?.as_list::<i32>().value(self.row);
        Some(
            items
                .as_string::<i32>()
                .iter()
                .map(|item| item.unwrap().to_owned())
                .collect(),
        )
    }

    fn number<T: ArrowPrimitiveType>(&self, name: &str) -> Option<T::Native> {
        Some(self.column(name)?.as_primitive::<T>().value(self.row))
    }

    fn short(&self, name: &str) -> Option<u32> {
        Some(self.number::<Int16Type>(name)?.try_into().unwrap())
    }

    fn int(&self, name: &str) -> Option<u32> {
        Some(self.number::<Int32Type>(name)?.try_into().unwrap())
    }

    fn u32(&self, name: &str) -> Option<u32> {
        Some(self.number::<Int64Type>(name)?.try_into().unwrap())
    }

    fn u64(&self, name: &str) -> Option<u64> {
        Some(self.number::<Int64Type>(name)?.try_into().unwrap())
    }

    fn time(&self, name: &str) -> Option<u64> {
        let micros: Option<u64> = self
            .number::<TimestampMicrosecondType>(name)
            .map(|micros| micros.try_into().unwrap());
        micros.map(|micros| micros * 1000)
    }

    fn boolean(&self, name: &str) -> Option<bool> {
        Some(self.column(name)?.as_boolean().value(self.row))
    }

    fn event(&self) -> Event {
        Event {
            time_unix_nano: self.time("time").unwrap(),
            session: self.text("session"),
            agent: self.text("agent_family").map(|family| Agent {
                family,
                version: self.text("agent_version"),
                confidence: self.short("agent_confidence").unwrap(),
                evidence: self.texts("agent_evidence").unwrap(),
                install_path: self.text("agent_install_path"),
            }),
            process: self.int("pid").map(|pid| Process {
                pid,
                start_unix_nano: self.time("start"),
                ppid: self.int("ppid"),
                exe: self.text("exe"),
                argv: self.texts("argv").unwrap_or_default(),
                argv_truncated: self.boolean("argv_truncated").unwrap(),
                cwd: self.text("cwd"),
                uid: self.u32("uid"),
                inferred: self.boolean("process_inferred").unwrap(),
            }),
            hook: self.text("hook"),
            result: self.number::<Int32Type>("result"),
            detail: Some(self.detail()),
        }
    }

    fn detail(&self) -> Detail {
        match self.class.name() {
            "exec" => Detail::Exec(Exec {
                filename: self.text("exec_filename"),
            }),
            "exit" => Detail::Exit(Exit {
                code: self.short("exit_code"),
                signal: self.short("exit_signal"),
            }),
            "open" => Detail::Open(File {
                path: self.text("file_path"),
                flags: self.u32("file_flags").unwrap(),
                mode: self.int("file_mode"),
                count: self.u64("count").unwrap(),
                last_unix_nano: self.time("last"),
                path_resolved: self.boolean("file_resolved").unwrap(),
                inode: self
                    .number::<Decimal128Type>("file_inode")
                    .map(|inode| inode.try_into().unwrap()),
                device: self.text("file_device"),
                links: self.u32("file_links"),
            }),
            "connect" => Detail::Connect(Net {
                family: self.text("net_family").unwrap(),
                addr: self.text("net_addr"),
                port: self.int("net_port"),
                proto: self.text("net_proto"),
                path: self.text("net_path"),
                count: self.u64("count").unwrap(),
                last_unix_nano: self.time("last"),
            }),
            "session" => Detail::SessionInfo(Session {
                phase: match self.text("session_phase").unwrap().as_str() {
                    "start" => Phase::Start,
                    "update" => Phase::Update,
                    "end" => Phase::End,
                    other => panic!("phase {other}"),
                }
                .into(),
                parent: self.text("session_parent"),
                user: self.text("user_name"),
                uid: self.u32("user_uid"),
                login_uid: self.u32("login_uid"),
                terminal: self.text("terminal"),
                cwd: self.text("session_cwd"),
                repository: self.text("repo_root").map(|root| Repository {
                    root,
                    remote: self.text("repo_remote"),
                    branch: self.text("repo_branch"),
                }),
                gaps: self.u64("session_gaps"),
                found: match self.text("session_found").as_deref() {
                    None => Found::Unspecified,
                    Some("observed") => Found::Observed,
                    Some("resumed") => Found::Resumed,
                    Some("running") => Found::Running,
                    Some(other) => panic!("found {other}"),
                }
                .into(),
            }),
            "lost" => Detail::Lost(Lost {
                hop: self.text("lost_hop").unwrap(),
                record: self.text("lost_record").unwrap(),
                cause: self.text("lost_cause").unwrap(),
                count: self.u64("count").unwrap(),
                first_unix_nano: self.time("lost_first").unwrap(),
                last_unix_nano: self.time("lost_last").unwrap(),
            }),
            "coverage" => Detail::Coverage(Coverage {
                what: self.text("coverage_what").unwrap(),
                phase: match self.text("coverage_phase").unwrap().as_str() {
                    "begin" => CoveragePhase::Begin,
                    "end" => CoveragePhase::End,
                    "point" => CoveragePhase::Point,
                    other => panic!("phase {other}"),
                }
                .into(),
                hook: self.text("coverage_hook"),
                first_unix_nano: self.time("coverage_first").unwrap(),
                last_unix_nano: self.time("coverage_last").unwrap(),
                count: self.u64("count").unwrap(),
                reason: self.text("coverage_reason").unwrap(),
            }),
            "finding" => Detail::Finding(Finding {
                rule: self.text("finding_rule").unwrap(),
                title: self.text("finding_title").unwrap(),
                severity: match self.text("finding_severity").unwrap().as_str() {
                    "informational" => Severity::Informational,
                    "low" => Severity::Low,
                    "medium" => Severity::Medium,
                    "high" => Severity::High,
                    "critical" => Severity::Critical,
                    other => panic!("severity {other}"),
                }
                .into(),
                attack: self.texts("finding_attack").unwrap(),
                reason: self.text("finding_reason").unwrap(),
            }),
            other => panic!("class {other}"),
        }
    }
}

// === any event ===

fn text() -> impl Strategy<Value = String> {
    any::<String>()
}

fn maybe() -> impl Strategy<Value = Option<String>> {
    option::of(text())
}

/// Whole microseconds: what is finer is the sensor's own log's.
fn time() -> impl Strategy<Value = u64> {
    (0..=i64::MAX as u64 / 1000).prop_map(|micros| micros * 1000)
}

fn event() -> impl Strategy<Value = Event> {
    (
        (
            time(),
            maybe(),
            option::of(agent()),
            option::of(process()),
            maybe(),
        ),
        option::of(any::<i32>()),
        detail(),
    )
        .prop_map(
            |((time_unix_nano, session, agent, process, hook), result, detail)| Event {
                time_unix_nano,
                session,
                agent,
                process,
                hook,
                result,
                detail: Some(detail),
            },
        )
}

fn agent() -> impl Strategy<Value = Agent> {
    (text(), maybe(), 0..=100u32, vec(text(), 0..4), maybe()).prop_map(
        |(family, version, confidence, evidence, install_path)| Agent {
            family,
            version,
            confidence,
            evidence,
            install_path,
        },
    )
}

fn process() -> impl Strategy<Value = Process> {
    let pid = || 0..=i32::MAX as u32;
    let ids = (pid(), option::of(pid()), option::of(any::<u32>()));
    (
        ids,
        option::of(time()),
        maybe(),
        vec(text(), 0..4),
        any::<(bool, bool)>(),
        maybe(),
    )
        .prop_map(
            |((pid, ppid, uid), start_unix_nano, exe, argv, (argv_truncated, inferred), cwd)| {
                Process {
                    pid,
                    start_unix_nano,
                    ppid,
                    exe,
                    argv,
                    argv_truncated,
                    cwd,
                    uid,
                    inferred,
                }
            },
        )
}

fn detail() -> impl Strategy<Value = Detail> {
    let byte = || option::of(0..=255u32);
    let number = || option::of(any::<u32>());
    let count = || 0..=i64::MAX as u64;
    let exec = maybe().prop_map(|filename| Detail::Exec(Exec { filename }));
    let exit = (byte(), byte()).prop_map(|(code, signal)| Detail::Exit(Exit { code, signal }));
    let file = (
        maybe(),
        any::<u32>(),
        option::of(0..=i32::MAX as u32),
        count(),
        option::of(time()),
        any::<bool>(),
        (any::<Option<u64>>(), maybe(), number()),
    );
    let open = file.prop_map(
        |(path, flags, mode, count, last_unix_nano, path_resolved, (inode, device, links))| {
            Detail::Open(File {
                path,
                flags,
                mode,
                count,
                last_unix_nano,
                path_resolved,
                inode,
                device,
                links,
            })
        },
    );
    let port = option::of(0..=65_535u32);
    let net = (
        text(),
        maybe(),
        port,
        maybe(),
        maybe(),
        count(),
        option::of(time()),
    );
    let connect = net.prop_map(|(family, addr, port, proto, path, count, last_unix_nano)| {
        Detail::Connect(Net {
            family,
            addr,
            port,
            proto,
            path,
            count,
            last_unix_nano,
        })
    });
    let repository = (text(), maybe(), maybe()).prop_map(|(root, remote, branch)| Repository {
        root,
        remote,
        branch,
    });
    let facts = (
        1..=3i32,
        maybe(),
        maybe(),
        number(),
        number(),
        maybe(),
        maybe(),
    );
    let known = (option::of(count()), 0..=3i32);
    let session = (facts, option::of(repository), known).prop_map(|(facts, repository, known)| {
        let (gaps, found) = known;
        let (phase, parent, user, uid, login_uid, terminal, cwd) = facts;
        Detail::SessionInfo(Session {
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
        })
    });
    let lost = (text(), text(), text(), count(), time(), time()).prop_map(
        |(hop, record, cause, count, first_unix_nano, last_unix_nano)| {
            Detail::Lost(Lost {
                hop,
                record,
                cause,
                count,
                first_unix_nano,
                last_unix_nano,
            })
        },
    );
    let coverage = (text(), 1..=3i32, maybe(), time(), time(), count(), text()).prop_map(
        |(what, phase, hook, first_unix_nano, last_unix_nano, count, reason)| {
            Detail::Coverage(Coverage {
                what,
                phase,
                hook,
                first_unix_nano,
                last_unix_nano,
                count,
                reason,
            })
        },
    );
    let finding = (text(), text(), 1..=5i32, vec(text(), 0..3), text()).prop_map(
        |(rule, title, severity, attack, reason)| {
            Detail::Finding(Finding {
                rule,
                title,
                severity,
                attack,
                reason,
            })
        },
    );
    prop_oneof![exec, exit, open, connect, session, lost, coverage, finding]
}
