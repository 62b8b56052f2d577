use proptest::prelude::*;

use super::*;

fn text(bytes: &[u8]) -> Text {
    Text::from(bytes)
}

#[test]
fn a_question_arrives_as_it_was_asked() {
    let (exe, filename, cwd) = (text(b"/usr/bin/node"), text(b"node"), text(b"/w/\xff"));
    let argv = [text(b"node"), text(b""), text(b"cli.js")];
    let candidate = Candidate {
        pid: 12,
        file: FileKey {
            ino: 1 << 40,
            ctime_sec: -1,
            ctime_nsec: 999_999_999,
            dev: 0xfff0_0001,
        },
        file_size: 1 << 33,
        exe: Some(&exe),
        filename: Some(&filename),
        argv: &argv,
        argv_truncated: true,
        cwd: Some(&cwd),
        uid: Some(1000),
        switches: Some(1),
        since: Some(UnixNanos(9)),
    };
    let allowed = Allowed {
        millis: 2000,
        bytes: 1,
        entries: 2,
        memory: 3,
    };
    for ask in [Ask::Judge, Ask::Repository, Ask::Image { start_ns: 9 }] {
        let sent = Question::new(ask, &candidate, Some(vec![1, 2]), allowed).encode_to_vec();
        let asked = Question::decode(&*sent).unwrap().asked().unwrap();
        assert_eq!(asked.ask, ask);
        assert_eq!(asked.allowed, allowed);
        assert_eq!(asked.learned.as_deref(), Some(&[1, 2][..]));
        assert_eq!(format!("{:?}", asked.candidate()), format!("{candidate:?}"));
    }
}

#[test]
fn an_answer_arrives_as_it_was_given() {
    let catalogue = Catalogue::embedded();
    let agent = Agent {
        family: "codex".into(),
        version: Some("1".into()),
        confidence: 95,
        evidence: vec!["one".into(), "two".into()],
        install_path: Some(text(b"/opt/\xff")),
        name: None,
    };
    let every = [
        Unjudged::Gone,
        Unjudged::Unreadable { errno: 13 },
        Unjudged::Late,
        Unjudged::OverBudget,
        Unjudged::CutArguments,
        Unjudged::UnknownDirectory,
        Unjudged::NotLookedAt,
        Unjudged::Refused,
    ];
    let mut judgements: Vec<Judgement> = every.map(Judgement::not).into();
    judgements.push(Judgement {
        agent: Some(Arc::new(agent)),
        multicall: true,
        ..Judgement::default()
    });
    judgements.push(Judgement {
        never: true,
        place: Some(text(b"/x")),
        ..Judgement::default()
    });
    for judgement in judgements {
        let sent = Answer::judged(&judgement).packet();
        let answer = Answer::of_packet(&sent).unwrap();
        assert_eq!(answer.judgement(&catalogue), Some(judgement));
        assert_eq!(answer.failure(), None);
    }
    let repository = Repository {
        root: text(b"/w"),
        remote: None,
        branch: Some(text(b"main")),
    };
    let sent = Answer::repository(Some(&repository)).packet();
    let answer = Answer::of_packet(&sent).unwrap();
    assert_eq!(answer.found_repository(), Some(repository));
    for why in every {
        let sent = Answer::failed(why).packet();
        assert_eq!(Answer::of_packet(&sent).unwrap().failure(), Some(why));
    }
}

#[test]
fn nothing_found_is_an_answer_too() {
    for nothing in [Answer::repository(None), Answer::image(None)] {
        let sent = nothing.packet();
        assert!(!sent.is_empty(), "an empty packet is the end of a socket");
        let answer = Answer::of_packet(&sent).unwrap();
        assert_eq!(answer.found_repository(), None);
        assert_eq!(answer.found_image(), None);
    }
    assert_eq!(Answer::of_packet(b""), None);
}

#[test]
fn an_answer_that_cannot_be_is_none() {
    let catalogue = Catalogue::embedded();
    let judged = |judged| Answer {
        judged: Some(judged),
        ..Answer::default()
    };
    let codex = || Judged {
        family: Some("codex".into()),
        ..Judged::default()
    };
    assert!(judged(codex()).judgement(&catalogue).is_some());
    for odd in [
        Answer::default(),
        judged(Judged {
            family: Some("no-agent".into()),
            ..Judged::default()
        }),
        judged(Judged {
            confidence: 100,
            ..codex()
        }),
        judged(Judged {
            evidence: vec!["x".repeat(TEXT_MAX + 1)],
            ..codex()
        }),
        judged(Judged {
            evidence: vec![String::new(); EVIDENCE_MAX + 1],
            ..codex()
        }),
        judged(Judged {
            unjudged: Some(Reason {
                reason: 99,
                errno: 0,
            }),
            ..codex()
        }),
    ] {
        assert_eq!(odd.judgement(&catalogue), None, "{odd:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer_or_none(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let catalogue = Catalogue::embedded();
        if let Some(answer) = Answer::of_packet(&bytes) {
            let _ = (answer.judgement(&catalogue), answer.found_repository());
            let _ = (answer.found_image(), answer.failure());
        }
        if let Ok(question) = Question::decode(&*bytes) {
            let _ = question.asked();
        }
    }
}
