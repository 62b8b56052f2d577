//! Storms: too many processes, opens, programs and arguments at once, and a quiet agent beside them.
//!
//! After each: the daemon stayed under its memory cap; what it read is what the kernel sent; what was
//! lost was told, to the last record; and the quiet agent's story is whole. Sizes are those of a quick
//! test; `SKEP_STORM=full` takes those that break things.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
    sync::PoisonError,
    time::{Duration, Instant},
};

use serde_json::Value;
use skep_proto::v1::{self, event::Detail, session::Phase};

use crate::{
    collector::Collector,
    running::{
        CALM, Running, actor, configure, ended, how_things_stand, sensor, wait_for, wait_or_explain,
    },
};

/// Default of `[limits] memory_bytes`.
const MEMORY_CAP: u64 = 64 << 20;
/// How long the accounts may take to be level.
const PATIENCE: Duration = Duration::from_secs(60);
/// Files the quiet agent opens, one at a time.
const QUIET: usize = 40;

fn size(quick: u64, full: u64) -> String {
    let full_size = std::env::var("SKEP_STORM").is_ok_and(|size| size == "full");
    if full_size { full } else { quick }.to_string()
}

fn agent(actions: &[&str]) -> Command {
    let mut command = Command::new(actor());
    command.arg("do").args(actions).stdin(Stdio::null());
    command
}

/// Peak resident memory of a process, bytes.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
    kib.expect("the kernel tells it") << 10
}

