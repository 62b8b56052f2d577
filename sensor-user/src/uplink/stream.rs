//! One stream to the collector, from connecting to its end.

use std::{collections::VecDeque, sync::atomic::Ordering, time::Instant};

use skep_proto::v1::{
    self, collector_message::Body as Down, ingest_client::IngestClient, sensor_message::Body as Up,
};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;

use super::{
    BATCH_BYTES, BATCH_EVENTS, Identity, WINDOW_BYTES, Worker, batch,
    end::{End, Position, refused, stream_error},
    orders,
};
use skep_event::UnixNanos;
use skep_spool::Lane;

/// After this many refusals of one event it is given up.
const REFUSALS: u32 = 3;

/// How long the collector has to end a stream that the sensor has ended.
const HANG_UP: std::time::Duration = std::time::Duration::from_secs(1);

#[derive(Debug)]
struct Sent {
    last_seq: u64,
    events: u64,
    bytes: usize,
    /// The newest self-test in it.
    canary: Option<UnixNanos>,
}

// === impl Worker ===

impl Worker {
    /// Sends until the stream ends; `Ok` when it was told to stop and everything is acknowledged.
    pub(super) async fn stream(
        &mut self,
        stop: &mut watch::Receiver<Option<Instant>>,
    ) -> Result<(), End> {
        let ended = self.connected_stream(stop).await;
        if let Err(end) = &ended
            && end.is_about_content()
        {
            self.note_refusal();
        }
        ended
    }

    async fn connected_stream(
        &mut self,
        stop: &mut watch::Receiver<Option<Instant>>,
    ) -> Result<(), End> {
        let (epoch, acked) = self
            .spool
            .position()
            .ok_or_else(|| unavailable(&self.spool))?;
        let mut client = IngestClient::new(self.channel.clone())
            .send_compressed(CompressionEncoding::Zstd)
            .accept_compressed(CompressionEncoding::Zstd);
        let (up, messages) = mpsc::channel(1);
        let takes_orders = self.orders().is_some();
        let hello = hello(&self.identity, self.lane, epoch, takes_orders);
        let greeted = up
            .send(v1::SensorMessage {
                body: Some(Up::Hello(hello)),
            })
            .await;
        greeted.map_err(|_| End::Closed)?;
        let answer = self.timing.answer;
        let response = timeout(answer, client.stream(ReceiverStream::new(messages)))
            .await
            .map_err(|_| End::NoAnswer(answer))?
            .map_err(|status| stream_error(&status))?;
        let mut down = response.into_inner();
        let first = timeout(answer, down.message())
            .await
            .map_err(|_| End::NoAnswer(answer))?;
        let (welcomed, crc32) = match body(first)? {
            Down::Welcome(v1::Welcome {
                acked_seq,
                acked_crc32,
            }) => (acked_seq, acked_crc32),
            Down::Refusal(refusal) => return Err(refused(refusal)),
            Down::Ack(_) => return Err(End::Unexpected("ack before welcome")),
            Down::Order(_) => return Err(End::Unexpected("order before welcome")),
        };
        if welcomed < acked {
            return Err(End::Behind {
                theirs: welcomed,
                ours: acked,
            });
        }
        if let Some(crc32) = crc32
            && let Some(record) = self.spool.handed_out(welcomed)?
            && !batch::may_have_been_sent(&record, crc32)
        {
            return Err(End::Copied { seq: welcomed });
        }
        self.spool.ack(welcomed)?;
        // Everything stored of this lane is acknowledged, so that nothing is sent twice.
        if self.copied.this.swap(false, Ordering::Relaxed) {
            return Err(End::OtherLaneCopied);
        }
        let lane = self.lane.name();
        let address = &self.identity.address;
        tracing::info!(%address, lane, epoch, acked_seq = welcomed, "connected");
        self.failures.logged = None;
        self.board.update(|status| {
            let stream = status.uplink.lane_mut(self.lane);
            stream.connected = true;
            stream.last_error = None;
        });
        self.exchange(up, down, welcomed, stop).await
    }

