//! The page `skep-sensor status` shows to people.

use std::{collections::BTreeMap, fmt::Write};

use skep_human::terminal::plain;
use skep_spool::Stats;

use super::{
    Canary, Folds, Hook, HookCanary, HookStatus, KernelCounters, ShownSetting, Spools, Status,
    Stream, Tracker, Uplink,
};

/// A page of text, ending in a line break.
pub fn render(status: &Status) -> String {
    let mut page = String::new();
    // Writing to a `String` does not fail.
    let _ = write(&mut page, status);
    page
}

fn write(out: &mut String, status: &Status) -> std::fmt::Result {
    let Status {
        version,
        pid,
        uptime_seconds,
        stale_seconds,
        rss_bytes,
        hooks,
        canary,
        kernel,
        read,
        malformed,
        folds,
        journal_error,
        tracker:
            Tracker {
                processes,
                sessions,
                ignored,
                consumed,
                refused,
                unjudged,
                evicted,
            },
        events,
        spool,
        uplink,
        settings,
        steps: _,
    } = status;
    let memory = rss_bytes.map_or_else(|| "unknown".to_owned(), bytes);
    writeln!(
        out,
        "skep-sensor {version}, pid {pid}, up {}, memory {memory}",
        span(*uptime_seconds)
    )?;
    if let Some(age) = stale_seconds {
        writeln!(
            out,
            "the sensor is too busy to count: these figures are {age:.1} s old"
        )?;
    }

    writeln!(out, "\nhooks")?;
    for Hook {
        fact,
        hook,
        status,
        reason,
        canaries,
    } in hooks
    {
        let word = match status {
            HookStatus::Live => "live",
            HookStatus::Fallback => "fallback",
            HookStatus::Lost => "LOST",
            HookStatus::Off => "off",
        };
        writeln!(
            out,
            "  {fact:<13} {word:<9} {}",
            plain(hook.as_deref().unwrap_or("-"))
        )?;
        if !canaries.is_empty() {
            let ages: Vec<String> = canaries.iter().map(hook_canary).collect();
            writeln!(out, "{:27}canary: {}", "", plain(&ages.join(", ")))?;
        }
        // One refusal, or one thing it does not see, a line.
        for part in reason.split("; ").filter(|part| !part.is_empty()) {
            writeln!(out, "{:27}{}", "", plain(part))?;
        }
    }

    writeln!(
        out,
        "\nrecords           sent         read       folded         lost"
    )?;
    for (record, counters) in kernel {
        let KernelCounters { sent, folded, lost } = counters;
        let read = read.get(record).copied().unwrap_or(0);
        let line = format!(
            "  {record:<9} {sent:>10}   {read:>10}   {folded:>10}   {:>10}",
            total(lost)
        );
        writeln!(out, "{line}{}", causes(lost))?;
    }

    let Folds { added, lost } = folds;
    writeln!(
        out,
        "  of those folded {added} were added to an event, {lost} found none; {malformed} read were malformed"
    )?;

    writeln!(
        out,
        "\ntracked           {processes} processes, {sessions} sessions, {ignored} records of other programs dropped, {consumed} without an event of their own"
    )?;
    if refused + unjudged + evicted > 0 {
        writeln!(
            out,
            "                  {refused} refused and {evicted} let go by full tables, \
             {unjudged} programs gone before they could be judged"
        )?;
    }
    if let Some(error) = journal_error {
        writeln!(out, "  the journal cannot be written: {}", plain(error))?;
    }
    if !events.is_empty() {
        let list: Vec<String> = events
            .iter()
            .map(|(class, count)| format!("{count} {class}"))
            .collect();
        writeln!(out, "events            {}", list.join(", "))?;
    }
    let Spools { bulk, findings } = spool;
    write_spool(out, "spool  bulk", bulk)?;
    write_spool(out, "       findings", findings)?;
    write_canary(out, canary, &set_by(settings, "liveness.interval_seconds"))?;
    write_uplink(out, uplink, &set_by(settings, "collector.address"))?;
    if let Some(ShownSetting { value, .. }) = settings.get("log.level") {
        writeln!(
            out,
            "log               {value}{}",
            set_by(settings, "log.level")
        )?;
    }
    Ok(())
}

