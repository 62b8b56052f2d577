//! A file system that never answers, as far as the sensor can tell: whoever looks at a program is stopped for
//! good.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use skep_proto::v1::{self, event::Detail};
use skep_testing::{Finish, Program, collector::Collector};

use crate::{
    running::{actor, calm, configure, sensor, session_of, settled, status, wait_for},
    stopped::stopping_children,
};

/// Files the agent opens while nobody answers.
const FILES: usize = 300;
/// What a question may take, and what a stop takes at most on the busiest machine, of which the kernel needs
/// seconds for detaching every hook.
const QUESTION: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(15);

/// Runs a program nobody has judged yet.
fn unknown_program(directory: &Path, name: &str) -> String {
    let program = directory.join(name);
    std::fs::copy("/bin/true", &program).expect("own directory");
    let status = Command::new(&program).stdin(Stdio::null()).finish();
    assert!(status.status.success());
    program.display().to_string()
}

#[test]
fn a_question_that_is_never_answered_costs_no_agent_a_record_and_delays_no_stop() {
    let _calm = calm();
    let directory = tempfile::tempdir().expect("a directory");
    let collector = Collector::new();
    let config = configure(directory.path(), collector.address);
    let limit = format!(
        "[inspector]\nquestion_milliseconds = {}\n",
        QUESTION.as_millis()
    );
    let text = std::fs::read_to_string(&config).expect("own file") + &limit;
    std::fs::write(&config, text).expect("own file");
    let mut running = Program::start(sensor().args(["run", "--config"]).arg(&config));
    let inspector = || wait_for("the inspector", || status(&config)?.inspector.pid);

    let in_directory = |name: &str| format!("{}/{name}", directory.path().display());
    let (first, go) = (in_directory("first"), in_directory("go"));
    std::fs::write(&first, "").expect("own directory");
    let paths: Vec<String> = (0..FILES)
        .map(|at| in_directory(&format!("file-{at}")))
        .collect();
    let mut actions = vec!["do", "open", &first, "wait-for", &go];
    for path in &paths {
        actions.extend(["create", path]);
    }
    let mut agent = Command::new(actor())
        .args(&actions)
        .stdin(Stdio::null())
        .spawn()
        .expect("the actor");
    let session = wait_for("the agent", || session_of(&collector.events(), &first));

    let program = stopping_children(inspector(), || {
        let program = unknown_program(directory.path(), "unanswered");
        std::fs::write(&go, "").expect("own directory");
        assert!(agent.finish().success());
        wait_for("what was not judged", || {
            let told = collector.events();
            let reasons = told.iter().filter_map(|event| match &event.detail {
                Some(Detail::Coverage(coverage)) if coverage.what == "unjudged" => {
                    Some(&coverage.reason)
                }
                _ => None,
            });
            let is = |reason: &&String| {
                reason.contains(&program) && reason.contains("longer than it may")
            };
            reasons.into_iter().any(|reason| is(&reason)).then_some(())
        });
        program
    });
    settled(&config);
    let of_agent = |event: &&v1::Event| event.session.as_ref() == Some(&session);
    let events = collector.events();
    let opened: BTreeSet<_> = events
        .iter()
        .filter(of_agent)
        .filter_map(|event| match &event.detail {
            Some(Detail::Open(file)) => file.path.clone(),
            _ => None,
        })
        .collect();
    let missing: Vec<_> = paths
        .iter()
        .filter(|path| !opened.contains(*path))
        .collect();
    let lost = events
        .iter()
        .filter(|event| matches!(event.detail, Some(Detail::Lost(_))));
    assert!(
        missing.is_empty() && lost.count() == 0,
        "{program}: {missing:?}"
    );

    // A second question, while the first has used up what there is for its user, is not even waited for; of
    // another user it is. The sensor stops all the same.
    let stopped = stopping_children(inspector(), || {
        let program = directory.path().join("another");
        std::fs::copy("/bin/true", &program).expect("own directory");
        let mut asked = Command::new("/bin/sh");
        asked.args(["-c", "exec \"$0\""]).arg(&program);
        std::os::unix::process::CommandExt::uid(&mut asked, 65_534);
        let _ = asked.stdin(Stdio::null()).finish();
        std::thread::sleep(Duration::from_millis(200));
        let began = Instant::now();
        assert_eq!(running.terminate().code(), Some(0));
        began.elapsed()
    });
    assert!(stopped < STOP, "it waits for the answer: {stopped:?}");
}
