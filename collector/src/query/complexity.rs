//! What a statement may look like before it is planned.
//!
//! Planning recurses over the depth of a statement and does not pause, so that neither the time
//! limit nor the memory limit stops it. A chain of operators (`1+1+1…`) is as deep as it is long:
//! hence a bound on all that can nest. Names, values and commas do not count, so that a long list
//! of values is fine.

use datafusion::sql::sqlparser::{
    dialect::{GenericDialect, PostgreSqlDialect},
    keywords::Keyword,
    tokenizer::{Token, Tokenizer, TokenizerError},
};

use super::{QueryError, locate, question::Dialect};

/// Bytes of a statement.
const MAX_BYTES: usize = 64 << 10;
/// Operators, parentheses and keywords of a statement.
const MAX_OPERATORS: usize = 500;

pub(super) fn check(sql: &str, dialect: Dialect) -> Result<(), QueryError> {
    if sql.len() > MAX_BYTES {
        return Err(QueryError::TooLong { limit: MAX_BYTES });
    }
    let tokens = match dialect {
        Dialect::Generic => Tokenizer::new(&GenericDialect {}, sql).tokenize(),
        Dialect::Postgres => Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize(),
    };
    let unreadable = |error: TokenizerError| locate::syntax(&error.to_string(), sql);
    let tokens = tokens.map_err(|error| QueryError::Sql(unreadable(error)))?;
    match tokens.iter().filter(|token| nests(token)).count() > MAX_OPERATORS {
        true => Err(QueryError::TooComplex {
            limit: MAX_OPERATORS,
        }),
        false => Ok(()),
    }
}

fn nests(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.keyword != Keyword::NoKeyword,
        Token::Comma
        | Token::Period
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::Whitespace(_) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_pass_and_long_chains_do_not() {
        let check = |sql: &str| check(sql, Dialect::Generic);
        let ids = format!("'{}'", ["0123456789abcdef"; 3000].join("','"));
        assert!(check(&format!("SELECT a.b FROM a WHERE c IN ({ids})")).is_ok());
        for chain in ["1+", "a OR ", "NOT ", "- ", "(", "[", "CASE "] {
            let chain = format!("SELECT {}1", chain.repeat(600));
            assert!(
                matches!(check(&chain), Err(QueryError::TooComplex { .. })),
                "{chain}"
            );
        }
        assert!(matches!(
            check(&" ".repeat(70_000)),
            Err(QueryError::TooLong { .. })
        ));
    }
}
