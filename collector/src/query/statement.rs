//! From the text of a statement to its plan, in either of two dialects.
//!
//! What PostgreSQL clients ask of the catalogue has forms that the planner does not know; they are
//! rewritten by `datafusion-pg-catalog`. The rewriting loses the places of names, so a statement that
//! it leaves alone is planned from its own text, and errors can point into it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use arrow::datatypes::{DataType, SchemaRef};
use arrow_pg::datatypes::PG_OID_ALIAS_KEY;
use datafusion::{
    common::{
        DataFusionError,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    logical_expr::{
        Expr, LogicalPlan,
        expr::{Cast, Placeholder},
    },
    prelude::SessionContext,
    sql::{
        parser::Statement as Parsed,
        sqlparser::{
            ast::Statement,
            dialect::{GenericDialect, PostgreSqlDialect},
            parser::{Parser, ParserError},
        },
    },
};
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;

use super::{
    QueryError,
    locate::{self, Known},
    question::{Dialect, Question},
};
use crate::schema;

/// What a statement would need and give.
pub struct Description {
    pub schema: SchemaRef,
    /// `$1`, `$2` …
    pub parameters: Vec<Parameter>,
}

/// A value that is given when the statement is run.
#[derive(Clone, Debug, Default)]
pub struct Parameter {
    /// What it is compared with or cast to; unknown when the statement does not tell.
    pub data_type: Option<DataType>,
    /// Kind of PostgreSQL's object numbers that it is compared with, such as `oid`.
    pub alias: Option<String>,
}

static REWRITING: LazyLock<PostgresCompatibilityParser> =
    LazyLock::new(PostgresCompatibilityParser::new);

/// Plans a statement; nothing is checked of what it does.
pub(super) async fn plan(
    context: &SessionContext,
    question: &Question,
) -> Result<LogicalPlan, DataFusionError> {
    let state = context.state();
    let plan = match question.dialect {
        Dialect::Generic => state.create_logical_plan(&question.sql).await?,
        Dialect::Postgres => {
            let statement =
                parse(&question.sql).map_err(|e| DataFusionError::SQL(Box::new(e), None))?;
            let statement = Parsed::Statement(Box::new(statement));
            state.statement_to_plan(statement).await?
        }
    };
    match (&question.parameters, plan) {
        (_, LogicalPlan::DescribeTable(mut told)) => {
            told.schema = schema::plain(&told.schema);
            Ok(LogicalPlan::DescribeTable(told))
        }
        (Some(values), plan) => plan.replace_params_with_values(values),
        (None, plan) => Ok(plan),
    }
}

/// One statement of PostgreSQL's dialect, in the form that the planner knows.
pub(crate) fn parse(sql: &str) -> Result<Statement, ParserError> {
    let written = Parser::new(&PostgreSqlDialect {})
        .try_with_sql(sql)
        .and_then(|mut parser| parser.parse_statements());
    let rewritten = REWRITING.parse(sql);
    let mut statements = match (written, rewritten) {
        (Ok(written), Ok(rewritten)) if text(&written) == text(&rewritten) => written,
        (_, Ok(rewritten)) => rewritten,
        // The error that knows its place.
        (Err(error), Err(_)) | (Ok(_), Err(error)) => return Err(error),
    };
    match (statements.pop(), statements.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(_), false) => Err(ParserError::ParserError("more than one statement".into())),
        (None, _) => Err(ParserError::ParserError("no statement".into())),
    }
}

fn text(statements: &[Statement]) -> Vec<String> {
    statements.iter().map(ToString::to_string).collect()
}

/// Plans a statement for what it would need and give.
pub(super) async fn describe(
    context: &SessionContext,
    question: &Question,
    memory: usize,
) -> Result<Description, QueryError> {
    let failed = |error| explain(context, question, memory, &error);
    let plan = plan(context, question).await.map_err(failed)?;
    Ok(Description {
        schema: schema::plain(plan.schema().as_arrow()),
        parameters: parameters(&plan).map_err(failed)?,
    })
}

/// The parameters in the order of their numbers.
fn parameters(plan: &LogicalPlan) -> Result<Vec<Parameter>, DataFusionError> {
    let types = plan.get_parameter_types()?.into_iter();
    let mut known: HashMap<String, Parameter> = types
        .map(|(id, data_type)| {
            let parameter = Parameter {
                data_type: data_type.as_ref().map(schema::plain_type),
                alias: None,
            };
            (id, parameter)
        })
        .collect();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                match part {
                    Expr::Cast(Cast { expr, field }) => {
                        if let Expr::Placeholder(placeholder) = expr.as_ref() {
                            let parameter = known.entry(placeholder.id.clone()).or_default();
                            parameter
                                .data_type
                                .get_or_insert_with(|| field.data_type().clone());
                        }
                    }
                    Expr::Placeholder(Placeholder { id, field }) => {
                        let compared = field.as_ref();
                        let alias = compared.and_then(|f| f.metadata().get(PG_OID_ALIAS_KEY));
                        // Other kinds of numbers are shown as the names they stand for.
                        if compared.is_some_and(|f| f.data_type() == &DataType::Int32) {
                            known.entry(id.clone()).or_default().alias = alias.cloned();
                        }
                    }
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    let number = |id: &str| id.trim_start_matches('$').parse().unwrap_or(u32::MAX);
    let ordered: BTreeMap<u32, _> = known.into_iter().map(|(id, p)| (number(&id), p)).collect();
    Ok(ordered.into_values().collect())
}

/// Tells an error of planning or running to the one who asked.
pub(super) fn explain(
    context: &SessionContext,
    question: &Question,
    memory: usize,
    error: &DataFusionError,
) -> QueryError {
    let state = context.state();
    let options = &state.config_options().catalog;
    let tables = || {
        let catalog = context.catalog(&options.default_catalog)?;
        Some(catalog.schema(&options.default_schema)?.table_names())
    };
    let functions = state.scalar_functions().keys();
    let functions = functions.chain(state.aggregate_functions().keys());
    let known = Known {
        tables: tables().unwrap_or_default(),
        functions: functions
            .chain(state.window_functions().keys())
            .cloned()
            .collect(),
    };
    let sql = &question.sql;
    match question.dialect {
        Dialect::Generic => locate::explain(error, sql, &GenericDialect {}, &known, memory),
        Dialect::Postgres => locate::explain(error, sql, &PostgreSqlDialect {}, &known, memory),
    }
}
