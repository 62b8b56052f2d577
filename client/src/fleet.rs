//! Orders to sensors, given through the collector.
//!
//! Bound: an order is answered within [`ANSWER_WITHIN`], or its outcome is not known.

use std::time::Duration;

use clap::ValueEnum;
use skep_proto::v1::{GiveAnswer, GiveRequest, Order, SetLogLevel, order::Body};
use tonic::{Code, Request};

use crate::{
    connection::{Client, failed},
    error::ClientError,
};

/// More than the collector waits for a record and for the sensor.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// How much a sensor logs, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

// === impl Level ===

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

// === impl Client ===

impl Client {
    /// Has a sensor, named by its id or the first digits of it, log at a level until it is started again.
    /// Who it was, in words.
    pub async fn set_log_level(
        &mut self,
        sensor: &str,
        level: Level,
    ) -> Result<String, ClientError> {
        let order = SetLogLevel {
            level: level.name().to_owned(),
        };
        let mut request = Request::new(GiveRequest {
            sensor: sensor.to_owned(),
            order: Some(Order {
                id: 0,
                body: Some(Body::SetLogLevel(order)),
            }),
            user: user(),
        });
        request.set_timeout(ANSWER_WITHIN);
        let answer = self.fleet.give(request).await.map_err(|status| {
            // A collector of before has no such service.
            match (status.code(), status.message().is_empty()) {
                (Code::Unimplemented, true) => ClientError::NoOrders {
                    server: self.server.clone(),
                },
                _ => failed(&self.server, status),
            }
        })?;
        let GiveAnswer { sensor_id, host } = answer.into_inner();
        Ok(match host {
            Some(host) => format!("{sensor_id} ({host})"),
            None => sensor_id,
        })
    }
}

/// The name under which the user is logged in; empty when the environment has none.
fn user() -> String {
    let name = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    name.unwrap_or_default()
}
