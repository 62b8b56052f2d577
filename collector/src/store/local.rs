//! A local folder as object storage that survives a power cut.
//!
//! Invariant: a file has its name only once its bytes are on disk, and a `put` returns only once the
//! name is. (The plain local store syncs nothing: after a power cut a commit of a table could be a
//! file of zeros.)
//!
//! Multipart uploads are held in memory until they are complete: nobody here uploads more than one
//! file of a table at a time in parts, and those are bounded by [`super::table::FULL_BYTES`].

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write},
    ops::Range,
    path::{Path as FilePath, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    UploadPart, local::LocalFileSystem, path::Path,
};

/// The file system of this machine, from its root.
#[derive(Debug, Default)]
pub(super) struct DurableFiles {
    inner: LocalFileSystem,
}

#[derive(Debug)]
struct Upload {
    path: PathBuf,
    parts: Vec<PutPayload>,
}

// === impl DurableFiles ===

impl DurableFiles {
    async fn write(path: PathBuf, parts: Vec<PutPayload>, create: bool) -> Result<PutResult> {
        let written = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || write(&path, &parts, create)).await
        };
        let written = written.unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
        written.map_err(|source| failed(&path, source))?;
        Ok(PutResult {
            e_tag: None,
            version: None,
        })
    }
}

#[async_trait]
impl ObjectStore for DurableFiles {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let create = match opts.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return self.inner.put_opts(location, payload, opts).await,
        };
        let path = self.inner.path_to_filesystem(location)?;
        Self::write(path, vec![payload], create).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(Upload {
            path: self.inner.path_to_filesystem(location)?,
            parts: Vec::new(),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
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
        self.inner.copy_opts(from, to, options).await
    }
}

impl fmt::Display for DurableFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DurableFiles(/)")
    }
}

// === impl Upload ===

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts.push(data);
        Box::pin(async { Ok(()) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let parts = std::mem::take(&mut self.parts);
        DurableFiles::write(self.path.clone(), parts, false).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.clear();
        Ok(())
    }
}

/// Writes under a name that nobody lists, syncs, gives it its name, and syncs the folders.
fn write(path: &FilePath, parts: &[PutPayload], create: bool) -> io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let folder = path.parent().unwrap_or(FilePath::new("/"));
    make_folders(folder)?;
    // The form `name#number` is that of the plain local store: its listings leave such files out.
    let mut staged = path.as_os_str().to_owned();
    let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    staged.push(format!("#{process}{number:06}"));
    let staged = PathBuf::from(staged);
    let named = (|| {
        let mut file = File::create(&staged)?;
        for chunk in parts.iter().flat_map(|payload| payload.iter()) {
            file.write_all(chunk)?;
        }
        file.sync_all()?;
        match create {
            true => fs::hard_link(&staged, path),
            false => fs::rename(&staged, path),
        }
    })();
    if create || named.is_err() {
        // Best effort: a staged file that stays is not part of anything.
        let _ = fs::remove_file(&staged);
    }
    named?;
    sync_folder(folder)
}

/// Makes what is missing of a folder, each durable in its parent.
fn make_folders(folder: &FilePath) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        make_folders(parent)?;
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sync_folder(parent)?,
        }
    }
    Ok(())
}

/// Makes the names in a folder survive a power cut.
pub(super) fn sync_folder(folder: &FilePath) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn failed(path: &FilePath, source: io::Error) -> Error {
    let path = path.display().to_string();
    let exists = source.kind() == io::ErrorKind::AlreadyExists;
    let source = format!("{path}: {source}").into();
    match exists {
        true => Error::AlreadyExists { path, source },
        false => Error::Generic {
            store: "local folder",
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;

    use super::*;

    fn at(folder: &FilePath, name: &str) -> Path {
        Path::from_absolute_path(folder.join(name)).unwrap()
    }

    #[tokio::test]
    async fn creating_what_exists_is_refused_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableFiles::default();
        let file = at(folder.path(), "a/b/c.json");
        let create = || PutOptions::from(PutMode::Create);
        store.put_opts(&file, "one".into(), create()).await.unwrap();
        let again = store.put_opts(&file, "two".into(), create()).await;
        assert!(
            matches!(again, Err(Error::AlreadyExists { .. })),
            "{again:?}"
        );
        let bytes = store.get(&file).await.unwrap().bytes().await.unwrap();
        assert_eq!(&bytes[..], b"one");
        store.put(&file, "three".into()).await.unwrap();
        let names: Vec<_> = fs::read_dir(folder.path().join("a/b"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["c.json"], "nothing is left beside it");
    }

    #[tokio::test]
    async fn parts_become_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableFiles::default();
        let file = at(folder.path(), "parts");
        let mut upload = store
            .put_multipart_opts(&file, PutMultipartOptions::default())
            .await
            .unwrap();
        upload.put_part("one ".into()).await.unwrap();
        upload.put_part("two".into()).await.unwrap();
        upload.complete().await.unwrap();
        assert_eq!(fs::read(folder.path().join("parts")).unwrap(), b"one two");
    }
}
