//! Orders on their way to sensors, and what becomes of them.
//!
//! A stream that takes orders is registered when it is welcomed; an order goes straight to what goes
//! down that stream, and so waits for no event. Invariants:
//! - only a stream whose hello said that it takes orders gets any;
//! - an order has one outcome: what the sensor answered, or why there is no answer; an answer that comes
//!   later, or to no order, is passed over;
//! - whoever does not wait any more leaves nothing behind.
//!
//! Bounds: [`MOST`] orders that wait for the answer of one stream; each waits for a limited time, and so
//! does its way down when the peer does not read.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use skep_proto::v1::{
    CollectorMessage, Order, Outcome, collector_message::Body as Down, order::Body, outcome::Kind,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tonic::Status;

/// How long a sensor may take for its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Orders that wait for the answer of one stream.
const MOST: usize = 16;

/// What goes down a stream.
pub type Replies = mpsc::Sender<Result<CollectorMessage, Status>>;

/// The streams of all sensors, as far as orders are concerned.
#[derive(Debug)]
pub struct Orders {
    /// Number of the next stream, and id of the next order.
    next: AtomicU64,
    within: Duration,
    /// By sensor id, the newest stream last.
    lines: Mutex<HashMap<String, Vec<Line>>>,
}

#[derive(Debug)]
struct Line {
    number: u64,
    /// `None`: it takes no orders.
    down: Option<Replies>,
    waiting: HashMap<u64, oneshot::Sender<Outcome>>,
}

/// A stream that is registered; until it is dropped.
#[derive(Debug)]
pub struct Connected {
    orders: Arc<Orders>,
    sensor_id: String,
    number: u64,
}

/// Why an order is not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    #[error("it is not connected to this collector now")]
    NotConnected,
    #[error("it takes no orders: update the sensor, which is too old for them")]
    TooOld,
    #[error("{limit} orders wait for its answer already")]
    Busy { limit: usize },
    #[error("it refused: {reason}")]
    Refused { reason: String },
    #[error("its stream ended before it answered; whether it has applied the order is not known")]
    Gone,
    #[error(
        "it has not answered within {} s, and may still apply the order", .within.as_secs_f32()
    )]
    NoAnswer { within: Duration },
}

/// An order that waits for its answer; dropped, it does not any more.
struct Waiting<'a> {
    orders: &'a Orders,
    sensor_id: &'a str,
    number: u64,
    id: u64,
}

// === impl Orders ===

impl Default for Orders {
    fn default() -> Self {
        Self::within(ANSWER_WITHIN)
    }
}

impl Orders {
    fn within(within: Duration) -> Self {
        Self {
            next: AtomicU64::new(1),
            within,
            lines: Mutex::default(),
        }
    }

    /// Registers a stream; `down` when it takes orders.
    pub fn connect(self: &Arc<Self>, sensor_id: &str, down: Option<Replies>) -> Connected {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let line = Line {
            number,
            down,
            waiting: HashMap::new(),
        };
        self.lines()
            .entry(sensor_id.to_owned())
            .or_default()
            .push(line);
        Connected {
            orders: Arc::clone(self),
            sensor_id: sensor_id.to_owned(),
            number,
        }
    }

    /// Gives an order to a sensor; returns once it has applied it.
    ///
    /// # Errors
    ///
    /// See [`OrderError`]; the sensor has not applied the order unless it says that it may have.
    pub async fn give(&self, sensor_id: &str, body: Body) -> Result<(), OrderError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, mut answered) = oneshot::channel();
        let (number, down) = {
            let mut lines = self.lines();
            let lines = lines.get_mut(sensor_id).ok_or(OrderError::NotConnected)?;
            let line = lines.iter_mut().rev().find(|line| line.down.is_some());
            let line = line.ok_or(OrderError::TooOld)?;
            if line.waiting.len() >= MOST {
                return Err(OrderError::Busy { limit: MOST });
            }
            line.waiting.insert(id, answer);
            (line.number, line.down.clone().ok_or(OrderError::TooOld)?)
        };
        let _waiting = Waiting {
            orders: self,
            sensor_id,
            number,
            id,
        };
        let order = Order {
            id,
            body: Some(body),
        };
        let message = CollectorMessage {
            body: Some(Down::Order(order)),
        };
        let outcome = async {
            tokio::select! {
                sent = down.send(Ok(message)) => sent.map_err(|_| OrderError::NotConnected)?,
                // Its stream has ended before the order was on its way.
                _ = &mut answered => return Err(OrderError::NotConnected),
            }
            drop(down);
            answered.await.map_err(|_| OrderError::Gone)
        };
        let within = self.within;
        let outcome = timeout(within, outcome).await;
        let outcome = outcome.unwrap_or(Err(OrderError::NoAnswer { within }))?;
        match outcome.kind() {
            Kind::Applied => Ok(()),
            Kind::Refused | Kind::Unspecified => Err(OrderError::Refused {
                reason: outcome.reason,
            }),
        }
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<String, Vec<Line>>> {
        self.lines.lock().expect("no holder of the lines panics")
    }
}

