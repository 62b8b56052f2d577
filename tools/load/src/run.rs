//! A load: so many sensors, from the first batch to the last acknowledgement, and its report.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use skep_proto::v1;
use tokio::sync::{Semaphore, watch};

use crate::{
    batch::{BATCH_EVENTS, Batch},
    figures::Figures,
    simulate::{Machine, Span},
    spool::Spool,
    tally::Tally,
    uplink::{self, CONNECTING, Sensor, Shared},
    world::World,
};

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;
/// Events that are made at most when their number is not given.
const UNBOUNDED: u64 = u64::MAX / 2;
/// Events a second, when it has to be guessed for how long they will last.
const GUESSED_RATE: u64 = 300_000;

/// How long a load that was prepared waits until all its streams are welcomed.
const CONNECTED_WITHIN: Duration = Duration::from_secs(120);

/// What to send, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// `http://HOST:PORT`
    pub server: String,
    pub sensors: u32,
    /// Of all sensors together; without it, until the time is up.
    pub events: Option<u64>,
    pub seconds: Option<f64>,
    /// Events a second, of all sensors together.
    pub rate: Option<u64>,
    /// Events in a batch, at most.
    pub batch: usize,
    /// Connect and say hello, and nothing else.
    pub idle: bool,
    pub seed: u64,
    /// Days over which the times of events are spread; 0 is as it comes, a day at most.
    pub days: u64,
    /// When the last event is to be, Unix seconds. The same seed and time give the same bytes.
    pub until: u64,
    /// Findings and what says how much to believe in a lane of their own, as a sensor does.
    pub lanes: bool,
    /// Make all batches before the first is sent, so that making them costs nothing meanwhile.
    pub prepare: bool,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub sensors: u32,
    pub events: u64,
    pub batches: u64,
    pub seconds: f64,
    pub events_per_second: f64,
    pub batches_per_second: f64,
    /// Of the events, encoded; and of the frames on the wire.
    pub raw_bytes: u64,
    pub frame_bytes: u64,
    pub prepare_seconds: f64,
    /// From sending a batch to its acknowledgement, microseconds.
    pub ack_p50_micros: u64,
    pub ack_p99_micros: u64,
    pub ack_max_micros: u64,
    pub most_streams: u64,
    /// How streams ended other than by being done.
    pub ends: BTreeMap<String, u64>,
    pub broken: Vec<String>,
    /// Of all that was acknowledged.
    pub classes: Tally,
}

/// What was acknowledged of one lane of one sensor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Source {
    pub sensor_id: String,
    pub lane: String,
    pub epoch: u64,
    pub acked_seq: u64,
    pub classes: Tally,
}

/// What was acknowledged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Account {
    pub seed: u64,
    pub sources: Vec<Source>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{server} is not an address; it looks like http://127.0.0.1:7317")]
    Address { server: String },
    #[error("cannot make batches: {0}")]
    Make(#[from] io::Error),
    #[error("neither a number of events nor a time: give one")]
    Endless,
    #[error("batches made beforehand need a number of events")]
    PrepareWithoutEvents,
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            server: "http://127.0.0.1:7317".to_owned(),
            sensors: 1,
            events: None,
            seconds: None,
            rate: None,
            batch: BATCH_EVENTS,
            idle: false,
            seed: 1,
            days: 0,
            until: 1_763_640_000,
            lanes: true,
            prepare: false,
        }
    }
}

impl Options {
    /// How many events sensor `number` makes.
    fn events_of(&self, number: u64) -> u64 {
        let sensors = u64::from(self.sensors);
        match self.events {
            _ if self.idle => 0,
            Some(events) => events / sensors + u64::from(number < events % sensors),
            None => UNBOUNDED,
        }
    }

