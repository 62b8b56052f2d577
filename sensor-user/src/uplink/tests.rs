//! The uplink against a collector on a real socket.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    sync::{Mutex, mpsc},
};

use prost::Message;
use skep_proto::v1::{
    collector_message::Body as Down,
    ingest_server::{Ingest, IngestServer},
    sensor_message::Body as Up,
};
use tokio::sync::oneshot;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, codec::CompressionEncoding};

use super::*;

const QUICK: Timing = Timing {
    first_backoff: Duration::from_millis(10),
    last_backoff: Duration::from_millis(50),
    answer: Duration::from_secs(5),
    gather: Duration::from_millis(5),
    stall: Duration::from_secs(5),
};

/// What the collector has stored, by epoch, and how it behaves.
#[derive(Default)]
struct Store {
    events: BTreeMap<u64, Vec<v1::Event>>,
    hellos: Vec<v1::Hello>,
    refusals: u64,
    /// Refuse every stream at its start.
    closed: bool,
    /// Refuse a batch with a file of this path.
    poison: Option<String>,
    /// End the stream, unacknowledged, after storing a batch, this many times.
    break_after_store: u32,
    /// Largest batch seen.
    largest: usize,
}

struct Fake {
    store: Arc<Mutex<Store>>,
}

type Answer = Result<v1::CollectorMessage, Status>;

fn down(body: Down) -> Answer {
    Ok(v1::CollectorMessage { body: Some(body) })
}

fn refusal(code: &str) -> Answer {
    down(Down::Refusal(v1::Refusal {
        code: code.into(),
        reason: "because".into(),
    }))
}

