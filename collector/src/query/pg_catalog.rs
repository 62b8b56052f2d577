//! PostgreSQL's catalogue over our tables, by `datafusion-pg-catalog`.
//!
//! It is made once and describes the tables without holding any data of theirs: clients ask for an
//! object by the number (OID) that an earlier answer gave it, so the numbers must outlive a query,
//! and a snapshot must not.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{SchemaProvider, Session},
    common::{DataFusionError, Result},
    datasource::{TableProvider, TableType},
    execution::SessionStateBuilder,
    logical_expr::Expr,
    physical_plan::{ExecutionPlan, empty::EmptyExec},
    prelude::{SessionConfig, SessionContext},
};
use datafusion_pg_catalog::pg_catalog::{
    context::EmptyContextProvider, oid_type_planner::PgOidTypePlanner, setup_pg_catalog,
};

const SCHEMA: &str = "pg_catalog";

/// The catalogue, and the functions that go with it.
pub(super) struct PgCatalog {
    prepared: SessionContext,
    schema: Arc<dyn SchemaProvider>,
}

/// What there is to know of a table without its rows.
#[derive(Debug)]
struct Shape {
    schema: SchemaRef,
    kind: TableType,
}

// === impl PgCatalog ===

impl PgCatalog {
    /// A catalogue of the tables that a context has.
    pub async fn describing(context: &SessionContext) -> Result<Self> {
        let options = context.state().config_options().catalog.clone();
        let (catalog, schema) = (&options.default_catalog, &options.default_schema);
        let config = SessionConfig::new()
            .with_default_catalog_and_schema(catalog, schema)
            .with_information_schema(true);
        let prepared = SessionContext::new_with_config(config);
        let tables = context.catalog(catalog).and_then(|c| c.schema(schema));
        let tables = tables.ok_or_else(|| missing(schema))?;
        for name in tables.table_names() {
            if let Some(table) = tables.table(&name).await? {
                let shape = Shape {
                    schema: table.schema(),
                    kind: table.table_type(),
                };
                prepared.register_table(name.as_str(), Arc::new(shape))?;
            }
        }
        setup_pg_catalog(&prepared, catalog, EmptyContextProvider).map_err(|error| *error)?;
        let schema = prepared.catalog(catalog).and_then(|c| c.schema(SCHEMA));
        Ok(Self {
            schema: schema.ok_or_else(|| missing(SCHEMA))?,
            prepared,
        })
    }

    pub fn add_to(&self, context: &SessionContext) -> Result<()> {
        let catalog = context
            .state()
            .config_options()
            .catalog
            .default_catalog
            .clone();
        let catalog = context.catalog(&catalog).ok_or_else(|| missing(&catalog))?;
        catalog.register_schema(SCHEMA, Arc::clone(&self.schema))?;
        let prepared = self.prepared.state();
        let state = context.state_ref();
        let known = state.read().clone();
        // Its own forms of functions that the engine has, too, take wider arguments.
        let mut tables = known.table_functions().clone();
        tables.extend(prepared.table_functions().clone());
        let mut functions = known.scalar_functions().clone();
        for (name, function) in prepared.scalar_functions() {
            functions
                .entry(name.clone())
                .or_insert_with(|| Arc::clone(function));
        }
        let built = SessionStateBuilder::new_from_existing(known)
            .with_type_planner(Arc::new(PgOidTypePlanner))
            .with_scalar_functions(functions.into_values().collect())
            .with_table_functions(tables)
            .build();
        *state.write() = built;
        Ok(())
    }
}

fn missing(name: &str) -> DataFusionError {
    DataFusionError::Internal(format!("the planner has no {name}"))
}

// === impl Shape ===

#[async_trait]
impl TableProvider for Shape {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        self.kind
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        Ok(Arc::new(EmptyExec::new(schema)))
    }
}
