//! Frames as they come off a network, whole, in pieces and wrong.

use std::{convert::Infallible, time::Duration};

use futures::FutureExt;
use http_body::Frame as Piece;
use http_body_util::StreamBody;
use proptest::{collection::vec, prelude::*};
use skep_proto::v1::{Hello, sensor_message::Body as Up};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};

use super::*;

const LIMIT: usize = 2 << 20;

fn turns() -> Turns {
    Turns::new(1, LIMIT)
}

fn hello(epoch: u64) -> SensorMessage {
    SensorMessage {
        body: Some(Up::Hello(Hello {
            epoch,
            ..Hello::default()
        })),
    }
}

fn framed(flag: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[flag][..], &length, payload].concat()
}

/// A message as a sensor sends it.
fn zstd(message: &SensorMessage) -> Vec<u8> {
    framed(
        1,
        &zstd::encode_all(&message.encode_to_vec()[..], 3).unwrap(),
    )
}

fn plain(message: &SensorMessage) -> Vec<u8> {
    framed(0, &message.encode_to_vec())
}

/// What is read of a body that comes in these pieces, and then ends.
fn messages(pieces: Vec<Vec<u8>>) -> Messages {
    let (sender, messages) = open();
    for piece in pieces {
        sender.send(piece).unwrap();
    }
    messages
}

fn open() -> (mpsc::UnboundedSender<Vec<u8>>, Messages) {
    let (sender, receiver) = mpsc::unbounded_channel::<Vec<u8>>();
    let pieces =
        UnboundedReceiverStream::new(receiver).map(|piece| Ok::<_, Infallible>(Bytes::from(piece)));
    let frames = pieces.map(|piece| piece.map(Piece::data));
    (
        sender,
        Messages::new(Body::new(StreamBody::new(frames)), true),
    )
}

async fn next(messages: &mut Messages, turns: &Turns) -> Result<Option<SensorMessage>, Broken> {
    let next = messages.next(turns).await?;
    Ok(next.map(|(message, _)| message))
}

/// What deadlines need.
fn clock() -> tokio::runtime::Runtime {
    let clock = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    clock.unwrap()
}

proptest! {
    #[test]
    fn messages_come_whole_however_they_were_cut(
        epochs in vec((any::<u64>(), any::<bool>()), 0..6),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let sent: Vec<_> = epochs.iter().map(|(epoch, _)| hello(*epoch)).collect();
        let bytes: Vec<u8> = epochs.iter().flat_map(|(epoch, is_compressed)| match is_compressed {
            true => zstd(&hello(*epoch)),
            false => plain(&hello(*epoch)),
        }).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| bytes[pair[0]..pair[1]].to_vec());
        let clock = clock();
        let _clock = clock.enter();
        let mut messages = messages(pieces.collect());
        let turns = turns();
        let mut got = Vec::new();
        while let Some(message) = next(&mut messages, &turns).now_or_never().unwrap().unwrap() {
            got.push(message);
        }
        prop_assert_eq!(got, sent);
    }

    #[test]
    fn noise_ends_a_stream_and_nothing_else(noise in vec(any::<u8>(), 0..64)) {
        let clock = clock();
        let _clock = clock.enter();
        let mut messages = messages(vec![plain(&hello(1)), noise]);
        let turns = turns();
        let first = next(&mut messages, &turns).now_or_never().unwrap();
        prop_assert_eq!(first, Ok(Some(hello(1))));
        while let Ok(Some(_)) = next(&mut messages, &turns).now_or_never().unwrap() {}
        // The turn was given back.
        prop_assert!(turns.next().now_or_never().is_some());
    }
}

#[tokio::test]
async fn what_is_too_large_or_wrong_is_said() {
    let turns = turns();
    let mut far = framed(0, &[]);
    far[1..5].copy_from_slice(&u32::MAX.to_be_bytes());
    let bomb = framed(1, &zstd::encode_all(&vec![0; LIMIT + 1][..], 1).unwrap());
    let cut = zstd(&hello(1))[..9].to_vec();
    for (bytes, expected) in [
        (far, Broken::TooLarge { limit: LIMIT }),
        (bomb, Broken::TooLarge { limit: LIMIT }),
        (
            framed(2, &[]),
            Broken::Malformed("a message with a flag that gRPC does not have"),
        ),
        (
            framed(1, b"zstd"),
            Broken::Malformed("a message that is not zstd"),
        ),
        (
            framed(0, &[0x07]),
            Broken::Malformed("a message that is not a skep.v1 SensorMessage"),
        ),
        (cut, Broken::Gone),
    ] {
        assert_eq!(
            next(&mut messages(vec![bytes]), &turns).await,
            Err(expected)
        );
    }
    let mut plain_only = messages(vec![zstd(&hello(1))]);
    plain_only.zstd = false;
    assert!(matches!(
        next(&mut plain_only, &turns).await,
        Err(Broken::Malformed(_))
    ));
}

