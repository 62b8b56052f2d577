//! The page as people read it, from figures of any size and texts of any origin.

use super::*;

#[test]
fn the_page_shows_hooks_losses_and_the_collector() {
    let mut status = Status {
        version: "0.1.0".into(),
        pid: 7,
        ..Status::default()
    };
    status.rss_bytes = Some(20 << 20);
    status.uptime_seconds = 3_725;
    status.stale_seconds = Some(2.04);
    status.hooks = vec![Hook {
        fact: "open".into(),
        hook: Some("tp/sys_enter_openat".into()),
        status: HookStatus::Fallback,
        reason: "lsm/file_open: EPERM".into(),
        canaries: vec![
            HookCanary {
                hook: "tp/sys_exit_openat".into(),
                seconds_ago: Some(3.2),
                lost: false,
            },
            HookCanary {
                hook: "tp/sys_exit_openat2".into(),
                seconds_ago: Some(65.0),
                lost: true,
            },
        ],
    }];
    status.canary = Canary {
        interval_seconds: 10,
        ring_seconds_ago: Some(3.2),
        spooled_seconds_ago: Some(3.2),
        acknowledged_seconds_ago: None,
        error: None,
    };
    let lost = BTreeMap::from([("ring_full".to_owned(), 4), ("none".to_owned(), 0)]);
    status.kernel.insert(
        "open".into(),
        KernelCounters {
            sent: 100,
            folded: 7,
            lost,
        },
    );
    status.read.insert("open".into(), 96);
    (status.malformed, status.folds.added, status.folds.lost) = (2, 6, 1);
    status.journal_error = Some("no space".into());
    status.inspector = Inspector {
        pid: Some(9),
        rss_bytes: Some(5 << 20),
        workers: 1,
        asked: 12,
        late: 2,
        over_budget: 3,
        unreadable: 4,
        failed: 5,
        replaced: 6,
    };
    status.uplink.address = "http://127.0.0.1:7317".into();
    status.uplink.findings.last_error = Some("refused".into());
    status.uplink.bulk.connected = true;
    status.uplink.bulk.sent_events = 9;
    status.spool.bulk.records = 12;
    status.spool.bulk.lost.insert("spool_full".into(), 3);
    status.spool.findings.acked_seq = 4;
    status.spool.findings.next_seq = 5;
    let page = render(&status);
    for line in [
        "skep-sensor 0.1.0, pid 7, up 1 h 2 min, memory 20.0 MiB",
        "the sensor is too busy to count: these figures are 2.0 s old",
        "  open          fallback  tp/sys_enter_openat",
        "                           lsm/file_open: EPERM",
        "  open             100           96            7            4  (ring_full 4)",
        "                           canary: sys_exit_openat 3 s ago, sys_exit_openat2 LOST 1 min 5 s ago",
        "  of those folded 6 were added to an event, 1 found none; 2 read were malformed",
        "inspector         pid 9, memory 5.0 MiB, 1 at work, 12 questions",
        "                  2 late, 3 over budget, 4 unreadable, 5 failed; replaced 6 times",
        "  the journal cannot be written: no space",
        "canary            every 10 s: ring 3 s ago, spooled 3 s ago, acknowledged never",
        "spool  bulk       12 waiting in 0 B, acknowledged to 0, next 0, lost 3  (spool_full 3)",
        "       findings   0 waiting in 0 B, acknowledged to 4, next 5, lost 0",
        "uplink            http://127.0.0.1:7317",
        "       bulk       connected, sent 9 events (0 B), acknowledged 0, last acknowledgement none yet",
        "       findings   not connected, sent 0 events (0 B), acknowledged 0, last acknowledgement none yet",
        "  last error: refused",
    ] {
        assert!(
            page.lines().any(|have| have == line),
            "{line:?} not in\n{page}"
        );
    }
}

#[test]
fn the_page_says_who_set_what_it_shows() {
    let mut status = Status::default();
    status.uplink.address = "http://127.0.0.1:7317".into();
    status.canary.interval_seconds = 10;
    for (key, value, by) in [
        ("collector.address", "http://127.0.0.1:7317", "file"),
        ("liveness.interval_seconds", "10", "default"),
        ("log.level", "debug", "collector, order 7"),
    ] {
        let (value, by) = (value.to_owned(), by.to_owned());
        let shown = ShownSetting { value, by };
        status.settings.insert(key.to_owned(), shown);
    }
    let page = render(&status);
    for line in [
        "uplink            http://127.0.0.1:7317 (file)",
        "canary            every 10 s (default): ring never, spooled never, acknowledged never",
        "log               debug (collector, order 7)",
    ] {
        assert!(
            page.lines().any(|have| have == line),
            "{line:?} not in\n{page}"
        );
    }
}

#[test]
fn what_others_wrote_stays_on_its_line() {
    let mut status = Status::default();
    status.uplink.bulk.last_error = Some("no\u{1b}[2J\nhooks: \u{202e}live".into());
    status.hooks = vec![Hook {
        fact: "open".into(),
        hook: None,
        status: HookStatus::Lost,
        reason: "EPERM\r".into(),
        canaries: Vec::new(),
    }];
    let hidden = "\u{1b}[2J\n".to_owned();
    status.version = hidden.clone();
    status.hooks[0].fact = hidden.clone();
    status.events.insert(hidden.clone(), 1);
    status.spool.bulk.lost.insert(hidden.clone(), 1);
    status
        .kernel
        .insert(hidden.clone(), KernelCounters::default());
    let shown = ShownSetting {
        value: hidden.clone(),
        by: hidden,
    };
    status.settings.insert("log.level".to_owned(), shown);
    let page = render(&status);
    assert!(!page.contains(['\u{1b}', '\u{202e}', '\r']), "{page:?}");
    for line in [
        r"  last error: no\u{1b}[2J\u{a}hooks: \u{202e}live",
        r"                           EPERM\u{d}",
    ] {
        assert!(
            page.lines().any(|have| have == line),
            "{line:?} not in\n{page}"
        );
    }
}

#[test]
fn counters_may_be_of_any_size() {
    let mut status = Status::default();
    status.tracker.refused = u64::MAX;
    (status.tracker.unjudged, status.tracker.evicted) = (1, u64::MAX);
    let lost = BTreeMap::from([("a".to_owned(), u64::MAX), ("b".to_owned(), 1)]);
    status.spool.bulk.lost = lost;
    let page = render(&status);
    assert!(page.contains("18446744073709551615 refused"), "{page}");
    assert!(page.contains("lost 18446744073709551615"), "{page}");
}

#[test]
fn sizes_and_times_are_readable() {
    let sizes = [0, 1023, 1024, 5 << 30, u64::MAX].map(bytes);
    assert_eq!(
        sizes,
        ["0 B", "1023 B", "1.0 KiB", "5.0 GiB", "16777216.0 TiB"]
    );
    assert_eq!(
        [59, 60, 3600, 90_000].map(span),
        ["59 s", "1 min 0 s", "1 h 0 min", "1 d 1 h"]
    );
}
