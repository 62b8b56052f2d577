//! A store of objects for the tables, which fails, waits and writes halves on command.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory,
    path::Path,
};

/// One store; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    inner: Arc<InMemory>,
    rules: Arc<Mutex<Vec<Rule>>>,
}

/// What happens to operations on some names.
#[derive(Clone, Debug)]
struct Rule {
    /// Of names with this in them.
    named: &'static str,
    what: Fault,
    /// So many times.
    times: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A put is not done, and fails.
    Put,
    /// A put is done, and said to have failed.
    PutAnswer,
    /// A put writes the first half, and fails.
    PutHalf,
    /// A put waits so long before it begins.
    PutLate(Duration),
    Get,
    /// Nothing is done any more.
    Off,
}

// === impl Objects ===

impl Objects {
    pub fn fail(&self, named: &'static str, what: Fault, times: usize) {
        let rule = Rule { named, what, times };
        self.rules.lock().unwrap().push(rule);
    }

    pub fn heal(&self) {
        self.rules.lock().unwrap().clear();
    }

    /// What is there now, apart from what happens to this one later.
    pub fn copy(&self) -> Self {
        Self {
            inner: Arc::new(self.inner.fork()),
            rules: Arc::default(),
        }
    }

    /// Names of all objects, half-written ones included.
    pub async fn names(&self) -> Vec<String> {
        use futures::TryStreamExt;
        let all: Vec<ObjectMeta> = self.inner.list(None).try_collect().await.unwrap();
        all.into_iter()
            .map(|object| object.location.to_string())
            .collect()
    }

    fn fault(&self, location: &Path, of: impl Fn(Fault) -> bool) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|rule| {
            rule.times > 0 && of(rule.what) && location.as_ref().contains(rule.named)
        })?;
        rule.times -= 1;
        Some(rule.what)
    }
}

fn failed(location: &Path) -> Error {
    Error::Generic {
        store: "failing",
        source: format!("{location}: on command").into(),
    }
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Objects")
    }
}

#[async_trait]
impl ObjectStore for Objects {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let is_put = |fault| !matches!(fault, Fault::Get);
        match self.fault(location, is_put) {
            Some(Fault::Put | Fault::Off) => return Err(failed(location)),
            Some(Fault::PutAnswer) => {
                self.inner.put_opts(location, payload, opts).await?;
                return Err(failed(location));
            }
            Some(Fault::PutHalf) => {
                let bytes: Bytes = payload.into();
                let half = bytes.slice(..bytes.len() / 2);
                self.inner.put_opts(location, half.into(), opts).await?;
                return Err(failed(location));
            }
            Some(Fault::PutLate(delay)) => tokio::time::sleep(delay).await,
            Some(Fault::Get) | None => {}
        }
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        match self.fault(location, |fault| matches!(fault, Fault::Put | Fault::Off)) {
            Some(_) => Err(failed(location)),
            None => self.inner.put_multipart_opts(location, opts).await,
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.fault(location, |fault| matches!(fault, Fault::Get | Fault::Off)) {
            Some(_) => Err(failed(location)),
            None => self.inner.get_opts(location, options).await,
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        match self.fault(location, |fault| matches!(fault, Fault::Get | Fault::Off)) {
            Some(_) => Err(failed(location)),
            None => self.inner.get_ranges(location, ranges).await,
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        match self.fault(to, |fault| matches!(fault, Fault::Put | Fault::Off)) {
            Some(_) => Err(failed(to)),
            None => self.inner.copy_opts(from, to, options).await,
        }
    }
}