    fn machine(&self, world: &Arc<World>, number: u64) -> Machine {
        let events = match (self.events, self.seconds) {
            (Some(_), _) => self.events_of(number),
            (None, seconds) => {
                let rate = self.rate.unwrap_or(GUESSED_RATE) / u64::from(self.sensors);
                rate.saturating_mul(seconds.unwrap_or(60.0) as u64)
            }
        };
        let end = self.until.saturating_mul(SECOND);
        let length = if self.days == 0 {
            // One and a half seconds an event is what the agents of a machine do by themselves.
            events
                .saturating_mul(SECOND * 3 / 4)
                .clamp(60 * SECOND, DAY)
        } else {
            self.days.saturating_mul(DAY)
        };
        let span = Span {
            begin: end.saturating_sub(length),
            end,
            events,
        };
        Machine::new(world, self.seed, number, span)
    }

    fn spool(&self, world: &Arc<World>, number: u64) -> io::Result<Spool> {
        let both = [v1::Lane::Unspecified, v1::Lane::Findings];
        let lanes = if self.lanes { &both[..] } else { &both[..1] };
        let epoch = self.until.saturating_mul(SECOND) + 2 * number;
        let per_batch = match self.rate {
            // As a sensor does: what came within a fifth of a second.
            Some(rate) => {
                let gathered = rate / u64::from(self.sensors) / 5;
                self.batch
                    .min(usize::try_from(gathered).unwrap_or(usize::MAX))
                    .max(1)
            }
            None => self.batch,
        };
        let machine = self.machine(world, number);
        Spool::new(machine, epoch, lanes, self.events_of(number), per_batch)
    }

    fn pace(&self) -> Duration {
        let Some(rate) = self.rate else {
            return Duration::ZERO;
        };
        let of_one = (rate as f64 / f64::from(self.sensors)).max(1e-3);
        let gathered = (of_one / 5.0).floor().max(1.0).min(self.batch as f64);
        Duration::from_secs_f64(gathered / of_one)
    }
}

