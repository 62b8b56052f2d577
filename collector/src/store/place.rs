//! Where the tables are: a folder of this machine, or object storage named by a URL.

use std::{path::Path as FilePath, sync::Arc};

use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore};
use object_store::{ObjectStore, path::Path, prefix::PrefixStore};
use url::Url;

use super::local::DurableFiles;
use crate::{
    error::{Error, Result},
    schema::Class,
};

/// A place that holds one table a class.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Ends with a slash.
    url: Url,
    /// From the root of the file system or bucket.
    root: Arc<dyn ObjectStore>,
    prefix: Path,
}

// === impl Place ===

impl Place {
    /// A folder, which need not exist.
    pub fn folder(folder: &FilePath) -> Result<Self> {
        let unusable = |reason: String| Error::Place {
            url: folder.display().to_string(),
            reason,
        };
        let absolute = std::path::absolute(folder).map_err(|error| unusable(error.to_string()))?;
        let url = Url::from_directory_path(&absolute)
            .map_err(|()| unusable("it is not an absolute path".to_owned()))?;
        let prefix =
            Path::from_absolute_path(&absolute).map_err(|error| unusable(error.to_string()))?;
        Ok(Self {
            url,
            root: Arc::new(DurableFiles::default()),
            prefix,
        })
    }

    /// A store of objects, from its root.
    #[cfg(test)]
    pub fn over(root: Arc<dyn ObjectStore>) -> Self {
        Self {
            url: Url::parse("memory:///").expect("a constant URL"),
            root,
            prefix: Path::default(),
        }
    }

    /// `s3://bucket/prefix`, `gs://…`, `az://…`; settings and secrets come from the environment, by
    /// the names that the vendors' own tools use (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL` …).
    pub fn url(url: &str) -> Result<Self> {
        let unusable = |reason: String| Error::Place {
            url: url.to_owned(),
            reason,
        };
        let mut parsed = Url::parse(url).map_err(|error| unusable(error.to_string()))?;
        if parsed.scheme() == "file" {
            let folder = parsed
                .to_file_path()
                .map_err(|()| unusable("it names no folder of this machine".to_owned()))?;
            return Self::folder(&folder);
        }
        if !parsed.path().ends_with('/') {
            parsed.set_path(&format!("{}/", parsed.path()));
        }
        let settings = std::env::vars();
        let (root, prefix) = object_store::parse_url_opts(&parsed, settings)
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Self {
            url: parsed,
            root: root.into(),
            prefix,
        })
    }

    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// Paths of [`Place::path`] are read here.
    pub fn root(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.root)
    }

    /// A file of a class's table, from the root.
    pub fn path(&self, class: Class, file: &Path) -> Path {
        let parts = self.prefix.parts().chain([class.name().into()]);
        parts.chain(file.parts()).collect()
    }

    /// How people name a file.
    pub fn name_of(&self, path: &Path) -> String {
        match self.url.scheme() {
            "file" => format!("/{path}"),
            scheme => format!(
                "{scheme}://{}/{path}",
                self.url.host_str().unwrap_or_default()
            ),
        }
    }

    /// What a failed operation on a file means.
    pub fn failed(&self, action: &'static str, path: &Path, source: object_store::Error) -> Error {
        Error::Store {
            action,
            name: self.name_of(path),
            source,
        }
    }

    /// The transaction log of a class's table.
    pub fn log_store(&self, class: Class) -> LogStoreRef {
        let url = self
            .url
            .join(&format!("{}/", class.name()))
            .expect("a folder below a folder is a URL");
        let folder = self.prefix.clone().join(class.name());
        let prefixed = Arc::new(PrefixStore::new(self.root(), folder));
        default_logstore(prefixed, self.root(), &url, &StorageConfig::default())
    }
}
