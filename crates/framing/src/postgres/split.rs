//! A text of several statements, one by one; each keeps its own text, so that errors can point into
//! it and the record of queries has it as it was written.

use sqlparser::{
    dialect::PostgreSqlDialect,
    tokenizer::{Token, Tokenizer},
};

/// A statement and where it begins, in characters.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    pub sql: String,
    pub offset: u64,
}

/// The statements of a text; one that cannot be read is one statement.
pub fn split(text: &str) -> Vec<Piece> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location();
    let Ok(tokens) = tokens else {
        return vec![Piece {
            sql: text.to_owned(),
            offset: 0,
        }];
    };
    let ends = tokens
        .iter()
        .filter(|token| token.token == Token::SemiColon)
        .map(|token| (token.span.start.line, token.span.start.column));
    let mut ends = ends.peekable();
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut begin = 0;
    let (mut line, mut column) = (1, 1);
    for (offset, character) in text.chars().enumerate() {
        if ends.peek() == Some(&(line, column)) {
            ends.next();
            pieces.push((std::mem::take(&mut piece), begin));
            begin = offset as u64 + 1;
        } else {
            piece.push(character);
        }
        match character {
            '\n' => (line, column) = (line + 1, 1),
            _ => column += 1,
        }
    }
    pieces.push((piece, begin));
    let said = |(sql, offset): (String, u64)| {
        let blank = sql.chars().take_while(|c| c.is_whitespace()).count();
        let piece = Piece {
            offset: offset + blank as u64,
            sql: sql.trim().to_owned(),
        };
        Some(piece).filter(|piece| !is_empty(&piece.sql))
    };
    pieces.into_iter().filter_map(said).collect()
}

/// Nothing but comments.
fn is_empty(sql: &str) -> bool {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize();
    tokens.is_ok_and(|tokens| tokens.iter().all(|t| matches!(t, Token::Whitespace(_))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_statement_is_where_it_is_said_to_be(
            text in "[ ;'\"$\\\\\n*/a1é-]{0,40}",
        ) {
            let mut end = 0;
            for Piece { sql, offset } in split(&text) {
                let offset = usize::try_from(offset).unwrap();
                prop_assert!(offset >= end, "in their order");
                let length = sql.chars().count();
                let there: String = text.chars().skip(offset).take(length).collect();
                prop_assert_eq!(&there, &sql);
                end = offset + length;
            }
        }
    }

    #[test]
    fn semicolons_in_text_and_comments_do_not_end_a_statement() {
        let text = " SELECT 'é;' ;\n-- a; b\nSELECT $$;$$, \";\" ;; /* ; */";
        let pieces = split(text);
        let said: Vec<_> = pieces.iter().map(|p| (p.sql.as_str(), p.offset)).collect();
        let expected = [("SELECT 'é;'", 1), ("-- a; b\nSELECT $$;$$, \";\"", 15)];
        assert_eq!(said, expected);
    }

    #[test]
    fn what_cannot_be_read_stays_whole() {
        assert_eq!(split("SELECT 'a; b").len(), 1);
        assert!(split(" ; ;-- nothing\n").is_empty());
    }
}
