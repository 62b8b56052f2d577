//! Rows of one class as memory keeps them.
//!
//! Most columns say the same for many rows: those that follow from the sensor, the session, the agent,
//! the process, the hook or the boot. Their values are there once for each of these, and a row has an index,
//! which all columns of one kind share. That is a third of the memory of plain columns, and spares
//! copying and hashing texts for each row.
//!
//! Queries see such a column as a dictionary, of whatever type; files get it as it is.

use std::{collections::HashMap, ops::Range, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch},
    buffer::ScalarBuffer,
    compute::{concat, interleave},
    datatypes::{
        DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType,
    },
    error::ArrowError,
};

use super::{By, Class, Column, Row, Stored, stored};

/// Kinds of columns whose values are shared.
const SHARED: [By; 6] = [
    By::Origin,
    By::Session,
    By::Agent,
    By::Process,
    By::Hook,
    By::Boot,
];
/// Place of the session's kind among them.
const SESSION: usize = 1;
const _: () = assert!(matches!(SHARED[SESSION], By::Session));

/// Some rows of one class, in the order they came; cheap to clone.
#[derive(Clone, Debug)]
pub struct Rows {
    class: Class,
    count: usize,
    /// The columns that each row has for itself, in their order.
    own: Vec<ArrayRef>,
    shared: [Shared; SHARED.len()],
}

/// The columns of one kind.
#[derive(Clone, Debug)]
struct Shared {
    /// For each row the index of its values.
    keys: ScalarBuffer<i32>,
    /// In their order.
    columns: Vec<ArrayRef>,
}

/// Rows in the order of their time, and within a time of their sequence.
pub struct Sorted {
    class: Class,
    several: Vec<Rows>,
    /// Which of the several, and the row in it.
    order: Vec<(u32, u32)>,
    /// For each of the several, for each value of the session's kind which session it is.
    sessions: Vec<Vec<u32>>,
}

