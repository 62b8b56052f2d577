//! The front end `skep.v1.Fleet`: orders for sensors.
//!
//! Invariant: no order goes to a sensor that is not in the [record](crate::audit) with who gave it, and
//! its outcome follows, whatever becomes of the client.

use std::{sync::Arc, time::Duration};

use skep_proto::v1::{GiveAnswer, GiveRequest, fleet_server::Fleet, order::Body};
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};

use crate::{
    audit::{Asked, Audit, Origin, Outcome},
    orders::{OrderError, Orders},
    store::{SensorFacts, Store},
};

/// How long an order may wait to be recorded.
const RECORDED_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of what a client says of itself, and of a sensor; more is not kept.
const MAX_TEXT: usize = 256;

/// The gRPC service.
#[derive(Clone)]
pub struct FleetService {
    store: Store,
    audit: Audit,
    orders: Arc<Orders>,
}

/// Which sensor is meant.
enum Named {
    One(SensorFacts),
    None,
    Several(Vec<String>),
}

// === impl FleetService ===

impl FleetService {
    pub fn new(store: Store, audit: Audit, orders: Arc<Orders>) -> Self {
        Self {
            store,
            audit,
            orders,
        }
    }

    fn named(&self, prefix: &str) -> Named {
        let all = self.store.sensors();
        let begins = |facts: &&SensorFacts| facts.sensor_id.starts_with(prefix);
        let found: Vec<_> = match prefix.is_empty() {
            true => Vec::new(),
            false => all.iter().filter(begins).take(4).collect(),
        };
        match &found[..] {
            [] => Named::None,
            [one] => Named::One((*one).clone()),
            several => Named::Several(several.iter().map(|f| f.sensor_id.clone()).collect()),
        }
    }

    /// Gives the order; what is recorded of it, and what is answered.
    async fn give(
        &self,
        named: Named,
        prefix: &str,
        body: Option<Body>,
    ) -> (Outcome, Result<GiveAnswer, Status>) {
        let refused = |code: Code, text: String| {
            let outcome = Outcome::Refused {
                error: text.clone(),
            };
            (outcome, Err(Status::new(code, text)))
        };
        let Some(body) = body else {
            return refused(Code::InvalidArgument, "unknown order".to_owned());
        };
        let facts = match named {
            Named::One(facts) => facts,
            Named::None => {
                let text = format!(
                    "no sensor begins with {prefix:?}; `skep hosts` lists those that said hello"
                );
                return refused(Code::NotFound, text);
            }
            Named::Several(found) => {
                let text = format!(
                    "several sensors begin with {prefix}: {} …; give more digits",
                    found.join(", ")
                );
                return refused(Code::InvalidArgument, text);
            }
        };
        match self.orders.give(&facts.sensor_id, body).await {
            Ok(()) => {
                let answer = GiveAnswer {
                    sensor_id: facts.sensor_id,
                    host: facts.hostname,
                };
                (Outcome::Applied, Ok(answer))
            }
            Err(error) => {
                let text = format!("sensor {}: {error}", facts.sensor_id);
                let code = match error {
                    OrderError::NotConnected | OrderError::Gone => Code::Unavailable,
                    OrderError::TooOld => Code::Unimplemented,
                    OrderError::Busy { .. } => Code::ResourceExhausted,
                    OrderError::Refused { .. } => Code::FailedPrecondition,
                    OrderError::NoAnswer { .. } => Code::DeadlineExceeded,
                };
                match error {
                    // Whether the sensor has applied it is not known.
                    OrderError::Gone | OrderError::NoAnswer { .. } => {
                        let outcome = Outcome::Failed {
                            error: text.clone(),
                        };
                        (outcome, Err(Status::new(code, text)))
                    }
                    _ => refused(code, text),
                }
            }
        }
    }
}

#[tonic::async_trait]
impl Fleet for FleetService {
    async fn give(&self, request: Request<GiveRequest>) -> Result<Response<GiveAnswer>, Status> {
        let peer = request.remote_addr();
        let agent = request.metadata().get("user-agent");
        let application = agent
            .and_then(|agent| agent.to_str().ok())
            .map(|agent| cut(agent.to_owned()));
        let GiveRequest {
            sensor,
            order,
            user,
        } = request.into_inner();
        let body = order.and_then(|order| order.body);
        let prefix = cut(sensor);
        let named = self.named(&prefix);
        let asked = Asked {
            text: described(body.as_ref()),
            parameters: Vec::new(),
            sensor_id: Some(match &named {
                Named::One(facts) => facts.sensor_id.clone(),
                Named::None | Named::Several(_) => prefix.clone(),
            }),
            origin: Origin {
                front_end: "grpc",
                peer,
                user: (!user.is_empty()).then(|| cut(user)),
                application,
            },
        };
        let until = Instant::now() + RECORDED_WITHIN;
        let entry = self.audit.begin(&asked, until).await.map_err(|error| {
            Status::unavailable(format!(
                "not sent, because no order may go unrecorded and {error}"
            ))
        })?;
        // A client that goes away does not keep the outcome from the record.
        let service = self.clone();
        let given = tokio::spawn(async move {
            let (outcome, answer) = service.give(named, &prefix, body).await;
            entry.end(&outcome, 0);
            answer
        });
        let answer = given
            .await
            .unwrap_or_else(|_| Err(Status::internal("giving the order panicked")));
        answer.map(Response::new)
    }
}

/// An order in words.
fn described(body: Option<&Body>) -> String {
    match body {
        Some(Body::SetLogLevel(order)) => format!("log {}", cut(order.level.clone())),
        None => "unknown order".to_owned(),
    }
}

/// At most [`MAX_TEXT`] bytes, at a character.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}
