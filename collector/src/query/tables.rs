//! What can be named in SQL: `events`, the facts of sensors, and the [views](super::views).

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::SchemaRef,
    error::ArrowError,
};
use datafusion::{
    catalog::streaming::StreamingTable,
    error::{DataFusionError, Result},
    execution::{
        TaskContext,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::GreedyMemoryPool,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    physical_plan::{
        SendableRecordBatchStream, stream::RecordBatchStreamAdapter, streaming::PartitionStream,
    },
    prelude::{SessionConfig, SessionContext},
};

use super::{events::Events, names::Names};
use crate::{
    counters::Counters,
    scan,
    schema::{Class, Rows},
    store::{DataFile, Hook, SensorFacts, Snapshot},
};

/// What all queries share: caches of file footers, and settings.
pub(super) struct Base {
    runtime: RuntimeEnv,
    config: SessionConfig,
}

// === impl Base ===

impl Base {
    pub fn new() -> Result<Self> {
        let no_spilling = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
        let runtime = RuntimeEnvBuilder::new()
            .with_disk_manager_builder(no_spilling)
            .build()?;
        let config = SessionConfig::new()
            .with_information_schema(true)
            // Plain strings in every answer, whatever the reader's Arrow knows.
            .set_bool(
                "datafusion.execution.parquet.schema_force_view_types",
                false,
            )
            .set_bool("datafusion.sql_parser.map_string_types_to_utf8view", false);
        Ok(Self { runtime, config })
    }

    /// A planner that sees the snapshot and nothing else.
    pub fn context(
        &self,
        snapshot: &Snapshot,
        counters: &Counters,
        memory: usize,
    ) -> Result<SessionContext> {
        let runtime = RuntimeEnvBuilder::from_runtime_env(&self.runtime)
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory)))
            .build_arc()?;
        let context = SessionContext::new_with_config_rt(self.config.clone(), Arc::clone(&runtime));
        scan::register(&runtime, snapshot.root());
        Names::install(&context)?;
        context.register_table("events", Arc::new(Events::of(snapshot.clone())))?;
        for (name, build) in [("sensors", sensors as Build), ("hooks", hooks as Build)] {
            let facts = Facts {
                sensors: Arc::clone(&snapshot.sensors),
                schema: build(&[])?.schema(),
                build,
            };
            let table = StreamingTable::try_new(Arc::clone(&facts.schema), vec![Arc::new(facts)])?;
            context.register_table(name, Arc::new(table))?;
        }
        context.register_batch("counters", own_counters(counters)?)?;
        context.register_batch("storage", storage(snapshot)?)?;
        super::time::register(&context);
        Ok(context)
    }
}

type Build = fn(&[SensorFacts]) -> Result<RecordBatch, ArrowError>;

/// A table of what sensors said of themselves, which is built when it is read.
#[derive(Debug)]
struct Facts {
    sensors: Arc<Vec<SensorFacts>>,
    schema: SchemaRef,
    build: Build,
}

// === impl Facts ===

impl PartitionStream for Facts {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (build, sensors) = (self.build, Arc::clone(&self.sensors));
        let built = async move { build(&sensors).map_err(DataFusionError::from) };
        let schema = Arc::clone(&self.schema);
        Box::pin(RecordBatchStreamAdapter::new(
            schema,
            futures::stream::once(built),
        ))
    }
}

fn sensors(sensors: &[SensorFacts]) -> Result<RecordBatch, ArrowError> {
    RecordBatch::try_from_iter_with_nullable([
        ("sensor_id", text(sensors, |s| Some(&s.sensor_id)), false),
        ("host", text(sensors, |s| s.hostname.as_ref()), true),
        ("os", text(sensors, |s| s.os.as_ref()), true),
        ("kernel", text(sensors, |s| s.kernel.as_ref()), true),
        ("arch", text(sensors, |s| s.arch.as_ref()), true),
        ("boot_id", text(sensors, |s| s.boot_id.as_ref()), true),
        (
            "sensor_version",
            text(sensors, |s| s.sensor_version.as_ref()),
            true,
        ),
        ("epoch", number(sensors, |s| s.epoch), false),
        ("first_hello", time(sensors, |s| s.first_hello), false),
        ("last_hello", time(sensors, |s| s.last_hello), false),
    ])
}