/// Runs a load until everything is acknowledged, the time is up, or `stop` becomes true.
/// `ready` is called once when all streams are welcomed.
pub async fn run(
    options: &Options,
    mut stop: watch::Receiver<bool>,
    ready: impl FnOnce(),
) -> Result<(Report, Account), LoadError> {
    if options.events.is_none() && options.seconds.is_none() {
        return Err(LoadError::Endless);
    }
    if options.prepare && options.events.is_none() && !options.idle {
        return Err(LoadError::PrepareWithoutEvents);
    }
    let endpoint = uplink::endpoint(&options.server).map_err(|_| LoadError::Address {
        server: options.server.clone(),
    })?;
    let preparing = Instant::now();
    let spools = spools(options)?;
    let prepare_seconds = preparing.elapsed().as_secs_f64();
    let (end, ended) = watch::channel(false);
    // What is measured begins when all are connected.
    let (start, started) = watch::channel(!options.prepare);
    let shared = Arc::new(Shared {
        endpoint,
        figures: Mutex::default(),
        connecting: Semaphore::new(CONNECTING),
        stop: ended,
        go: started,
        idle: options.idle,
        pace: options.pace(),
    });
    let sensors: Vec<_> = spools
        .into_iter()
        .map(|spool| Arc::new(Sensor::new(Arc::clone(&shared), spool)))
        .collect();
    let mut begun = Instant::now();
    let tasks: Vec<_> = sensors
        .iter()
        .map(|sensor| tokio::spawn(Arc::clone(sensor).run()))
        .collect();
    let all = async {
        for task in tasks {
            // It panics on a bug only, which the panic has told.
            let _ = task.await;
        }
    };
    let limit = options
        .seconds
        .map(|seconds| begun + Duration::from_secs_f64(seconds));
    let streams = u64::from(options.sensors) * if options.lanes { 2 } else { 1 };
    let conduct = async {
        while shared.figures(|figures| figures.connected) < streams {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
            if limit.is_some_and(|limit| limit <= Instant::now()) {
                break;
            }
            if options.prepare && begun.elapsed() > CONNECTED_WITHIN {
                shared.figures(|figures| {
                    let connected = figures.connected;
                    figures.broken.push(format!(
                        "only {connected} of {streams} streams were welcomed within {CONNECTED_WITHIN:?}"
                    ));
                });
                let _ = end.send(true);
                break;
            }
        }
        ready();
        // Nobody listens: all have ended.
        let _ = start.send(true);
        shared.figures(|figures| figures.begun = Some(Instant::now()));
        let up = async {
            match limit {
                Some(limit) => tokio::time::sleep_until(limit.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = up => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        // Nobody listens: all are done.
        let _ = end.send(true);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = all => {}
        () = conduct => {}
    }
    if options.prepare {
        begun = shared.figures(|figures| figures.begun).unwrap_or(begun);
    }
    Ok(report(options, &shared, &sensors, begun, prepare_seconds))
}

/// All batches of a load, sensor after sensor, lane after lane.
pub fn prepared(options: &Options) -> io::Result<Vec<Batch>> {
    let options = Options {
        prepare: true,
        ..options.clone()
    };
    let mut batches = Vec::new();
    for mut spool in spools(&options)? {
        for lane in 0..spool.lanes().len() {
            let lane = spool.lane(lane);
            batches.extend(std::iter::from_fn(|| lane.next()));
        }
    }
    Ok(batches)
}

/// The sensors' spools, filled if that is wanted: two threads, since most of it is compression.
fn spools(options: &Options) -> io::Result<Vec<Spool>> {
    let world = Arc::new(World::new(options.seed));
    let make = |number: u64| {
        let mut spool = options.spool(&world, number)?;
        while options.prepare && !spool.is_made() {
            spool.make()?;
        }
        Ok(spool)
    };
    let sensors = u64::from(options.sensors);
    std::thread::scope(|scope| {
        let half = sensors / 2;
        let first = scope.spawn(move || (0..half).map(make).collect::<io::Result<Vec<_>>>());
        let second = (half..sensors).map(make).collect::<io::Result<Vec<_>>>()?;
        let mut spools = first
            .join()
            .map_err(|_| io::Error::other("making batches panicked"))??;
        spools.extend(second);
        Ok(spools)
    })
}

fn report(
    options: &Options,
    shared: &Shared,
    sensors: &[Arc<Sensor>],
    begun: Instant,
    prepare_seconds: f64,
) -> (Report, Account) {
    let mut classes = Tally::default();
    let mut sources = Vec::new();
    for sensor in sensors {
        sensor.with_spool(|spool| {
            for lane in spool.lanes() {
                classes.add(lane.tally());
                let name = match lane.lane {
                    v1::Lane::Unspecified => "bulk",
                    v1::Lane::Findings => "findings",
                };
                sources.push(Source {
                    sensor_id: spool.identity.sensor_id.clone(),
                    lane: name.to_owned(),
                    epoch: lane.epoch,
                    acked_seq: lane.acked(),
                    classes: lane.tally().clone(),
                });
            }
        });
    }
    let account = Account {
        seed: options.seed,
        sources,
    };
    let report = shared.figures(|figures| {
        let Figures {
            latency,
            batches,
            raw_bytes,
            frame_bytes,
            most_connected,
            ends,
            broken,
            last_ack,
            ..
        } = figures;
        let seconds = (last_ack.unwrap_or_else(Instant::now) - begun)
            .as_secs_f64()
            .max(1e-9);
        Report {
            sensors: options.sensors,
            events: classes.rows(),
            batches: *batches,
            seconds,
            events_per_second: classes.rows() as f64 / seconds,
            batches_per_second: *batches as f64 / seconds,
            raw_bytes: *raw_bytes,
            frame_bytes: *frame_bytes,
            prepare_seconds,
            ack_p50_micros: latency.quantile(500),
            ack_p99_micros: latency.quantile(990),
            ack_max_micros: latency.largest(),
            most_streams: *most_connected,
            ends: ends.clone(),
            broken: broken.clone(),
            classes: classes.clone(),
        }
    });
    (report, account)
}
