//! The table `events`: the tables of all classes side by side, and the rows that are in none yet.
//!
//! A query reads only what it can need: filters are first decided for each class (a class has no
//! rows with a value in a column it does not have), then for each file by its first and last time,
//! then by the Parquet reader for row groups and pages. What is read may be more than what matches;
//! the planner filters again.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::Session,
    common::{
        DFSchema, ScalarValue,
        tree_node::{Transformed, TreeNode},
    },
    datasource::{TableProvider, TableType, memory::MemorySourceConfig},
    error::Result,
    logical_expr::{
        Expr, TableProviderFilterPushDown, expr::Cast, lit, simplify::SimplifyContext,
        utils::conjunction,
    },
    optimizer::simplify_expressions::ExprSimplifier,
    physical_expr::{PhysicalExpr, expressions},
    physical_plan::{
        ExecutionPlan, empty::EmptyExec, projection::ProjectionExec, union::UnionExec,
    },
};

use crate::{
    scan::Scan,
    schema::{self, CLASS, Class, Rows, Stored},
    store::{DataFile, Snapshot},
};

/// `events` as of one moment.
#[derive(Debug)]
pub(super) struct Events {
    snapshot: Snapshot,
}

// === impl Events ===

impl Events {
    pub fn of(snapshot: Snapshot) -> Self {
        Self { snapshot }
    }

    /// The rows of a class that are in no file.
    fn in_memory(&self, class: Class, wanted: &[usize]) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.snapshot.rows(class).iter().map(Rows::batch);
        let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
        let kept = schema::in_memory(class);
        let rows = MemorySourceConfig::try_new_exec(&[rows], kept, Some(wanted.to_vec()))?;
        let stored = class.queried();
        let columns = wanted.iter().enumerate().map(|(index, column_index)| {
            let field = stored.field(*column_index);
            let column: Arc<dyn PhysicalExpr> =
                Arc::new(expressions::Column::new(field.name(), index));
            // By way of the plain type: a dictionary may have a null among its values, and a cast to
            // views would make an empty text of it.
            let plain = class.schema().field(*column_index).data_type().clone();
            let plain = expressions::cast(column, &rows.schema(), plain)?;
            let viewed = expressions::cast(plain, &rows.schema(), field.data_type().clone())?;
            Ok((viewed, field.name().clone()))
        });
        let columns: Result<Vec<_>> = columns.collect();
        Ok(Arc::new(ProjectionExec::try_new(columns?, rows)?))
    }

    /// A plan for one class; `None` when none of its rows can match.
    fn scan_class(
        &self,
        state: &dyn Session,
        class: Class,
        columns: &[Arc<Field>],
        filters: &[Expr],
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(filters) = decide(class, filters)? else {
            return Ok(None);
        };
        let stored = class.queried();
        let wanted = columns
            .iter()
            .filter_map(|c| stored.index_of(c.name()).ok());
        // A file cannot be read without a column; any will do to count rows.
        let mut wanted: Vec<usize> = wanted.collect();
        if wanted.is_empty() {
            wanted.push(stored.index_of("time").expect("every class has it"));
        }
        let times = Times::of(&filters);
        let files: Vec<_> = self
            .snapshot
            .files(class)
            .iter()
            .filter(|file| times.may_be_in(file))
            .collect();
        let mut parts = vec![self.in_memory(class, &wanted)?];
        if !files.is_empty() {
            let mut options = state.default_table_options().parquet;
            options.global.pushdown_filters = is_about_text(&filters, &stored);
            let scan = Scan {
                class,
                files,
                projection: Some(wanted),
                predicate: predicate(state, &stored, filters)?,
                options,
                groups: state.config().target_partitions(),
            };
            parts.push(scan.plan(state.runtime_env(), self.snapshot.root())?);
        }
        let rows = UnionExec::try_new(parts)?;
        Ok(Some(widen(class, columns, rows)?))
    }
}

#[async_trait]
impl TableProvider for Events {
    fn schema(&self) -> SchemaRef {
        schema::events()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let whole = schema::events();
        let columns: Vec<_> = match projection {
            Some(indices) => indices
                .iter()
                .map(|i| Arc::clone(&whole.fields()[*i]))
                .collect(),
            None => whole.fields().to_vec(),
        };
        let mut parts = Vec::new();
        for class in Class::ALL {
            parts.extend(self.scan_class(state, class, &columns, filters)?);
        }
        match parts.is_empty() {
            true => Ok(Arc::new(EmptyExec::new(Arc::new(Schema::new(columns))))),
            false => UnionExec::try_new(parts),
        }
    }

