//! An answer as columns for a person, fitted into a width.

use std::io::Write;

use arrow::datatypes::DataType;

use super::{
    Answer, ClientError, errno,
    output::batch_cells,
    text::{plain, short_time, shorten},
};

/// Columns between two columns of a table.
const GAP: usize = 2;
/// No column is made narrower than this to fit the others in.
const NARROWEST: usize = 6;

/// Prints an answer; the widest columns are cut with … until all fit into `width`.
pub(super) fn print(
    answer: &Answer,
    width: usize,
    out: &mut impl Write,
) -> Result<(), ClientError> {
    let fields = answer.schema.fields();
    let is_time = |column: usize| matches!(fields[column].data_type(), DataType::Timestamp(..));
    let is_result = |column: usize| fields[column].name().eq_ignore_ascii_case("result");
    let cells = cells(answer)?;
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
            Some(result) if is_result(column) => outcome(plain(&result)),
            Some(text) => plain(&text),
        };
        row.into_iter().enumerate().map(cell).collect::<Vec<_>>()
    });
    let mut lines = vec![
        fields
            .iter()
            .map(|field| plain(field.name()))
            .collect::<Vec<_>>(),
    ];
    lines.extend(rows);

    let fixed: Vec<bool> = (0..fields.len()).map(is_time).collect();
    let widths = fit(&lines, &fixed, width);
    for line in &lines {
        let mut text = String::new();
        for (column, cell) in line.iter().enumerate() {
            let cell = shorten(cell, widths[column]);
            let room = " ".repeat(widths[column] - cell.chars().count());
            match fields[column].data_type().is_numeric() {
                true => text.extend([room, cell]),
                false => text.extend([cell, room]),
            }
            text.push_str(&" ".repeat(GAP));
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

/// Widths that fit, taken from the widest columns that are not fixed first.
fn fit(lines: &[Vec<String>], fixed: &[bool], width: usize) -> Vec<usize> {
    let longest = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let mut widths: Vec<usize> = (0..fixed.len()).map(|c| longest(c).unwrap_or(0)).collect();
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

/// The name of a negative errno; other values as they are.
fn outcome(result: String) -> String {
    let name = result.parse().ok().and_then(errno::name);
    name.map_or(result, str::to_owned)
}

/// Every cell as text; `None` is null.
fn cells(answer: &Answer) -> Result<Vec<Vec<Option<String>>>, ClientError> {
    let mut rows = Vec::with_capacity(answer.rows());
    for batch in &answer.batches {
        rows.extend(batch_cells(batch)?);
    }
    Ok(rows)
}