/// The columns of [`Rows::batch`], in the order of [`Class::schema`].
pub fn in_memory(class: Class) -> SchemaRef {
    let fields = class.schema();
    let fields = fields
        .fields()
        .iter()
        .zip(stored(class))
        .map(|(field, column)| {
            let data_type = match column.by {
                By::Event => field.data_type().clone(),
                _ => DataType::Dictionary(
                    Box::new(DataType::Int32),
                    Box::new(field.data_type().clone()),
                ),
            };
            Field::new(field.name(), data_type, field.is_nullable())
        });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

// === impl Rows ===

impl Rows {
    /// Encodes rows of one class.
    ///
    /// The events must have passed `ingest`'s check: each has a detail, and numbers fit their column.
    pub fn encode(class: Class, rows: &[Row]) -> Self {
        let own = columns(class, By::Event).map(|column| column.fill(class, rows));
        let shared = SHARED.map(|by| {
            let (keys, first) = distinct(by, rows);
            let columns = columns(class, by).map(|column| column.fill(class, &first));
            Shared {
                keys: keys.into(),
                columns: columns.collect(),
            }
        });
        Self {
            class,
            count: rows.len(),
            own: own.collect(),
            shared,
        }
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of memory, as far as Arrow knows them.
    pub fn memory(&self) -> usize {
        let arrays = |arrays: &[ArrayRef]| -> usize {
            arrays
                .iter()
                .map(|array| array.get_array_memory_size())
                .sum()
        };
        let shared = self
            .shared
            .iter()
            .map(|shared| shared.keys.inner().capacity() + arrays(&shared.columns));
        arrays(&self.own) + shared.sum::<usize>()
    }

    /// All of several, one after the other.
    ///
    /// # Errors
    ///
    /// More text in a column than an Arrow array can have (2 GiB).
    pub fn concat(class: Class, several: &[Self]) -> Result<Self, ArrowError> {
        let joined = |column: &dyn Fn(&Self) -> &ArrayRef| {
            let arrays: Vec<&dyn Array> =
                several.iter().map(|rows| column(rows).as_ref()).collect();
            concat(&arrays)
        };
        let own =
            (0..columns(class, By::Event).count()).map(|index| joined(&|rows| &rows.own[index]));
        let own = own.collect::<Result<_, _>>()?;
        let mut shared = Vec::with_capacity(SHARED.len());
        for (kind, by) in SHARED.into_iter().enumerate() {
            let mut keys = Vec::with_capacity(several.iter().map(Self::len).sum());
            let mut before = 0;
            for rows in several {
                let of_rows = &rows.shared[kind];
                keys.extend(of_rows.keys.iter().map(|key| key + before));
                before += i32::try_from(of_rows.values()).map_err(|_| too_many())?;
            }
            let columns = (0..columns(class, by).count())
                .map(|index| joined(&|rows| &rows.shared[kind].columns[index]));
            shared.push(Shared {
                keys: keys.into(),
                columns: columns.collect::<Result<_, _>>()?,
            });
        }
        Ok(Self {
            class,
            count: several.iter().map(Self::len).sum(),
            own,
            shared: shared.try_into().expect("one for each kind"),
        })
    }

    /// As queries read them: with the columns of [`in_memory`].
    pub fn batch(&self) -> Result<RecordBatch, ArrowError> {
        let keys = self
            .shared
            .each_ref()
            .map(|shared| Int32Array::new(shared.keys.clone(), None));
        self.columns(
            |kind, column| {
                let array =
                    DictionaryArray::<Int32Type>::try_new(keys[kind].clone(), Arc::clone(column))?;
                Ok(Arc::new(array))
            },
            |column| Ok(Arc::clone(column)),
        )
        .and_then(|columns| RecordBatch::try_new(in_memory(self.class), columns))
    }

    /// All of several in one order, without copying them.
    pub fn sorted(class: Class, several: Vec<Self>) -> Sorted {
        let mut keyed = Vec::with_capacity(several.iter().map(Self::len).sum());
        for (rows, batch) in several.iter().zip(0..) {
            let (times, seqs) = (rows.times(), rows.seqs());
            let both = times.iter().zip(seqs).zip(0..);
            keyed.extend(both.map(|((time, seq), row)| (*time, *seq, batch, row)));
        }
        keyed.sort_unstable();
        let ids = several
            .iter()
            .flat_map(|rows| rows.shared[SESSION].columns[0].as_string::<i32>());
        let mut ranks = ranks(ids).into_iter();
        let values = |rows: &Self| rows.shared[SESSION].values();
        Sorted {
            class,
            sessions: several
                .iter()
                .map(|rows| ranks.by_ref().take(values(rows)).collect())
                .collect(),
            order: keyed
                .into_iter()
                .map(|(_, _, batch, row)| (batch, row))
                .collect(),
            several,
        }
    }

    /// Microseconds.
    fn times(&self) -> &[i64] {
        self.own_column("time")
            .as_primitive::<TimestampMicrosecondType>()
            .values()
    }

    fn seqs(&self) -> &[i64] {
        self.own_column("seq").as_primitive::<Int64Type>().values()
    }

    fn own_column(&self, name: &str) -> &ArrayRef {
        let place = columns(self.class, By::Event).position(|column| column.name == name);
        &self.own[place.expect("every class has it")]
    }

    /// All columns in their order; what is shared and what is not made into arrays by two functions.
    fn columns(
        &self,
        shared: impl Fn(usize, &ArrayRef) -> Result<ArrayRef, ArrowError>,
        own: impl Fn(&ArrayRef) -> Result<ArrayRef, ArrowError>,
    ) -> Result<Vec<ArrayRef>, ArrowError> {
        let mut own_columns = self.own.iter();
        let mut shared_columns = self.shared.each_ref().map(|shared| shared.columns.iter());
        let arrays = stored(self.class).map(|column| {
            let kind = SHARED.iter().position(|by| *by == column.by);
            match kind {
                Some(kind) => shared(kind, shared_columns[kind].next().expect("encoded so")),
                None => own(own_columns.next().expect("encoded so")),
            }
        });
        arrays.collect()
    }
}

// === impl Shared ===

impl Shared {
    /// How many distinct values there are. (The kinds that are shared have columns in every class.)
    fn values(&self) -> usize {
        self.columns.first().map_or(0, |column| column.len())
    }
}

// === impl Sorted ===

impl Sorted {
    /// Microseconds of each row.
    pub fn times(&self) -> Vec<i64> {
        let times: Vec<_> = self.several.iter().map(Rows::times).collect();
        let of_row = |(batch, row): &(u32, u32)| times[*batch as usize][*row as usize];
        self.order.iter().map(of_row).collect()
    }

    /// Those of a range, each session's together, with the columns of [`Class::schema`].
    pub fn block(&self, range: Range<usize>) -> Result<RecordBatch, ArrowError> {
        let mut rows: Vec<(usize, usize)> = self.order[range]
            .iter()
            .map(|(batch, row)| (*batch as usize, *row as usize))
            .collect();
        let key = |kind: usize, batch: usize, row: usize| {
            let keys = &self.several[batch].shared[kind].keys;
            usize::try_from(keys[row]).expect("an index of a value")
        };
        rows.sort_by_key(|(batch, row)| self.sessions[*batch][key(SESSION, *batch, *row)]);
        let gathered = |column: &dyn Fn(&Rows) -> &ArrayRef, places: &[(usize, usize)]| {
            let arrays: Vec<&dyn Array> = self
                .several
                .iter()
                .map(|rows| column(rows).as_ref())
                .collect();
            interleave(&arrays, places)
        };
        let mut own = 0..;
        let mut shared = SHARED.map(|_| 0..);
        let values: Vec<Vec<(usize, usize)>> = (0..SHARED.len())
            .map(|kind| {
                let value = |(batch, row): &(usize, usize)| (*batch, key(kind, *batch, *row));
                rows.iter().map(value).collect()
            })
            .collect();
        let columns =
            stored(self.class).map(
                |column| match SHARED.iter().position(|by| *by == column.by) {
                    Some(kind) => {
                        let index: usize = shared[kind].next().expect("it has no end");
                        gathered(&|rows| &rows.shared[kind].columns[index], &values[kind])
                    }
                    None => {
                        let index: usize = own.next().expect("it has no end");
                        gathered(&|rows| &rows.own[index], &rows)
                    }
                },
            );
        let columns: Result<Vec<_>, _> = columns.collect();
        RecordBatch::try_new(self.class.schema(), columns?)
    }
}

fn columns(class: Class, by: By) -> impl Iterator<Item = &'static Column> {
    stored(class).filter(move |column| column.by == by)
}

/// For each row the index of what its values of a kind follow from, and a row for each of these.
fn distinct<'a>(by: By, rows: &[Row<'a>]) -> (Vec<i32>, Vec<Row<'a>>) {
    // It is there once a batch, and so is known by where it is.
    let place = |row: &Row<'a>| match by {
        By::Event => None,
        By::Origin => Some(std::ptr::from_ref(row.origin).addr()),
        By::Session => row.session_id().map(|id| id.as_ptr().addr()),
        By::Agent => row.agent().map(|agent| std::ptr::from_ref(agent).addr()),
        By::Process => row
            .process()
            .map(|process| std::ptr::from_ref(process).addr()),
        By::Hook => row.hook().map(|hook| hook.as_ptr().addr()),
        By::Boot => row.boot_id().map(|id| id.as_ptr().addr()),
    };
    let mut known: HashMap<Option<usize>, i32, ahash::RandomState> = HashMap::default();
    let mut first: Vec<Row<'a>> = Vec::new();
    let mut keys = Vec::with_capacity(rows.len());
    let mut last = None;
    for row in rows {
        let place = place(row);
        let key = match last {
            Some((last, key)) if last == place => key,
            _ => *known.entry(place).or_insert_with(|| {
                first.push(*row);
                i32::try_from(first.len() - 1).expect("a group of batches has fewer rows")
            }),
        };
        last = Some((place, key));
        keys.push(key);
    }
    (keys, first)
}

/// Numbers equal texts alike, in the order in which they are first met.
pub fn ranks<'a>(texts: impl Iterator<Item = Option<&'a str>>) -> Vec<u32> {
    let mut known: HashMap<Option<&str>, u32, ahash::RandomState> = HashMap::default();
    let mut ranks = Vec::with_capacity(texts.size_hint().0);
    let mut last = None;
    for text in texts {
        let rank = match last {
            Some((last, rank)) if last == text => rank,
            _ => {
                let next = u32::try_from(known.len()).expect("an Arrow array has fewer texts");
                *known.entry(text).or_insert(next)
            }
        };
        last = Some((text, rank));
        ranks.push(rank);
    }
    ranks
}

fn too_many() -> ArrowError {
    ArrowError::DictionaryKeyOverflowError
}
