//! Lines for people, as they are read.

use super::*;
use skep_event::{ConnectRef, sample};

fn line(event: &Event) -> String {
    Human::utc(false).line(event)
}

#[test]
fn an_exec_reads_as_in_the_documentation() {
    let mut event = sample::exec();
    event.time = UnixNanos(1_700_000_000_123_000_000);
    assert_eq!(
        line(&event),
        "22:13:20.123  claude-code 2.1.91    4d2f  bash[812]           exec     bash -c 'echo hi'"
    );
}

#[test]
fn an_agent_of_no_family_has_the_name_of_its_package() {
    let mut event = sample::exec();
    let mut agent = Agent::clone(event.agent.as_deref().expect("has one"));
    agent.family = "unknown".to_owned();
    (agent.name, agent.version) = (Some("some-agent".to_owned()), Some("1.2.3".to_owned()));
    for (name, shown) in [
        (Some("some-agent"), "unknown (some-agent 1.2.3)"),
        (None, "unknown 1.2.3"),
        (Some("a\x1b[2Jb"), "unknown (a"),
    ] {
        agent.name = name.map(str::to_owned);
        event.agent = Some(std::sync::Arc::new(agent.clone()));
        let line = line(&event);
        assert!(line.contains(shown), "{line}");
        assert!(!line.contains('\x1b'), "{line}");
    }
}

#[test]
fn each_class_shows_what_matters() {
    let cases = [
        (sample::failed_exec(), "exec     /bin/bash -sV  ENOENT"),
        (sample::exit(), "exit     3"),
        (sample::open(), "open     c /home/dev/new (2 hard links) ×2"),
        (
            sample::connect(),
            "connect  127.0.0.1:8399/tcp ×2  ECONNREFUSED",
        ),
        (
            sample::session(),
            "START    session of dev (logged in as uid 1001) on /dev/pts/3 in /home/dev/app, container web (docker), \
             repository https://example.com/app.git @ main, child of 0909",
        ),
        (
            sample::lost(),
            "LOST     7 open records at kernel: ring_full",
        ),
        (
            sample::coverage(),
            "4d2f                      GAP END  throttled fexit/vfs_open for 0.499 s, \
             1200 records: the session sent more than its share while the ring was over half \
             full",
        ),
        (
            sample::finding(),
            "FINDING  high sensor.hook_detached: a hook of the sensor was detached (T1562.001): \
             cgroup/connect4 does not report the sensor's own calls",
        ),
    ];
    for (event, end) in cases {
        let line = line(&event);
        assert!(line.ends_with(end), "{line:?} should end with {end:?}");
    }
}

#[test]
fn what_is_not_vouched_for_reads_as_a_sentence() {
    let at = |seconds: u64| UnixNanos(seconds * 1_000_000_000);
    let change = |what, phase, hook, last, count, reason: &str| {
        let mut event = sample::coverage();
        event.detail = Detail::Coverage(Coverage {
            what,
            phase,
            hook,
            first: at(0),
            last: at(last),
            count,
            reason: reason.into(),
            clock_offset_before: None,
            clock_offset_after: None,
        });
        line(&event)
    };
    use {CoverageKind as Kind, CoveragePhase as Phase};
    let cases = [
        (
            change(Kind::Blind, Phase::End, None, 7_800, 0, "it was stopped"),
            "GAP END  blind for 2 h 10 min: it was stopped",
        ),
        (
            change(
                Kind::Hook,
                Phase::Begin,
                Some("lsm/file_open"),
                0,
                0,
                "detached",
            ),
            "GAP      hook lsm/file_open: detached",
        ),
        (
            change(
                Kind::IoUring,
                Phase::Point,
                None,
                0,
                0,
                "not seen \u{1b}[2J",
            ),
            "GAP      io_uring: not seen \\u{1b}[2J",
        ),
        (
            change(Kind::Evicted, Phase::Point, None, 185, 1, "processes"),
            "GAP      table full for 3 min 5 s, 1 entry: processes",
        ),
        (
            change(
                Kind::Canary,
                Phase::Point,
                None,
                0,
                9,
                "every hook answered",
            ),
            "CHECK    self-test, 9 records: every hook answered",
        ),
    ];
    for (line, end) in cases {
        assert!(line.ends_with(end), "{line:?} should end with {end:?}");
    }
}

#[test]
fn what_was_not_observed_from_its_start_is_marked() {
    let mut event = sample::session();
    if let Some(process) = &mut event.process {
        std::sync::Arc::make_mut(process).inferred = true;
    }
    if let Detail::Session(info) = &mut event.detail {
        (info.gaps, info.found) = (2, Found::Running);
    }
    let line = line(&event);
    assert!(line.contains("  ~bash[812]  "), "{line}");
    let end = ", was running before the sensor saw it, INCOMPLETE: 2 known gaps";
    assert!(line.ends_with(end), "{line}");
}

#[test]
fn unknown_is_shown_as_a_question_mark() {
    let mut event = sample::connect();
    event.process = None;
    event.agent = None;
    event.result = None;
    let connect = ConnectRef {
        family: NetFamily::Inet6,
        ..ConnectRef::default()
    };
    event.detail = Detail::Connect(connect.own());
    assert!(
        line(&event).ends_with("connect  inet6 ?"),
        "{}",
        line(&event)
    );
}

#[test]
fn a_peer_that_is_no_ip_address_has_its_family_before_it() {
    let peer = |family, path: Option<&str>| {
        let mut event = sample::connect_unix();
        if let Detail::Connect(net) = &mut event.detail {
            (net.family, net.path) = (family, path.map(Text::from));
        }
        line(&event)
    };
    let vsock = peer(NetFamily::Vsock, Some("2:1024"));
    assert!(vsock.contains("vsock:2:1024"), "{vsock}");
    let other = peer(NetFamily::Other(31), None);
    assert!(other.contains("family 31 ?"), "{other}");
}

#[test]
fn arguments_are_quoted_for_a_shell_and_cannot_move_the_cursor() {
    let argv = [
        &b"a"[..],
        b"",
        b"it's",
        b"\x1b[2J",
        b"\xff",
        "\u{202e}x".as_bytes(),
        b"a b",
    ];
    let argv: Vec<Text> = argv.into_iter().map(Text::from).collect();
    assert_eq!(
        command(&argv),
        r"a '' 'it'\''s' $'\x1b[2J' $'\xff' $'\u{202e}x' 'a b'"
    );
}

#[test]
fn long_arguments_are_shortened() {
    let argv: Vec<Text> = (0..9)
        .map(|_| Text::from("x".repeat(1000).as_str()))
        .collect();
    let text = command(&argv);
    assert!(
        text.contains("…(+680)…") && text.ends_with("…(+7 arguments)"),
        "{text}"
    );
}

#[test]
fn colour_only_when_asked_for() {
    for event in sample::all() {
        assert!(!line(&event).contains('\x1b'));
        assert!(Human::utc(true).line(&event).contains("\x1b["));
    }
}

#[test]
fn columns_line_up_below_each_other_whatever_the_script() {
    let named = |name: &str| {
        let mut event = sample::exec();
        let mut process = event.process.as_deref().unwrap().clone();
        process.exe = Some(Text::from(format!("/usr/bin/{name}").as_str()));
        event.process = Some(process.into());
        let line = line(&event);
        let before = line.split_once("exec  ").unwrap().0;
        terminal::width(before)
    };
    let plain = named("bash");
    // CJK, emoji with a modifier, a combining accent.
    for name in ["日本語", "🦀", "👍🏽", "cafe\u{301}"] {
        assert_eq!(named(name), plain, "{name}");
    }
}
