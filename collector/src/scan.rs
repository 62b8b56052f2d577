//! Reads files of the tables: the one place that knows how DataFusion is told of them.

use std::sync::Arc;

use datafusion::{
    common::{
        config::TableParquetOptions,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    datasource::{
        listing::PartitionedFile,
        object_store::ObjectStoreUrl,
        physical_plan::{
            FileGroup, FileScanConfig, FileScanConfigBuilder, ParquetSource,
            parquet::{CachedParquetFileReaderFactory, ParquetFileReaderFactory},
        },
        source::DataSourceExec,
    },
    error::Result,
    execution::runtime_env::RuntimeEnv,
    physical_plan::{ExecutionPlan, PhysicalExpr},
};
use object_store::{ObjectMeta, ObjectStore, path::Path};
use url::Url;

use crate::{
    schema::{Class, Stored},
    store::DataFile,
};

/// How a plan names the place of the tables; each runtime knows which place it is.
const STORE: &str = "skep://tables/";

/// Files of one class, and how to read them.
pub(crate) struct Scan<'a> {
    pub class: Class,
    pub files: Vec<&'a DataFile>,
    /// Columns of [`Class::schema`] to give; `None`: all of them.
    pub projection: Option<Vec<usize>>,
    /// Lets the reader leave out what cannot match; it may give more than matches.
    pub predicate: Option<Arc<dyn PhysicalExpr>>,
    pub options: TableParquetOptions,
    /// Groups of files that are read at the same time.
    pub groups: usize,
}

/// Makes the place known to a runtime.
pub(crate) fn register(runtime: &RuntimeEnv, root: Arc<dyn ObjectStore>) {
    let url = Url::parse(STORE).expect("a constant URL");
    runtime.register_object_store(&url, root);
}

/// The files that a plan may read.
pub(crate) fn files(plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<Path>> {
    let mut files = Vec::new();
    plan.apply(|node| {
        let scan = node
            .downcast_ref::<DataSourceExec>()
            .and_then(|node| node.data_source().downcast_ref::<FileScanConfig>());
        let groups = scan.iter().flat_map(|scan| &scan.file_groups);
        files.extend(
            groups
                .flat_map(FileGroup::iter)
                .map(|file| file.object_meta.location.clone()),
        );
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(files)
}

impl Scan<'_> {
    /// A plan that reads them.
    pub fn plan(
        self,
        runtime: &RuntimeEnv,
        root: Arc<dyn ObjectStore>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let footers = runtime.cache_manager.get_file_metadata_cache();
        let readers: Arc<dyn ParquetFileReaderFactory> =
            Arc::new(CachedParquetFileReaderFactory::new(root, footers));
        let mut source = ParquetSource::new(self.class.queried())
            .with_table_parquet_options(self.options)
            .with_parquet_file_reader_factory(readers);
        if let Some(predicate) = self.predicate {
            source = source.with_predicate(predicate);
        }
        let url = ObjectStoreUrl::parse(STORE)?;
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups(&self.files, self.groups))
            .with_projection_indices(self.projection)?
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// Spreads files over groups of about the same size.
fn groups(files: &[&DataFile], count: usize) -> Vec<FileGroup> {
    let mut groups: Vec<(u64, Vec<PartitionedFile>)> = vec![(0, Vec::new()); count.max(1)];
    for file in files {
        let (size, group) = groups
            .iter_mut()
            .min_by_key(|(size, _)| *size)
            .expect("there is at least one group");
        *size += file.bytes;
        group.push(PartitionedFile::new_from_meta(ObjectMeta {
            location: file.path.clone(),
            last_modified: file.modified(),
            size: file.bytes,
            e_tag: None,
            version: None,
        }));
    }
    let groups = groups.into_iter().map(|(_, files)| FileGroup::new(files));
    groups.filter(|group| !group.is_empty()).collect()
}
