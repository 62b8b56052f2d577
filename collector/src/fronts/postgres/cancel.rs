//! Requests to cancel, which come on connections of their own and name the one they mean by a number
//! and a secret.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use pgwire::{
    api::cancel::CancelHandler,
    messages::{cancel::CancelRequest, startup::SecretKey},
};
use tokio::sync::watch;

type Key = (i32, Vec<u8>);

/// The connections that can be meant.
#[derive(Default)]
pub(super) struct Cancels {
    known: Mutex<HashMap<Key, watch::Sender<u64>>>,
}

/// One connection among them, until it is dropped.
pub(super) struct Cancellable {
    cancels: Arc<Cancels>,
    key: Key,
    requests: watch::Receiver<u64>,
}

/// Whether a query was cancelled since this was taken.
pub(super) struct Cancelled(watch::Receiver<u64>);

// === impl Cancels ===

impl Cancels {
    pub fn add(self: &Arc<Self>, process: i32, secret: &SecretKey) -> Cancellable {
        let key = (process, bytes(secret));
        let (sender, requests) = watch::channel(0);
        self.known().insert(key.clone(), sender);
        Cancellable {
            cancels: Arc::clone(self),
            key,
            requests,
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<Key, watch::Sender<u64>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl CancelHandler for Cancels {
    async fn on_cancel_request(&self, request: CancelRequest) {
        let key = (request.pid, bytes(&request.secret_key));
        if let Some(connection) = self.known().get(&key) {
            connection.send_modify(|count| *count += 1);
        }
    }
}

fn bytes(secret: &SecretKey) -> Vec<u8> {
    match secret {
        SecretKey::I32(number) => number.to_be_bytes().to_vec(),
        SecretKey::Bytes(bytes) => bytes.to_vec(),
    }
}

// === impl Cancellable ===

impl Cancellable {
    /// Requests from now on.
    pub fn watch(&self) -> Cancelled {
        let mut requests = self.requests.clone();
        requests.mark_unchanged();
        Cancelled(requests)
    }
}

impl Drop for Cancellable {
    fn drop(&mut self) {
        self.cancels.known().remove(&self.key);
    }
}

// === impl Cancelled ===

impl Cancelled {
    /// Returns once there was a request.
    pub async fn requested(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody can ask any more.
            std::future::pending().await
        }
    }
}