fn hooks(sensors: &[SensorFacts]) -> Result<RecordBatch, ArrowError> {
    fn of_sensor(sensor: &SensorFacts) -> impl Iterator<Item = (&SensorFacts, &Hook)> {
        std::iter::repeat(sensor).zip(sensor.hooks.iter())
    }
    let rows: Vec<_> = sensors.iter().flat_map(of_sensor).collect();
    RecordBatch::try_from_iter_with_nullable([
        (
            "sensor_id",
            text(&rows, |(sensor, _)| Some(&sensor.sensor_id)),
            false,
        ),
        (
            "host",
            text(&rows, |(sensor, _)| sensor.hostname.as_ref()),
            true,
        ),
        ("fact", text(&rows, |(_, hook)| Some(&hook.fact)), false),
        ("hook", text(&rows, |(_, hook)| hook.hook.as_ref()), true),
        (
            "status",
            text(&rows, |(_, hook)| hook.status.as_ref()),
            true,
        ),
        (
            "reason",
            text(&rows, |(_, hook)| hook.reason.as_ref()),
            true,
        ),
    ])
}

fn own_counters(counters: &Counters) -> Result<RecordBatch, ArrowError> {
    let all = counters.all();
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(
        all.iter().map(|(name, _)| name),
    ));
    RecordBatch::try_from_iter_with_nullable([
        ("name", names, false),
        ("value", number(&all, |(_, value)| *value), false),
    ])
}

/// How much there is of each class.
fn storage(snapshot: &Snapshot) -> Result<RecordBatch, ArrowError> {
    let classes = Class::ALL.map(|class| (class, snapshot.files(class)));
    let sum =
        |value: fn(&DataFile) -> u64| number(&classes, |(_, files)| files.iter().map(value).sum());
    let time = |time: fn(&[DataFile]) -> Option<i64>| -> ArrayRef {
        let times = classes.iter().map(|(_, files)| time(files));
        let times: TimestampMicrosecondArray = times.collect();
        Arc::new(times.with_timezone("UTC"))
    };
    let names = classes.iter().map(|(class, _)| class.name());
    let waiting = number(&Class::ALL, |class| {
        let rows = snapshot.rows(*class).iter().map(Rows::len);
        rows.sum::<usize>() as u64
    });
    RecordBatch::try_from_iter_with_nullable([
        (
            "class",
            Arc::new(StringArray::from_iter_values(names)) as ArrayRef,
            false,
        ),
        (
            "files",
            number(&classes, |(_, files)| files.len() as u64),
            false,
        ),
        ("rows", sum(|file| file.rows), false),
        ("bytes", sum(|file| file.bytes), false),
        (
            "first",
            time(|files| files.iter().filter_map(|file| file.first_time).min()),
            true,
        ),
        (
            "last",
            time(|files| files.iter().filter_map(|file| file.last_time).max()),
            true,
        ),
        ("waiting", waiting, false),
    ])
}

fn text<'a, T>(rows: &'a [T], value: impl Fn(&'a T) -> Option<&'a String>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<StringArray>())
}

fn number<'a, T>(rows: &'a [T], value: impl Fn(&'a T) -> u64) -> ArrayRef {
    let numbers = rows
        .iter()
        .map(|row| i64::try_from(value(row)).unwrap_or(i64::MAX));
    Arc::new(Int64Array::from_iter_values(numbers))
}

fn time<'a, T>(rows: &'a [T], value: impl Fn(&'a T) -> u64) -> ArrayRef {
    let micros = rows
        .iter()
        .map(|row| i64::try_from(value(row) / 1000).unwrap_or(i64::MAX));
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
}