    async fn exchange(
        &mut self,
        up: mpsc::Sender<v1::SensorMessage>,
        mut down: tonic::Streaming<v1::CollectorMessage>,
        acked: u64,
        stop: &mut watch::Receiver<Option<Instant>>,
    ) -> Result<(), End> {
        let mut next = acked + 1;
        let mut sent: VecDeque<Sent> = VecDeque::new();
        let mut outgoing: Option<v1::SensorMessage> = None;
        // Go up before what is outgoing.
        let mut outcomes: VecDeque<v1::Outcome> = VecDeque::new();
        // There may be more in the spool; look from this moment on.
        let mut look = Some(Instant::now());
        let mut last_progress = Instant::now();
        loop {
            let stopping = stop.borrow().is_some();
            let in_flight: usize = sent.iter().map(|batch| batch.bytes).sum();
            let due = look.is_some_and(|at| stopping || at <= Instant::now());
            let window_open = in_flight == 0 || in_flight + BATCH_BYTES <= WINDOW_BYTES;
            if due && outgoing.is_none() && window_open {
                outgoing = self.batch(&mut next, &mut sent)?;
                if outgoing.is_none() {
                    look = None;
                } else if sent.len() == 1 {
                    last_progress = Instant::now();
                }
            }
            let idle = outgoing.is_none() && outcomes.is_empty();
            if stopping && idle && sent.is_empty() && look.is_none() {
                // Hang up, and let the collector do so too: an end, not a broken stream.
                drop(up);
                let _ = timeout(HANG_UP, down.message()).await;
                return Ok(());
            }
            let gathered = look.unwrap_or_else(Instant::now);
            tokio::select! {
                message = down.message() => match body(message)? {
                    Down::Ack(v1::Ack { seq }) => {
                        self.acknowledged(seq, &mut sent)?;
                        last_progress = Instant::now();
                    }
                    Down::Refusal(refusal) => return Err(refused(refusal)),
                    Down::Welcome(_) => return Err(End::Unexpected("welcome twice")),
                    Down::Order(order) => outcomes.push_back(self.follow(order, outcomes.len())?),
                },
                permit = up.reserve(), if !idle => {
                    let permit = permit.map_err(|_| End::Closed)?;
                    if let Some(outcome) = outcomes.pop_front() {
                        permit.send(v1::SensorMessage {
                            body: Some(Up::Outcome(outcome)),
                        });
                    } else if let Some(message) = outgoing.take() {
                        permit.send(message);
                    }
                }
                () = self.spool.appended(), if look.is_none() => {
                    look = Some(Instant::now() + self.timing.gather);
                }
                () = sleep_until(gathered.into()), if look.is_some() && outgoing.is_none() && window_open => {}
                () = sleep_until((last_progress + self.timing.stall).into()), if !sent.is_empty() => {
                    return Err(End::NoAnswer(self.timing.stall));
                }
                changed = stop.changed(), if !stopping => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Follows an order; so many outcomes wait to go up.
    fn follow(&self, order: v1::Order, waiting: usize) -> Result<v1::Outcome, End> {
        let settings = self.orders();
        let settings =
            settings.ok_or(End::Unexpected("an order, which this stream does not take"))?;
        match waiting < orders::MOST {
            true => Ok(orders::follow(settings, order)),
            false => Err(End::Unexpected(
                "more orders than can wait for their outcome",
            )),
        }
    }

    /// What orders change, on the lane that takes them.
    fn orders(&self) -> Option<&crate::settings::Handle> {
        let takes = self.lane == Lane::Findings;
        self.identity.orders.as_ref().filter(|_| takes)
    }

    /// The next batch; nothing when the spool has no more.
    fn batch(
        &mut self,
        next: &mut u64,
        sent: &mut VecDeque<Sent>,
    ) -> Result<Option<v1::SensorMessage>, End> {
        // One by one, until it is clear which event the collector does not take.
        let events = if self.position.refused.is_some() {
            1
        } else {
            BATCH_EVENTS
        };
        let records = self.spool.read_from(*next, BATCH_BYTES, events)?;
        let (Some((first_seq, _)), Some((last_seq, _))) = (records.first(), records.last()) else {
            return Ok(None);
        };
        let (first_seq, last_seq) = (*first_seq, *last_seq);
        let bytes = records.iter().map(|(_, record)| record.len()).sum();
        let notes = self.spool.notes(first_seq..=last_seq)?;
        let assembled = batch::assemble(first_seq, &records, &notes, self.position.condemned);
        let events = records.len() as u64;
        *next = last_seq + 1;
        sent.push_back(Sent {
            last_seq,
            events,
            bytes,
            canary: assembled.canary,
        });
        self.board.update(|status| {
            let stream = status.uplink.lane_mut(self.lane);
            stream.sent_events += events;
            stream.sent_bytes += bytes as u64;
        });
        Ok(Some(v1::SensorMessage {
            body: Some(Up::Batch(assembled.bytes.into())),
        }))
    }

    fn acknowledged(&mut self, seq: u64, sent: &mut VecDeque<Sent>) -> Result<(), End> {
        self.spool.ack(seq)?;
        let mut events = 0;
        let mut canary = None;
        while let Some(batch) = sent.front()
            && batch.last_seq <= seq
        {
            events += batch.events;
            canary = batch.canary.or(canary);
            sent.pop_front();
        }
        self.board.acknowledged(self.lane, events);
        if let Some(time) = canary {
            self.board.canary_acknowledged(time);
        }
        self.failures.in_a_row = 0;
        if self.position.refused.is_some_and(|(first, _)| seq >= first) {
            self.position = Position::default();
        }
        Ok(())
    }

    /// The first event that is not acknowledged is the suspect.
    fn note_refusal(&mut self) {
        let Some((_, acked)) = self.spool.position() else {
            return;
        };
        let suspect = acked + 1;
        let times = match self.position.refused {
            Some((seq, times)) if seq == suspect => times + 1,
            _ => 1,
        };
        self.position.refused = Some((suspect, times));
        if times > REFUSALS {
            tracing::warn!(seq = suspect, "an event the collector refuses is given up");
            self.position.condemned = Some(suspect);
        }
    }
}

fn unavailable(spool: &skep_spool::Spool) -> End {
    let reason = spool
        .stats()
        .error
        .unwrap_or_else(|| "it cannot be used".into());
    End::Stream(format!(
        "nothing to send, the spool is unavailable: {reason}"
    ))
}

fn body(message: Result<Option<v1::CollectorMessage>, tonic::Status>) -> Result<Down, End> {
    match message {
        Ok(Some(v1::CollectorMessage { body: Some(body) })) => Ok(body),
        Ok(Some(v1::CollectorMessage { body: None })) => Err(End::Unexpected("an empty message")),
        Ok(None) => Err(End::Closed),
        Err(status) => Err(stream_error(&status)),
    }
}

fn hello(identity: &Identity, lane: Lane, epoch: u64, takes_orders: bool) -> v1::Hello {
    let Identity {
        address: _,
        sensor_id,
        sensor_version,
        host,
        hooks,
        orders: _,
    } = identity;
    v1::Hello {
        sensor_id: sensor_id.clone(),
        epoch,
        sensor_version: sensor_version.clone(),
        host: Some(host.clone()),
        hooks: hooks.clone(),
        lane: match lane {
            Lane::Bulk => v1::Lane::Unspecified,
            Lane::Findings => v1::Lane::Findings,
        }
        .into(),
        takes_orders,
    }
}
