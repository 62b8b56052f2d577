//! Orders that come down a stream, and their outcomes.
//!
//! Invariants: an order is applied whole, or refused with the reason and changes nothing; one that this
//! sensor does not know is refused as such.

use skep_proto::v1::{Order, Outcome, SetLogLevel, order::Body, outcome::Kind};

use crate::{
    log_level::Level,
    settings::{By, Change, Handle, Refused},
};

/// Outcomes that wait to go up; a collector that has more orders under way is at fault.
pub(super) const MOST: usize = 16;

/// Follows an order, or says why not.
pub(super) fn follow(settings: &Handle, order: Order) -> Outcome {
    let Order { id, body } = order;
    let followed = match body {
        Some(Body::SetLogLevel(order)) => set_log_level(settings, id, &order),
        None => {
            tracing::warn!(order = id, "unknown order refused");
            return refused(id, "unknown order".to_owned());
        }
    };
    match followed {
        Ok(()) => {
            tracing::info!(order = id, "order of the collector applied");
            Outcome {
                id,
                kind: Kind::Applied.into(),
                reason: String::new(),
            }
        }
        Err(reason) => {
            tracing::warn!(order = id, %reason, "order of the collector refused");
            refused(id, reason.to_string())
        }
    }
}

fn set_log_level(settings: &Handle, id: u64, order: &SetLogLevel) -> Result<(), Refused> {
    let level: Level = order.level.parse()?;
    let by = By::Order { id: id.to_string() };
    settings.apply(Change::LogLevel(level), by)
}

fn refused(id: u64, reason: String) -> Outcome {
    Outcome {
        id,
        kind: Kind::Refused.into(),
        reason,
    }
}