    /// Filters leave out classes, files and row groups; the planner applies them again.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}

/// What is left of filters for one class; `None` when no row of it can pass.
fn decide(class: Class, filters: &[Expr]) -> Result<Option<Vec<Expr>>> {
    let whole = schema::events();
    let stored = class.queried();
    let simplifier = ExprSimplifier::new(
        SimplifyContext::builder()
            .with_schema(Arc::new(DFSchema::try_from(whole.as_ref().clone())?))
            .build(),
    );
    let mut left = Vec::new();
    for filter in filters {
        let known = filter.clone().transform(|expr| {
            let Expr::Column(column) = &expr else {
                return Ok(Transformed::no(expr));
            };
            if column.name == CLASS {
                return Ok(Transformed::yes(lit(name_of(class))));
            }
            match (
                whole.field_with_name(&column.name),
                stored.index_of(&column.name),
            ) {
                // The planner may qualify columns; a file does not.
                (Ok(_), Ok(_)) => Ok(Transformed::yes(datafusion::prelude::ident(&column.name))),
                (Ok(field), Err(_)) => {
                    let null = ScalarValue::try_from(field.data_type())?;
                    Ok(Transformed::yes(Expr::Literal(null, None)))
                }
                (Err(_), _) => Ok(Transformed::no(expr)),
            }
        })?;
        match simplifier.simplify(known.data)? {
            Expr::Literal(value, _) => match value {
                ScalarValue::Boolean(Some(true)) => {}
                ScalarValue::Boolean(_) | ScalarValue::Null => return Ok(None),
                _ => {}
            },
            expr => left.push(expr),
        }
    }
    Ok(Some(left))
}

/// Whether filters look at a text. Then it pays to decide row by row while a file is read, and to leave
/// the other columns of what does not match undecoded; comparing numbers costs less than that.
fn is_about_text(filters: &[Expr], stored: &SchemaRef) -> bool {
    let columns = filters.iter().flat_map(Expr::column_refs);
    columns
        .filter_map(|column| stored.field_with_name(&column.name).ok())
        .any(|field| field.data_type() == &DataType::Utf8View)
}

fn predicate(
    state: &dyn Session,
    stored: &SchemaRef,
    filters: Vec<Expr>,
) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let schema = DFSchema::try_from(stored.as_ref().clone())?;
    conjunction(filters)
        .map(|filter| state.create_physical_expr(filter, &schema))
        .transpose()
}

/// A class as the column `class` has it.
fn name_of(class: Class) -> ScalarValue {
    ScalarValue::Utf8View(Some(class.name().to_owned()))
}

/// Rows of a class with the columns of `events` that are wanted, in their order.
fn widen(
    class: Class,
    columns: &[Arc<Field>],
    rows: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let given = rows.schema();
    let column = |field: &Arc<Field>| {
        let name = field.name();
        let value: Arc<dyn PhysicalExpr> = match given.index_of(name) {
            Ok(index) => Arc::new(expressions::Column::new(name, index)),
            Err(_) if name == CLASS => expressions::lit(name_of(class)),
            Err(_) => expressions::lit(ScalarValue::try_from(field.data_type())?),
        };
        Ok((value, name.clone()))
    };
    let columns: Result<Vec<_>> = columns.iter().map(column).collect();
    Ok(Arc::new(ProjectionExec::try_new(columns?, rows)?))
}

/// The times that filters ask for, in microseconds.
struct Times {
    first: i64,
    last: i64,
}

// === impl Times ===

impl Times {
    /// At least what the filters let through.
    fn of(filters: &[Expr]) -> Self {
        let mut times = Self {
            first: i64::MIN,
            last: i64::MAX,
        };
        for filter in filters {
            times.narrow(filter);
        }
        times
    }

    fn narrow(&mut self, filter: &Expr) {
        use datafusion::logical_expr::Operator::{And, Eq, Gt, GtEq, Lt, LtEq};
        let Expr::BinaryExpr(binary) = filter else {
            if let Expr::Between(between) = filter
                && !between.negated
                && is_time(&between.expr)
            {
                self.first = self.first.max(micros(&between.low).unwrap_or(i64::MIN));
                self.last = self.last.min(micros(&between.high).unwrap_or(i64::MAX));
            }
            return;
        };
        if binary.op == And {
            self.narrow(&binary.left);
            self.narrow(&binary.right);
            return;
        }
        let (op, value) = match (is_time(&binary.left), is_time(&binary.right)) {
            (true, false) => (Some(binary.op), micros(&binary.right)),
            (false, true) => (binary.op.swap(), micros(&binary.left)),
            _ => return,
        };
        let (Some(op), Some(value)) = (op, value) else {
            return;
        };
        if matches!(op, Gt | GtEq | Eq) {
            self.first = self.first.max(value);
        }
        if matches!(op, Lt | LtEq | Eq) {
            self.last = self.last.min(value);
        }
    }

    fn may_be_in(&self, file: &DataFile) -> bool {
        file.last_time.is_none_or(|last| last >= self.first)
            && file.first_time.is_none_or(|first| first <= self.last)
    }
}

fn is_time(expr: &Expr) -> bool {
    match expr {
        Expr::Column(column) => column.name == "time",
        Expr::Cast(Cast { expr, .. }) => is_time(expr),
        _ => false,
    }
}

/// A constant time, to the microsecond at or before it.
fn micros(expr: &Expr) -> Option<i64> {
    let Expr::Literal(value, _) = expr else {
        return None;
    };
    match value {
        ScalarValue::TimestampSecond(time, _) => time.and_then(|t| t.checked_mul(1_000_000)),
        ScalarValue::TimestampMillisecond(time, _) => time.and_then(|t| t.checked_mul(1000)),
        ScalarValue::TimestampMicrosecond(time, _) => *time,
        ScalarValue::TimestampNanosecond(time, _) => time.map(|t| t.div_euclid(1000)),
        _ => None,
    }
}
