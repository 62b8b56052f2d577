//! The schema in which a statement looks up names: tables, and views that are planned when they are
//! asked for. Planning all of them would take longer than most queries.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use datafusion::{
    catalog::{MemorySchemaProvider, SchemaProvider, TableProvider},
    datasource::ViewTable,
    error::Result,
    execution::SessionState,
    prelude::SessionContext,
};
use parking_lot::RwLock;

use super::views::VIEWS;

/// Tables are there once they are registered, views from the beginning.
#[derive(Debug)]
pub(super) struct Names {
    tables: MemorySchemaProvider,
    /// What plans the views: the context that has this schema.
    planner: Weak<RwLock<SessionState>>,
}

// === impl Names ===

impl Names {
    /// Puts it in the place of the context's own.
    pub fn install(context: &SessionContext) -> Result<()> {
        let names = Self {
            tables: MemorySchemaProvider::new(),
            planner: context.state_weak_ref(),
        };
        let options = context.copied_config().options().catalog.clone();
        let catalog = context.catalog(&options.default_catalog);
        let catalog = catalog.expect("a context has its default catalog");
        catalog.register_schema(&options.default_schema, Arc::new(names))?;
        Ok(())
    }
}

#[async_trait]
impl SchemaProvider for Names {
    fn table_names(&self) -> Vec<String> {
        let views = VIEWS.iter().map(|view| view.name.to_owned());
        self.tables.table_names().into_iter().chain(views).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(view) = VIEWS.iter().find(|view| view.name == name) else {
            return self.tables.table(name).await;
        };
        let Some(planner) = self.planner.upgrade() else {
            return Ok(None); // nobody plans any more
        };
        let planner = planner.read().clone();
        let plan = planner.create_logical_plan(view.sql).await?;
        Ok(Some(Arc::new(ViewTable::new(
            plan,
            Some(view.sql.to_owned()),
        ))))
    }

    fn register_table(
        &self,
        name: String,
        table: Arc<dyn TableProvider>,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        self.tables.register_table(name, table)
    }

    fn table_exist(&self, name: &str) -> bool {
        VIEWS.iter().any(|view| view.name == name) || self.tables.table_exist(name)
    }
}