// === impl Connected ===

impl Connected {
    /// What the sensor answered on this stream.
    pub fn answered(&self, outcome: Outcome) {
        let mut lines = self.orders.lines();
        let lines = lines.get_mut(&self.sensor_id);
        let line = lines
            .into_iter()
            .flatten()
            .find(|line| line.number == self.number);
        if let Some(answer) = line.and_then(|line| line.waiting.remove(&outcome.id)) {
            // Nobody waits any more: as good.
            let _ = answer.send(outcome);
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut all = self.orders.lines();
        if let Some(lines) = all.get_mut(&self.sensor_id) {
            lines.retain(|line| line.number != self.number);
            if lines.is_empty() {
                all.remove(&self.sensor_id);
            }
        }
    }
}

// === impl Waiting ===

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut lines = self.orders.lines();
        let lines = lines.get_mut(self.sensor_id).into_iter().flatten();
        for line in lines.filter(|line| line.number == self.number) {
            line.waiting.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::SetLogLevel;

    use super::*;

    const SENSOR: &str = "0123456789abcdef0123456789abcdef";

    fn body() -> Body {
        Body::SetLogLevel(SetLogLevel {
            level: "debug".to_owned(),
        })
    }

    fn id(message: Option<Result<CollectorMessage, Status>>) -> u64 {
        match message.unwrap().unwrap().body {
            Some(Down::Order(order)) => order.id,
            other => panic!("no order but {other:?}"),
        }
    }

    fn outcome(id: u64, kind: Kind) -> Outcome {
        Outcome {
            id,
            kind: kind.into(),
            reason: "because".to_owned(),
        }
    }

    #[tokio::test]
    async fn each_order_gets_the_answer_to_it_and_no_other() {
        let orders = Arc::new(Orders::default());
        let (down, mut heard) = mpsc::channel(4);
        let sensor = orders.connect(SENSOR, Some(down));
        let answers = async {
            let (one, two) = (id(heard.recv().await), id(heard.recv().await));
            sensor.answered(outcome(one + two + 1, Kind::Applied));
            sensor.answered(outcome(two, Kind::Applied));
            sensor.answered(outcome(one, Kind::Refused));
            sensor.answered(outcome(one, Kind::Applied));
        };
        let (one, two, ()) = tokio::join!(
            orders.give(SENSOR, body()),
            orders.give(SENSOR, body()),
            answers
        );
        let reason = "because".to_owned();
        assert_eq!((one, two), (Err(OrderError::Refused { reason }), Ok(())));
    }

    #[tokio::test]
    async fn who_is_not_there_or_takes_no_orders_gets_none() {
        let orders = Arc::new(Orders::default());
        let given = orders.give(SENSOR, body()).await;
        assert_eq!(given, Err(OrderError::NotConnected));
        let old = orders.connect(SENSOR, None);
        assert_eq!(orders.give(SENSOR, body()).await, Err(OrderError::TooOld));
        drop(old);
        assert!(orders.lines().is_empty());
        let (down, heard) = mpsc::channel(1);
        let _sensor = orders.connect(SENSOR, Some(down));
        drop(heard);
        let given = orders.give(SENSOR, body()).await;
        assert_eq!(given, Err(OrderError::NotConnected));
    }

    #[tokio::test]
    async fn an_order_without_an_answer_ends_in_time_and_leaves_nothing_behind() {
        let within = Duration::from_millis(20);
        let orders = Arc::new(Orders::within(within));
        let (down, mut heard) = mpsc::channel(MOST + 1);
        let sensor = orders.connect(SENSOR, Some(down));
        let none = Err(OrderError::NoAnswer { within });
        assert_eq!(orders.give(SENSOR, body()).await, none);
        assert!(orders.lines()[SENSOR][0].waiting.is_empty());
        sensor.answered(outcome(id(heard.recv().await), Kind::Applied));
        // So many at once and no more.
        let all: Vec<_> = (0..=MOST).map(|_| orders.give(SENSOR, body())).collect();
        let all = futures::future::join_all(all).await;
        let busy = all
            .iter()
            .filter(|given| matches!(given, Err(OrderError::Busy { .. })));
        assert_eq!(busy.count(), 1);
        // The stream ends while one waits.
        for _ in 0..MOST {
            heard.recv().await.unwrap().unwrap();
        }
        let ends = async {
            heard.recv().await.unwrap().unwrap();
            drop(sensor);
        };
        let (given, ()) = tokio::join!(orders.give(SENSOR, body()), ends);
        assert_eq!(given, Err(OrderError::Gone));
    }
}
