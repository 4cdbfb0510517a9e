//! A row's name for people.

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::Table;
use super::wire::Decoder;

/// `column=value` of the primary key, or of the whole row where the table has none.
pub fn row_name(table: &Table, batch: &RecordBatch, row: usize) -> String {
    let all = || table.stored_columns().map(|column| &column.name).collect();
    let names: Vec<&String> =
        if table.primary_key.is_empty() { all() } else { table.primary_key.iter().collect() };
    let shown: Vec<String> = names.iter().map(|name| format!("{name}={}", cell(batch, name, row))).collect();
    shown.join(" ")
}

/// The same of a row in wire form.
pub fn tuple_name(table: &Table, tuple: &[u8]) -> String {
    let mut decoder = Decoder::new(std::sync::Arc::new(table.clone()));
    match decoder.push(None, tuple) {
        Ok(()) => row_name(table, &decoder.finish(), 0),
        Err(_) => "a row of other types".to_owned(),
    }
}

fn cell(batch: &RecordBatch, column: &str, row: usize) -> String {
    let options = FormatOptions::default().with_null("NULL");
    batch
        .column_by_name(column)
        .and_then(|array| {
            ArrayFormatter::try_new(array.as_ref(), &options).ok().map(|cells| cells.value(row).to_string())
        })
        .unwrap_or_else(|| "?".into())
}
