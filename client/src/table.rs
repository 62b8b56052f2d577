//! An answer as columns for a person, fitted into a width.

use std::io::Write;

use arrow::datatypes::DataType;

use skep_human::terminal::{fill, plain, shorten, width as columns_of};

use crate::{
    answer::Answer,
    cells,
    error::ClientError,
    text::{outcome, short_time},
};

/// Columns between two columns of a table.
const GAP: usize = 2;
/// No column is made narrower than this to fit the others in.
const NARROWEST: usize = 6;

/// Prints an answer; the widest columns are cut with … until all fit into `width`.
pub fn print(answer: &Answer, width: usize, out: &mut impl Write) -> Result<(), ClientError> {
    let fields = answer.schema.fields();
    let is_time = |column: usize| matches!(fields[column].data_type(), DataType::Timestamp(..));
    let is_result = |column: usize| fields[column].name().eq_ignore_ascii_case("result");
    let cells = all_cells(answer)?;
    // Milliseconds only where a time of the column has them.
    let split =
        |row: &Vec<Option<String>>, c: usize| row[c].as_ref().is_some_and(|t| t.contains('.'));
    let fine: Vec<bool> = (0..fields.len())
        .map(|c| cells.iter().any(|row| split(row, c)))
        .collect();
    let rows = cells.into_iter().map(|row| {
        let cell = |(column, cell): (usize, Option<String>)| match cell {
            None => "-".to_owned(),
            Some(time) if is_time(column) => short_time(&time, fine[column]),
            Some(result) if is_result(column) => result_name(&result),
            Some(text) => plain(&text).into_owned(),
        };
        row.into_iter().enumerate().map(cell).collect::<Vec<_>>()
    });
    let mut lines = vec![
        fields
            .iter()
            .map(|field| plain(field.name()).into_owned())
            .collect::<Vec<_>>(),
    ];
    lines.extend(rows);

    let fixed: Vec<bool> = (0..fields.len()).map(is_time).collect();
    let widths = fit(&lines, &fixed, width);
    for line in &lines {
        let mut text = String::new();
        for (column, cell) in line.iter().enumerate() {
            let cell = shorten(cell, widths[column]);
            let blanks = fill(&cell, widths[column]);
            match fields[column].data_type().is_numeric() {
                true => text.extend([&blanks, &*cell]),
                false => text.extend([&*cell, &blanks]),
            }
            text.push_str(&" ".repeat(GAP));
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

/// Widths that fit, taken from the widest columns that are not fixed first.
fn fit(lines: &[Vec<String>], fixed: &[bool], width: usize) -> Vec<usize> {
    let widest = |column: usize| lines.iter().map(|line| columns_of(&line[column])).max();
    let mut widths: Vec<usize> = (0..fixed.len()).map(|c| widest(c).unwrap_or(0)).collect();
    let room = width.saturating_sub(GAP * fixed.len().saturating_sub(1));
    while widths.iter().sum::<usize>() > room {
        let flexible = widths.iter_mut().zip(fixed).filter(|(_, fixed)| !**fixed);
        match flexible.map(|(width, _)| width).max() {
            Some(widest) if *widest > NARROWEST => *widest -= 1,
            _ => break,
        }
    }
    widths
}

/// A result that is no number stays as it is.
fn result_name(result: &str) -> String {
    let number = result.parse().ok();
    number.map_or_else(|| plain(result).into_owned(), outcome)
}

/// Every cell as text; `None` is null.
fn all_cells(answer: &Answer) -> Result<Vec<Vec<Option<String>>>, ClientError> {
    let mut rows = Vec::with_capacity(answer.rows());
    for batch in &answer.batches {
        rows.extend(cells::of(batch)?);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

    use super::*;

    fn printed(names: &[&str], width: usize) -> Vec<String> {
        let pids = Int64Array::from_iter_values(0..names.len() as i64);
        let batch = RecordBatch::try_from_iter([
            (
                "PATH",
                Arc::new(StringArray::from(names.to_vec())) as ArrayRef,
            ),
            ("PID", Arc::new(pids)),
            ("END", Arc::new(StringArray::from(vec!["|"; names.len()]))),
        ])
        .unwrap();
        let answer = Answer {
            schema: batch.schema(),
            batches: vec![batch],
            truncated: false,
        };
        let mut out = Vec::new();
        print(&answer, width, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn columns_line_up_below_each_other_whatever_the_script() {
        let paths = [
            "/home/dev/plain",
            "/home/dev/日本語/ファイル",
            "/home/dev/🦀👍🏽",
            "/home/dev/e\u{301}te\u{301}", // decomposed accents
            "/home/dev/zero\u{200b}\u{200d}width",
            "/home/dev/\u{202e}gnp.exe\u{1b}[2J\n",
        ];
        for width in [80, 30, 24] {
            let lines = printed(&paths, width);
            let ends: Vec<usize> = lines[1..]
                .iter()
                .map(|line| columns_of(line.split_once('|').unwrap().0))
                .collect();
            assert!(ends.iter().all(|end| *end == ends[0]), "{lines:#?}");
            assert!(ends[0] < width, "{lines:#?}");
        }
        let wide = printed(&paths, 200).join("\n");
        for (raw, shown) in [
            ('\u{200b}', r"\u{200b}"),
            ('\u{202e}', r"\u{202e}"),
            ('\u{1b}', r"\u{1b}"),
        ] {
            assert!(!wide.contains(raw) && wide.contains(shown), "{wide}");
        }
    }
}