#[tokio::test]
async fn a_message_waits_until_another_is_done_with() {
    let turns = turns();
    let mut one = messages(vec![zstd(&hello(1)), zstd(&hello(2))]);
    let mut two = messages(vec![zstd(&hello(3)), zstd(&hello(4))]);
    let (first, turn) = one.next(&turns).await.unwrap().unwrap();
    assert_eq!(first, hello(1));
    assert!(two.next(&turns).now_or_never().is_none());
    drop(turn);
    // What was given up has lost nothing, and holds nothing.
    assert_eq!(next(&mut two, &turns).await, Ok(Some(hello(3))));
    assert_eq!(next(&mut two, &turns).await, Ok(Some(hello(4))));
    assert_eq!(next(&mut one, &turns).await, Ok(Some(hello(2))));
    assert_eq!(next(&mut one, &turns).await, Ok(None));
}

#[tokio::test]
async fn who_has_nothing_to_read_takes_no_turn_and_keeps_no_memory() {
    let turns = turns();
    let (sender, mut silent) = open();
    let large = SensorMessage {
        body: Some(Up::Batch(vec![7; 1 << 20].into())),
    };
    sender.send(plain(&large)).unwrap();
    assert_eq!(next(&mut silent, &turns).await, Ok(Some(large)));
    assert!(silent.came.capacity() <= KEEP_BYTES);
    {
        let mut waiting = Box::pin(silent.next(&turns));
        assert!(waiting.as_mut().now_or_never().is_none());
        let mut other = messages(vec![zstd(&hello(1))]);
        assert_eq!(next(&mut other, &turns).await, Ok(Some(hello(1))));
    }
    sender.send(zstd(&hello(7))).unwrap();
    assert_eq!(next(&mut silent, &turns).await, Ok(Some(hello(7))));
}

/// A message of a MiB, in two pieces.
fn halves() -> (Vec<u8>, Vec<u8>) {
    let mut whole = plain(&SensorMessage {
        body: Some(Up::Batch(vec![7; 1 << 20].into())),
    });
    let rest = whole.split_off(512 << 10);
    (whole, rest)
}

#[tokio::test]
async fn a_message_that_is_begun_and_not_finished_in_time_ends_its_stream() {
    let turns = turns();
    for begun in [vec![0], halves().0] {
        let (sender, mut slow) = open();
        slow.within = Duration::from_millis(1);
        sender.send(begun).unwrap();
        assert_eq!(next(&mut slow, &turns).await, Err(Broken::Slow));
    }
    // Between messages there is all the time there is.
    let (sender, mut idle) = open();
    idle.within = Duration::ZERO;
    sender.send(plain(&hello(1))).unwrap();
    assert_eq!(next(&mut idle, &turns).await, Ok(Some(hello(1))));
    assert!(idle.due.is_none());
    assert!(next(&mut idle, &turns).now_or_never().is_none());
    assert!(idle.due.is_none());
}

#[tokio::test]
async fn large_messages_that_are_not_whole_wait_for_room_and_small_ones_do_not() {
    let turns = turns();
    let mut begun: Vec<_> = (0..2 * WAITING).map(|_| open()).collect();
    let (first_half, second_half) = halves();
    for (sender, large) in &mut begun {
        sender.send(first_half.clone()).unwrap();
        assert!(next(large, &turns).now_or_never().is_none());
    }
    let with_room =
        |begun: &[(_, Messages)]| begun.iter().filter(|(_, m)| m.held.is_some()).count();
    // Each has half of the limit, and the prefix.
    let room = WAITING * LIMIT / (LIMIT / 2 + 1024);
    assert_eq!(with_room(&begun), room);
    assert!(room < begun.len());
    let (_, waiting) = begun.last().unwrap();
    assert!(waiting.due.is_none(), "waiting for room is nobody's fault");

    let mut small = messages(vec![zstd(&hello(1))]);
    assert_eq!(next(&mut small, &turns).await, Ok(Some(hello(1))));
    // Whoever has room can finish, and so can then all.
    for (sender, large) in &mut begun {
        sender.send(second_half.clone()).unwrap();
        let message = next(large, &turns).await.unwrap().unwrap();
        assert_eq!(
            message.encoded_len() + PREFIX,
            first_half.len() + second_half.len()
        );
    }
    assert_eq!(with_room(&begun), 0);
    // One that ends in the middle gives its room back.
    let free = turns.waiting.available_permits();
    let (sender, mut gone) = open();
    sender.send(first_half).unwrap();
    assert!(next(&mut gone, &turns).now_or_never().is_none());
    assert!(turns.waiting.available_permits() < free);
    drop(gone);
    assert_eq!(turns.waiting.available_permits(), free);
}