#[tonic::async_trait]
impl Ingest for Fake {
    type StreamStream = ReceiverStream<Answer>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::SensorMessage>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        assert_eq!(request.metadata().get("grpc-encoding").unwrap(), "zstd");
        let mut up = request.into_inner();
        let store = Arc::clone(&self.store);
        let (answers, stream) = tokio::sync::mpsc::channel(4);
        tokio::spawn(async move {
            let mut epoch = 0;
            while let Ok(Some(message)) = up.message().await {
                let answer = match message.body.unwrap() {
                    Up::Hello(hello) => {
                        epoch = hello.epoch;
                        let mut store = store.lock().unwrap();
                        store.hellos.push(hello);
                        let acked_seq = store.events.entry(epoch).or_default().len() as u64;
                        match store.closed {
                            true => refusal("internal"),
                            false => down(Down::Welcome(v1::Welcome {
                                acked_seq,
                                acked_crc32: None,
                            })),
                        }
                    }
                    Up::Batch(batch) => {
                        let batch = v1::Batch::decode(batch).unwrap();
                        match store.lock().unwrap().take(epoch, batch) {
                            Some(answer) => answer,
                            None => return,
                        }
                    }
                };
                let refused = matches!(&answer, Ok(m) if matches!(m.body, Some(Down::Refusal(_))));
                if answers.send(answer).await.is_err() || refused {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Store {
    fn take(&mut self, epoch: u64, batch: v1::Batch) -> Option<Answer> {
        self.largest = self.largest.max(batch.events.len());
        let poisoned = |event: &v1::Event| match &event.detail {
            Some(v1::event::Detail::Open(file)) => {
                file.path == self.poison && self.poison.is_some()
            }
            _ => false,
        };
        if batch.events.iter().any(poisoned) {
            self.refusals += 1;
            return Some(refusal("malformed"));
        }
        let events = self.events.entry(epoch).or_default();
        if batch.first_seq != events.len() as u64 + 1 {
            self.refusals += 1;
            return Some(refusal("sequence_gap"));
        }
        events.extend(batch.events);
        let seq = events.len() as u64;
        if self.break_after_store > 0 {
            self.break_after_store -= 1;
            return None;
        }
        Some(down(Down::Ack(v1::Ack { seq })))
    }
}

/// A collector that can be stopped and started again on the same port.
struct Collector {
    store: Arc<Mutex<Store>>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    fn start(store: Arc<Mutex<Store>>, port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, started) = mpsc::channel();
        let served = Arc::clone(&store);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let incoming = tonic::transport::server::TcpIncoming::from(listener);
                let service = IngestServer::new(Fake { store: served })
                    .accept_compressed(CompressionEncoding::Zstd)
                    .send_compressed(CompressionEncoding::Zstd)
                    .max_decoding_message_size(skep_proto::MAX_MESSAGE_BYTES);
                let server = tonic::transport::Server::builder()
                    .add_service(service)
                    .serve_with_incoming(incoming);
                ready.send(()).unwrap();
                tokio::select! {
                    result = server => result.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        started.recv().unwrap();
        Self {
            store,
            address,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn events(&self) -> Vec<v1::Event> {
        self.store
            .lock()
            .unwrap()
            .events
            .values()
            .flatten()
            .cloned()
            .collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.thread.take().unwrap().join().unwrap();
    }
}

fn settings(port: u16) -> Settings {
    Settings {
        address: format!("http://127.0.0.1:{port}"),
        sensor_id: "0".repeat(32),
        sensor_version: "0.1.0".into(),
        host: v1::Host {
            hostname: "h".into(),
            ..v1::Host::default()
        },
        hooks: vec![v1::HookState {
            fact: "exec".into(),
            ..v1::HookState::default()
        }],
    }
}

fn event(number: u64) -> v1::Event {
    let file = v1::File {
        path: Some(format!("/{number}")),
        count: 1,
        ..v1::File::default()
    };
    v1::Event {
        time_unix_nano: number,
        detail: Some(v1::event::Detail::Open(file)),
        ..v1::Event::default()
    }
}

struct Sensor {
    _dir: tempfile::TempDir,
    spool: Spool,
    board: StatusBoard,
    uplink: Option<Uplink>,
}

impl Sensor {
    fn new(port: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path(), 1 << 20);
        let mut sensor = Self {
            _dir: dir,
            spool,
            board: StatusBoard::new("0.1.0"),
            uplink: None,
        };
        sensor.connect(port);
        sensor
    }

    fn connect(&mut self, port: u16) {
        self.uplink = None;
        let (spool, board) = (self.spool.clone(), self.board.clone());
        self.uplink = Some(Uplink::with_timing(settings(port), spool, board, QUICK).unwrap());
    }

    fn append(&self, numbers: std::ops::RangeInclusive<u64>) {
        for number in numbers {
            self.spool.append(&event(number));
        }
    }

    /// Waits, without a limit of its own, until everything is acknowledged.
    fn settle(&self) {
        self.wait(|sensor| sensor.spool.stats().records == 0);
    }

    fn wait(&self, until: impl Fn(&Self) -> bool) {
        while !until(self) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn numbers(events: &[v1::Event]) -> Vec<u64> {
    events.iter().map(|event| event.time_unix_nano).collect()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[test]
fn events_arrive_once_and_in_order_and_status_says_so() {
    let collector = Collector::start(Arc::default(), 0);
    let sensor = Sensor::new(collector.address.port());
    sensor.append(1..=1000);
    sensor.settle();
    assert_eq!(numbers(&collector.events()), (1..=1000).collect::<Vec<_>>());
    sensor.wait(|sensor| sensor.board.snapshot().uplink.acked_events == 1000);
    let uplink = sensor.board.snapshot().uplink;
    assert!(
        uplink.connected && uplink.last_ack_seconds_ago.is_some(),
        "{uplink:?}"
    );
    assert_eq!((uplink.sent_events, uplink.last_error), (1000, None));
    let hello = collector.store.lock().unwrap().hellos[0].clone();
    assert_eq!(
        (hello.sensor_id.len(), hello.hooks[0].fact.as_str()),
        (32, "exec")
    );
}

#[test]
fn the_sensor_catches_up_after_the_collector_was_away() {
    let port = free_port();
    let sensor = Sensor::new(port);
    sensor.append(1..=10);
    sensor.wait(|sensor| sensor.board.snapshot().uplink.last_error.is_some());
    let collector = Collector::start(Arc::default(), port);
    sensor.settle();
    let store = Arc::clone(&collector.store);
    drop(collector);
    sensor.append(11..=20);
    sensor.wait(|sensor| !sensor.board.snapshot().uplink.connected);
    let collector = Collector::start(store, port);
    sensor.settle();
    assert_eq!(numbers(&collector.events()), (1..=20).collect::<Vec<_>>());
    assert_eq!(collector.store.lock().unwrap().events.len(), 1);
}

#[test]
fn what_was_stored_but_not_acknowledged_is_not_stored_twice() {
    let store = Arc::new(Mutex::new(Store {
        break_after_store: 3,
        ..Store::default()
    }));
    let collector = Collector::start(store, 0);
    let sensor = Sensor::new(collector.address.port());
    for number in 1..=5 {
        sensor.append(number..=number);
        sensor.settle();
    }
    assert_eq!(numbers(&collector.events()), (1..=5).collect::<Vec<_>>());
    assert_eq!(collector.store.lock().unwrap().hellos.len(), 4);
}

#[test]
fn a_restarted_sensor_goes_on_where_it_was() {
    let collector = Collector::start(Arc::default(), 0);
    let mut sensor = Sensor::new(collector.address.port());
    sensor.append(1..=5);
    sensor.settle();
    sensor.connect(collector.address.port());
    sensor.append(6..=9);
    sensor.settle();
    assert_eq!(numbers(&collector.events()), (1..=9).collect::<Vec<_>>());
    assert_eq!(collector.store.lock().unwrap().events.len(), 1);
}

#[test]
fn a_refusal_is_said_and_tried_again() {
    let store = Arc::new(Mutex::new(Store {
        closed: true,
        ..Store::default()
    }));
    let collector = Collector::start(store, 0);
    let sensor = Sensor::new(collector.address.port());
    sensor.append(1..=3);
    let said = |sensor: &Sensor| sensor.board.snapshot().uplink.last_error;
    sensor.wait(|sensor| said(sensor).is_some());
    assert_eq!(
        said(&sensor).unwrap(),
        "refused by the collector: internal: because"
    );
    collector.store.lock().unwrap().closed = false;
    sensor.settle();
    assert_eq!(numbers(&collector.events()), [1, 2, 3]);
}

#[test]
fn an_event_the_collector_never_takes_does_not_hold_up_the_others() {
    let store = Arc::new(Mutex::new(Store {
        poison: Some("/2".into()),
        ..Store::default()
    }));
    let collector = Collector::start(store, 0);
    let sensor = Sensor::new(collector.address.port());
    sensor.append(1..=4);
    sensor.settle();
    let events = collector.events();
    assert_eq!(numbers(&events), [1, 2, 3, 4]);
    let Some(v1::event::Detail::Lost(lost)) = &events[1].detail else {
        panic!("{events:?}")
    };
    assert_eq!(
        (lost.hop.as_str(), lost.cause.as_str(), lost.count),
        ("uplink", "refused", 1)
    );
    sensor.append(5..=400);
    sensor.settle();
    assert!(collector.store.lock().unwrap().largest > 1);
}

#[test]
fn a_collector_that_lost_its_data_gets_a_new_epoch() {
    let port = free_port();
    let sensor = Sensor::new(port);
    let collector = Collector::start(Arc::default(), port);
    sensor.append(1..=5);
    sensor.settle();
    drop(collector);
    let collector = Collector::start(Arc::default(), port);
    sensor.append(6..=8);
    sensor.settle();
    assert_eq!(numbers(&collector.events()), [6, 7, 8]);
}

#[test]
fn stopping_sends_what_is_left() {
    let collector = Collector::start(Arc::default(), 0);
    let mut sensor = Sensor::new(collector.address.port());
    sensor.append(1..=100);
    sensor.uplink.take().unwrap().stop(Duration::from_secs(60));
    assert_eq!(collector.events().len(), 100);
    assert_eq!(sensor.spool.stats().records, 0);
}

#[test]
fn stopping_without_a_collector_does_not_wait_for_one() {
    let mut sensor = Sensor::new(free_port());
    sensor.append(1..=3);
    sensor.wait(|sensor| sensor.board.snapshot().uplink.last_error.is_some());
    sensor
        .uplink
        .take()
        .unwrap()
        .stop(Duration::from_secs(3600));
    assert_eq!(sensor.spool.stats().records, 3);
}
