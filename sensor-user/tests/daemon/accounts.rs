//! The accounts of a running sensor, beside whatever else runs on the machine.

use std::{collections::BTreeSet, path::Path};

use skep_proto::v1::{self, event::Detail};
use skep_sensor::status::Status;
use skep_testing::collector::Collector;

use crate::running::{status, wait_or_explain};

/// Waits until everything the kernel side sent was read, and everything it lost was told, for every
/// record type and cause. Other tests' agents go on meanwhile, so that each of these accounts has to be
/// level at some moment from now on, and not all at the same one.
pub fn level(config: &Path, collector: &Collector) -> Status {
    let mut level = BTreeSet::new();
    let mut apart = Vec::new();
    wait_or_explain(
        "every account to be level",
        || {
            let status = status(config)?;
            let accounts = accounts(&status, &collector.events());
            let is_level = |account: &&Account| account.counted == account.found;
            level.extend(accounts.iter().filter(is_level).map(|it| it.name.clone()));
            apart = accounts;
            apart.retain(|account| !level.contains(&account.name));
            apart.is_empty().then_some(status)
        },
        || format!("{:#?}", status(config)),
    )
}

#[derive(Debug)]
struct Account {
    name: String,
    counted: u64,
    found: u64,
}

/// The status was asked for before the events.
fn accounts(status: &Status, events: &[v1::Event]) -> Vec<Account> {
    let mut accounts = Vec::new();
    for (record, counters) in &status.kernel {
        accounts.push(Account {
            name: format!("{record} read"),
            counted: counters.sent,
            found: status.read.get(record).copied().unwrap_or(0),
        });
        for (cause, count) in &counters.lost {
            accounts.push(Account {
                name: format!("{record} lost, {cause}"),
                counted: *count,
                found: told(events, record, |lost| lost.cause == *cause),
            });
        }
    }
    accounts
}

/// Records of this type told to be lost in the kernel.
fn told(events: &[v1::Event], record: &str, is: impl Fn(&v1::Lost) -> bool) -> u64 {
    let losses = events.iter().filter_map(|event| match &event.detail {
        Some(Detail::Lost(lost)) if lost.hop == "kernel" && lost.record == record && is(lost) => {
            Some(lost.count)
        }
        _ => None,
    });
    losses.sum()
}

/// The same, of one session.
pub fn told_of(events: &[v1::Event], session: &str, record: &str) -> u64 {
    let of_it: Vec<_> = events
        .iter()
        .filter(|event| event.session.as_deref() == Some(session))
        .cloned()
        .collect();
    told(&of_it, record, |_| true)
}
