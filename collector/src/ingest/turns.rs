//! Who may have a message decoded.
//!
//! A message that came is compressed, and some ten times larger when it is not. Thousands of streams
//! that each hold one while the store is behind would take all memory there is. So a stream reads its
//! next message only in its turn, and there are few turns. A stream for which nothing has come takes
//! none.

use std::{pin::Pin, sync::Arc, task::Poll};

use futures::{Stream, StreamExt, ready};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

/// Turns of all streams.
#[derive(Clone)]
pub(super) struct Turns(Arc<Semaphore>);

/// Others go on when it is dropped.
pub(super) struct Turn(
    #[expect(dead_code, reason = "held, not read")] Option<OwnedSemaphorePermit>,
);

// === impl Turns ===

impl Turns {
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }

    /// The next message of a stream, as [`futures::TryStreamExt::try_next`], and the turn it was read
    /// in. Nothing is lost when this is dropped before it is ready.
    pub async fn next<T, E>(
        &self,
        messages: &mut (impl Stream<Item = Result<T, E>> + Unpin),
    ) -> (Result<Option<T>, E>, Turn) {
        // Its place among those who wait goes when this future does.
        let mut turns = PollSemaphore::new(Arc::clone(&self.0));
        futures::future::poll_fn(move |context| {
            // `None` would be a closed semaphore, and this one is never closed.
            let turn = ready!(turns.poll_acquire(context));
            // Without a message the turn is given back here.
            let next = ready!(Pin::new(&mut *messages).poll_next_unpin(context));
            Poll::Ready((next.transpose(), Turn(turn)))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::{FutureExt, stream};
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::UnboundedReceiverStream;

    use super::*;

    fn ready(items: u32) -> impl Stream<Item = Result<u32, Infallible>> + Unpin {
        stream::iter((0..items).map(Ok))
    }

    #[tokio::test]
    async fn a_message_waits_until_another_is_done_with() {
        let turns = Turns::new(1);
        let (mut one, mut two) = (ready(2), ready(2));
        let (first, turn) = turns.next(&mut one).await;
        assert_eq!(first, Ok(Some(0)));
        assert!(turns.next(&mut two).now_or_never().is_none());
        drop(turn);
        // What was given up has lost nothing, and holds nothing.
        assert_eq!(turns.next(&mut two).await.0, Ok(Some(0)));
        assert_eq!(turns.next(&mut two).await.0, Ok(Some(1)));
        assert_eq!(turns.next(&mut one).await.0, Ok(Some(1)));
        assert_eq!(turns.next(&mut one).await.0, Ok(None));
    }

    #[tokio::test]
    async fn who_has_nothing_to_read_takes_no_turn() {
        let turns = Turns::new(1);
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut silent = UnboundedReceiverStream::new(receiver);
        let mut next = Box::pin(turns.next(&mut silent));
        assert!(next.as_mut().now_or_never().is_none());
        let mut other = ready(1);
        assert_eq!(turns.next(&mut other).await.0, Ok(Some(0)));
        sender.send(Ok::<u32, Infallible>(7)).unwrap();
        assert_eq!(next.await.0, Ok(Some(7)));
    }
}