fn status(config: &Path) -> Value {
    let output = sensor()
        .args(["status", "--json", "--config"])
        .arg(config)
        .output()
        .expect("the sensor's binary");
    serde_json::from_slice(&output.stdout).expect("a JSON object")
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// Losses told, by record type and cause.
fn told(events: &[v1::Event], record: &str, cause: &str) -> u64 {
    let losses = events.iter().filter_map(|event| match &event.detail {
        Some(Detail::Lost(lost)) if lost.record == record && lost.cause == cause => {
            Some(lost.count)
        }
        _ => None,
    });
    losses.sum()
}

/// Until everything sent was read, and everything lost was told.
fn reconcile(config: &Path, collector: &Collector) -> Value {
    let start = Instant::now();
    loop {
        let status = status(config);
        let apart = apart(&status, &collector.events());
        if apart.is_empty() {
            return status;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "not level: {apart:#?} in {status:#}"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Where the accounts are not level.
fn apart(status: &Value, events: &[v1::Event]) -> Vec<String> {
    let mut apart = Vec::new();
    for lane in ["bulk", "findings"] {
        let waiting = &status["spool"][lane]["records"];
        if *waiting != 0 {
            apart.push(format!("{waiting} wait in the spool of {lane}"));
        }
    }
    for (record, counters) in status["kernel"].as_object().expect("by record type") {
        let (sent, read) = (&counters["sent"], &status["read"][record]);
        if sent != read {
            apart.push(format!("{record}: {sent} sent, {read} read"));
        }
        for (cause, count) in counters["lost"].as_object().into_iter().flatten() {
            let told = told(events, record, cause);
            if told != number(count) {
                apart.push(format!("{record}: {count} lost ({cause}), {told} told"));
            }
        }
    }
    apart
}

/// Sessions that were not told to have ended as often as to have begun.
fn not_over(events: &[v1::Event]) -> Vec<Option<String>> {
    let mut open: BTreeMap<&Option<String>, i64> = BTreeMap::new();
    for event in events {
        if let Some(Detail::SessionInfo(info)) = &event.detail {
            *open.entry(&event.session).or_default() += match info.phase() {
                Phase::Start => 1,
                Phase::End => -1,
                _ => 0,
            };
        }
    }
    open.retain(|_, count| *count != 0);
    open.into_keys().cloned().collect()
}

fn expect(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

/// Runs a storm beside a quiet agent; `check` looks at what came of it.
fn storm(
    name: &str,
    mut command: Command,
    check: impl Fn(&[v1::Event], &Value) -> Result<(), String>,
) {
    let _no_calm = CALM.read().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().expect("a directory");
    let collector = Collector::start(0);
    let config = configure(directory.path(), collector.address);
    let mut running = Running::start(sensor().args(["run", "--config"]).arg(&config));

    let quiet_folder = directory.path().join("quiet");
    std::fs::create_dir(&quiet_folder).expect("own directory");
    let paths: Vec<String> = (0..QUIET)
        .map(|number| format!("{}/{number}", quiet_folder.display()))
        .collect();
    let mut quiet_actions = vec!["sleep", "300"];
    for path in &paths {
        quiet_actions.extend(["create", path, "sleep", "20"]);
    }
    let mut quiet = agent(&quiet_actions).spawn().expect("the actor");

    let output = command.output().expect("the storm");
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(quiet.wait().expect("a child").success());
    wait_for("the quiet agent's session to end", || {
        ended(&collector.events(), &paths[0]).then_some(())
    });
    wait_or_explain(
        "every session to end",
        || not_over(&collector.events()).is_empty().then_some(()),
        || {
            let events = collector.events();
            let stand = |id: &Option<String>| how_things_stand(&events, &config, id);
            not_over(&events).iter().map(stand).collect()
        },
    );
    let status = reconcile(&config, &collector);
    let peak = peak(running.pid());
    println!("{name}: peak {} KiB; {}", peak >> 10, status["kernel"]);
    assert!(peak <= MEMORY_CAP, "{name}: {peak} bytes");

    let events = collector.events();
    let missing: Vec<&String> = paths
        .iter()
        .filter(|path| {
            !events.iter().any(|event| {
                matches!(&event.detail, Some(Detail::Open(file)) if file.path.as_ref() == Some(*path))
            })
        })
        .collect();
    let losses: Vec<_> = events
        .iter()
        .filter(|event| matches!(event.detail, Some(Detail::Lost(_))))
        .map(|event| (&event.session, &event.detail))
        .collect();
    assert!(
        missing.is_empty(),
        "{name}: the quiet agent's files {missing:?}; told as lost: {losses:#?}"
    );
    // Counts of repeated opens follow when their epoch is over.
    let mut outcome = check(&events, &status);
    let start = Instant::now();
    while outcome.is_err() && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(500));
        outcome = check(&collector.events(), &status);
    }
    assert_eq!(outcome, Ok(()), "{name}: {status:#}");
    assert_eq!(running.stop(), Some(0));
}

#[test]
fn an_open_storm_is_counted_to_the_last_open() {
    let directory = tempfile::tempdir().expect("a directory");
    let folder = directory.path().to_str().expect("text").to_owned();
    let count = size(20_000, 1_000_000);
    let command = agent(&["create-storm", &folder, &count]);
    storm("open storm", command, |events, status| {
        let prefix = format!("{folder}/");
        let seen = events.iter().filter_map(|event| match &event.detail {
            Some(Detail::Open(file)) => file
                .path
                .as_deref()
                .filter(|path| path.starts_with(&prefix))
                .map(|_| file.count),
            _ => None,
        });
        let lost: u64 = ["throttled", "ring_full", "scratch_busy"]
            .iter()
            .map(|cause| number(&status["kernel"]["open"]["lost"][*cause]))
            .sum();
        let seen: u64 = seen.sum();
        let count: u64 = count.parse().expect("a number");
        // The spool may have dropped its oldest: that is told as well.
        let dropped: u64 = number(&status["spool"]["bulk"]["lost"]["spool_full"]);
        println!("open storm: {seen} seen, {lost} lost in the kernel, {dropped} in the spool");
        expect(
            seen <= count && seen + lost + dropped >= count,
            "opens add up",
        )
    });
}

#[test]
fn the_same_file_opened_again_and_again_is_a_count() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("0");
    std::fs::write(&file, "x").expect("own directory");
    let folder = directory.path().to_str().expect("text").to_owned();
    let count = size(20_000, 1_000_000);
    // One file a call: the storm opens `0` only.
    let mut command = Command::new("/bin/sh");
    let script = format!(
        "exec \"$0\" do exec /bin/sh -c 'n=0; while [ $n -lt {count} ]; do : < {folder}/0; n=$((n+1)); done' --"
    );
    command.args(["-c", &script]).arg(actor());
    storm("repeated opens", command, |events, _| {
        let path = file.to_str().expect("text");
        let opens: Vec<u64> = events
            .iter()
            .filter_map(|event| match &event.detail {
                Some(Detail::Open(open)) if open.path.as_deref() == Some(path) => Some(open.count),
                _ => None,
            })
            .collect();
        let sum: u64 = opens.iter().sum();
        println!("repeated opens: {} events for {sum} opens", opens.len());
        expect(
            sum.to_string() == count && opens.len() < 2_000,
            &format!("{sum} opens in {} events", opens.len()),
        )
    });
}

#[test]
fn a_fork_storm_is_followed() {
    let count = size(3_000, 20_000);
    let command = agent(&["fork-storm", &count]);
    storm("fork storm", command, |_, status| {
        let fork = &status["kernel"]["fork"];
        let lost: u64 = fork["lost"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(_, count)| number(count))
            .sum();
        let count: u64 = count.parse().expect("a number");
        expect(number(&fork["sent"]) + lost >= count, "forks add up")
    });
}

#[test]
fn an_exec_storm_is_followed() {
    let count = size(300, 20_000);
    let command = agent(&["exec-storm", "/bin/true", &count]);
    storm("exec storm", command, |events, status| {
        let execs = events.iter().filter(|event| {
            matches!(event.detail, Some(Detail::Exec(_)))
                && event.process.as_ref().is_some_and(|process| {
                    process.argv.first().is_some_and(|arg| arg == "/bin/true")
                })
        });
        let lost: u64 = status["kernel"]["exec"]["lost"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(_, count)| number(count))
            .sum();
        let count: u64 = count.parse().expect("a number");
        expect(execs.count() as u64 + lost >= count, "execs add up")
    });
}

#[test]
fn two_megabytes_of_arguments_and_long_paths_are_cut_and_said_to_be() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = agent(&[]);
    // Nearly all the kernel takes (two megabytes), in arguments of the most one may have
    // (MAX_ARG_STRLEN); the agent has them, and hands them on.
    let big = "a".repeat(128 * 1024 - 1);
    command.args(["exec", "/bin/true"]);
    command
        .args(std::iter::repeat_n(big.as_str(), 14))
        .arg("--");
    // A path of more than 4,096 bytes.
    command
        .args(["deep-create"])
        .arg(directory.path())
        .arg("24");
    storm("large arguments", command, |events, _| {
        let cut = events.iter().filter(|event| {
            matches!(event.detail, Some(Detail::Exec(_)))
                && event
                    .process
                    .as_ref()
                    .is_some_and(|process| process.argv_truncated)
        });
        let deep = events.iter().any(|event| {
            matches!(&event.detail, Some(Detail::Open(file))
                if file.path.as_deref().is_some_and(|path| path.starts_with('…') && path.ends_with("/leaf")))
        });
        expect(
            cut.count() >= 2 && deep,
            "the execs of agent and tool say that argv was cut, the open that its path was",
        )
    });
}
