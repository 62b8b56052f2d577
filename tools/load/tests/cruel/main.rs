//! The load against collectors that behave badly: what it sends, and what it makes of the answers.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use prost::Message;
use skep_load::{Account, Options, Report, run, tally::Tally};
use skep_proto::v1::{
    self,
    collector_message::Body as Down,
    ingest_server::{Ingest, IngestServer},
    sensor_message::Body as Up,
};
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, codec::CompressionEncoding};

/// What was stored, by sensor and epoch, and how the collector behaves.
#[derive(Default)]
struct Store {
    events: BTreeMap<(String, u64), Vec<v1::Event>>,
    /// Streams that are still to be cut after they stored a part of a batch.
    cuts: u32,
    /// Answer this to every hello.
    hello: Option<Down>,
    /// Forget what was stored, once, when that much is.
    forget_at: Option<usize>,
    forgot: Option<(String, u64)>,
}

struct Fake(Arc<Mutex<Store>>);

type Answer = Result<v1::CollectorMessage, Status>;

#[tonic::async_trait]
impl Ingest for Fake {
    type StreamStream = ReceiverStream<Answer>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::SensorMessage>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        assert_eq!(request.metadata().get("grpc-encoding").unwrap(), "zstd");
        let mut up = request.into_inner();
        let store = Arc::clone(&self.0);
        let (answers, stream) = tokio::sync::mpsc::channel(4);
        tokio::spawn(async move {
            let mut source = (String::new(), 0);
            while let Ok(Some(message)) = up.message().await {
                let body = match message.body.unwrap() {
                    Up::Hello(hello) => {
                        source = (hello.sensor_id, hello.epoch);
                        Some(store.lock().unwrap().welcome(&source))
                    }
                    Up::Batch(batch) => {
                        let batch = v1::Batch::decode(batch).unwrap();
                        store.lock().unwrap().take(&source, batch)
                    }
                    Up::Outcome(outcome) => panic!("no order was given: {outcome:?}"),
                };
                let Some(body) = body else { return };
                if answers
                    .send(Ok(v1::CollectorMessage { body: Some(body) }))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Store {
    fn welcome(&mut self, source: &(String, u64)) -> Down {
        if let Some(answer) = &self.hello {
            return answer.clone();
        }
        let stored = self.events.entry(source.clone()).or_default();
        Down::Welcome(v1::Welcome {
            acked_seq: stored.len() as u64,
            acked_crc32: stored
                .last()
                .map(|event| crc32fast::hash(&event.encode_to_vec())),
        })
    }

    fn take(&mut self, source: &(String, u64), batch: v1::Batch) -> Option<Down> {
        let stored = self.events.get_mut(source).unwrap();
        if self.forgot.as_ref() == Some(source) {
            return None;
        }
        assert_eq!(
            batch.first_seq,
            stored.len() as u64 + 1,
            "a gap, or sent twice"
        );
        stored.extend(batch.events);
        if self.cuts > 0 {
            self.cuts -= 1;
            // A crash in the middle of a batch.
            stored.truncate(stored.len() - stored.len().min(37));
            return None;
        }
        if self.forget_at.is_some_and(|at| stored.len() >= at) {
            self.forget_at = None;
            let seq = stored.len() as u64;
            stored.clear();
            self.forgot = Some(source.clone());
            return Some(Down::Ack(v1::Ack { seq }));
        }
        Some(Down::Ack(v1::Ack {
            seq: stored.len() as u64,
        }))
    }
}

async fn serve(store: Store) -> (Arc<Mutex<Store>>, SocketAddr) {
    let store = Arc::new(Mutex::new(store));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = IngestServer::new(Fake(Arc::clone(&store)))
        .accept_compressed(CompressionEncoding::Zstd)
        .send_compressed(CompressionEncoding::Zstd)
        .max_decoding_message_size(skep_proto::MAX_MESSAGE_BYTES);
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming),
    );
    (store, address)
}

fn options(address: SocketAddr) -> Options {
    Options {
        server: format!("http://{address}"),
        sensors: 3,
        events: Some(20_000),
        batch: 700,
        ..Options::default()
    }
}

async fn sent(options: &Options) -> (Report, Account) {
    let (_stop, stopped) = watch::channel(false);
    run(options, stopped, || {}).await.unwrap()
}

#[tokio::test]
async fn every_event_arrives_once_through_crashes_in_the_middle_of_batches() {
    let (store, address) = serve(Store {
        cuts: 12,
        ..Store::default()
    })
    .await;
    let (report, account) = sent(&options(address)).await;
    assert_eq!((report.events, report.broken.as_slice()), (20_000, &[][..]));
    let store = store.lock().unwrap();
    assert_eq!((store.cuts, store.events.len()), (0, 6));
    for source in account.sources {
        let stored = &store.events[&(source.sensor_id, source.epoch)];
        assert_eq!(stored.len() as u64, source.acked_seq);
        let mut tally = Tally::default();
        stored.iter().for_each(|event| tally.count_event(event));
        assert_eq!(tally, source.classes);
    }
}

#[tokio::test]
async fn batches_made_beforehand_are_those_made_on_the_way() {
    let mut stores = Vec::new();
    for prepare in [false, true] {
        let (store, address) = serve(Store::default()).await;
        let options = Options {
            prepare,
            ..options(address)
        };
        sent(&options).await;
        stores.push(std::mem::take(&mut store.lock().unwrap().events));
    }
    assert!(stores[0] == stores[1]);
}

#[tokio::test]
async fn a_collector_that_forgets_what_it_acknowledged_is_reported() {
    let (_store, address) = serve(Store {
        forget_at: Some(2_000),
        ..Store::default()
    })
    .await;
    let (report, _) = sent(&options(address)).await;
    assert_eq!(report.broken.len(), 1, "{report:?}");
    assert!(report.broken[0].contains("acknowledged"), "{report:?}");
}

#[tokio::test]
async fn whatever_is_answered_to_the_hello_ends_the_lane_or_is_tried_again() {
    let refusal = |code: &str| {
        Down::Refusal(v1::Refusal {
            code: code.into(),
            reason: "because".into(),
        })
    };
    for (answer, is_final) in [
        (Down::Ack(v1::Ack { seq: 7 }), true),
        (Down::Ack(v1::Ack { seq: u64::MAX }), true),
        (refusal("malformed"), true),
        (refusal("sequence_gap"), true),
        (refusal("internal"), false),
        (refusal("superseded"), false),
    ] {
        let (_store, address) = serve(Store {
            hello: Some(answer.clone()),
            ..Store::default()
        })
        .await;
        let options = Options {
            seconds: Some(0.3),
            ..options(address)
        };
        let (report, _) = sent(&options).await;
        assert_eq!(report.events, 0);
        assert_eq!(
            !report.broken.is_empty(),
            is_final,
            "{answer:?}: {report:?}"
        );
        assert!(!report.ends.is_empty(), "{answer:?}");
    }
}