/// Who set what is shown, where that is known.
fn set_by(settings: &BTreeMap<String, ShownSetting>, key: &str) -> String {
    settings
        .get(key)
        .map_or_else(String::new, |setting| format!(" ({})", setting.by))
}

fn write_spool(out: &mut String, title: &str, spool: &Stats) -> std::fmt::Result {
    let Stats {
        records,
        bytes: size,
        epoch: _,
        acked_seq,
        next_seq,
        lost,
        error,
    } = spool;
    writeln!(
        out,
        "{title:<16}  {records} waiting in {}, acknowledged to {acked_seq}, next {next_seq}, lost {}{}",
        bytes(*size),
        total(lost),
        causes(lost)
    )?;
    if let Some(error) = error {
        writeln!(out, "  cannot be written: {}", plain(error))?;
    }
    Ok(())
}

fn write_uplink(out: &mut String, uplink: &Uplink, by: &str) -> std::fmt::Result {
    let Uplink {
        address,
        bulk,
        findings,
    } = uplink;
    writeln!(out, "uplink            {}{by}", plain(address))?;
    write_stream(out, "       bulk", bulk)?;
    write_stream(out, "       findings", findings)
}

fn write_stream(out: &mut String, title: &str, stream: &Stream) -> std::fmt::Result {
    let Stream {
        connected,
        sent_events,
        acked_events,
        sent_bytes,
        last_ack_seconds_ago,
        last_error,
    } = stream;
    let state = if *connected {
        "connected"
    } else {
        "not connected"
    };
    let last = last_ack_seconds_ago.map_or_else(
        || "none yet".to_owned(),
        |seconds| format!("{} ago", span(seconds as u64)),
    );
    writeln!(
        out,
        "{title:<16}  {state}, sent {sent_events} events ({}), \
         acknowledged {acked_events}, last acknowledgement {last}",
        bytes(*sent_bytes)
    )?;
    if let Some(error) = last_error {
        writeln!(out, "  last error: {}", plain(error))?;
    }
    Ok(())
}

/// The newest self-test that has come to each hop.
fn write_canary(out: &mut String, canary: &Canary, by: &str) -> std::fmt::Result {
    let Canary {
        interval_seconds,
        ring_seconds_ago,
        spooled_seconds_ago,
        acknowledged_seconds_ago,
        error,
    } = canary;
    if *interval_seconds == 0 {
        return writeln!(out, "canary            off{by}: hooks are not tested");
    }
    writeln!(
        out,
        "canary            every {}{by}: ring {}, spooled {}, acknowledged {}",
        span(*interval_seconds),
        ago(*ring_seconds_ago),
        ago(*spooled_seconds_ago),
        ago(*acknowledged_seconds_ago)
    )?;
    if let Some(error) = error {
        writeln!(out, "  the last one did not count: {}", plain(error))?;
    }
    Ok(())
}

fn hook_canary(canary: &HookCanary) -> String {
    let HookCanary {
        hook,
        seconds_ago,
        lost,
    } = canary;
    let program = hook.split_once('/').map_or(hook.as_str(), |(_, name)| name);
    let lost = if *lost { " LOST" } else { "" };
    format!("{program}{lost} {}", ago(*seconds_ago))
}

fn ago(seconds: Option<f64>) -> String {
    seconds.map_or_else(
        || "never".to_owned(),
        |seconds| format!("{} ago", span(seconds as u64)),
    )
}

fn total(lost: &BTreeMap<String, u64>) -> u64 {
    lost.values()
        .fold(0, |sum, count| sum.saturating_add(*count))
}

fn causes(lost: &BTreeMap<String, u64>) -> String {
    let causes: Vec<String> = lost
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(cause, count)| format!("{cause} {count}"))
        .collect();
    if causes.is_empty() {
        String::new()
    } else {
        format!("  ({})", causes.join(", "))
    }
}

/// Powers of 1024, one digit of fraction.
pub fn bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..=59 => format!("{seconds} s"),
        60..=3599 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
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
}
