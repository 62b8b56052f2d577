//! The page `skep-sensor status` shows to people.

use std::{collections::BTreeMap, fmt::Write};

use skep_human::terminal::plain;
use skep_spool::Stats;

use super::{
    Canary, Folds, Hook, HookCanary, HookStatus, Inspector, KernelCounters, ShownSetting, Spools,
    Status, Stream, Tracker, Uplink,
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
        inspector,
        events,
        spool,
        uplink,
        settings,
        steps: _,
    } = status;
    let memory = rss_bytes.map_or_else(|| "unknown".to_owned(), bytes);
    writeln!(
        out,
        "skep-sensor {}, pid {pid}, up {}, memory {memory}",
        plain(version),
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
            "  {:<13} {word:<9} {}",
            plain(fact),
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
            "  {:<9} {sent:>10}   {read:>10}   {folded:>10}   {:>10}",
            plain(record),
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
    if [refused, unjudged, evicted].iter().any(|count| **count > 0) {
        writeln!(
            out,
            "                  {refused} refused and {evicted} let go by full tables, \
             {unjudged} programs that could not be judged"
        )?;
    }
    write_inspector(out, inspector)?;
    if let Some(error) = journal_error {
        writeln!(out, "  the journal cannot be written: {}", plain(error))?;
    }
    if !events.is_empty() {
        let list: Vec<String> = events
            .iter()
            .map(|(class, count)| format!("{count} {}", plain(class)))
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
            "log               {}{}",
            plain(value),
            set_by(settings, "log.level")
        )?;
    }
    Ok(())
}

fn write_inspector(out: &mut String, inspector: &Inspector) -> std::fmt::Result {
    let Inspector {
        pid,
        rss_bytes,
        workers,
        asked,
        late,
        over_budget,
        unreadable,
        failed,
        replaced,
    } = inspector;
    let process = match pid {
        Some(pid) => format!("pid {pid}"),
        None => "not there".to_owned(),
    };
    let memory = rss_bytes.map_or_else(|| "unknown".to_owned(), bytes);
    writeln!(
        out,
        "inspector         {process}, memory {memory}, {workers} at work, {asked} questions"
    )?;
    if [late, over_budget, unreadable, failed, replaced]
        .iter()
        .any(|count| **count > 0)
    {
        writeln!(
            out,
            "                  {late} late, {over_budget} over budget, {unreadable} unreadable, \
             {failed} failed; replaced {replaced} times"
        )?;
    }
    Ok(())
}

/// Who set what is shown, where that is known.
fn set_by(settings: &BTreeMap<String, ShownSetting>, key: &str) -> String {
    settings
        .get(key)
        .map_or_else(String::new, |setting| format!(" ({})", plain(&setting.by)))
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
        .map(|(cause, count)| format!("{} {count}", plain(cause)))
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
mod tests;
