//! The external sort, in memory and with spilled runs.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int32Type;

use super::*;
use crate::model::wire::{Decoder, Tuples, push_tuple};
use crate::model::{Column, Table, TableName, TypeKind};

fn table(primary_key: &[&str]) -> Table {
    let column = |name: &str, kind: TypeKind| Column {
        name: name.into(),
        type_name: kind.to_string(),
        kind,
        not_null: false,
        generated: false,
        has_default: false,
        user_type: None,
    };
    Table {
        columns: vec![column("id", TypeKind::Int32), column("note", TypeKind::Text)],
        primary_key: primary_key.iter().map(|name| (*name).to_owned()).collect(),
        ..Table::new(TableName::new("public", "t"))
    }
}

/// Batches of `size` rows each, in no order, of 7 tenants and of none.
fn batches(table: &Table, rows: i32, size: usize) -> Vec<RecordBatch> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut ids: Vec<i32> = (0..rows).collect();
    random.shuffle(&mut ids);
    let mut decoder = Decoder::new(Arc::new(table.clone()));
    let mut batches = Vec::new();
    for id in ids {
        let mut tuple = Tuples::default();
        let note = "x".repeat(random.usize(..60));
        push_tuple(&mut tuple, &[Some(&id.to_be_bytes()), Some(note.as_bytes())]);
        let tenant = (id % 8 > 0).then(|| format!("{}", id % 8));
        decoder.push(tenant.as_deref(), &tuple.bytes).expect("push");
        if decoder.rows() == size {
            batches.push(decoder.finish());
        }
    }
    batches.push(decoder.finish());
    batches
}

/// Tenant and id of each row, in order.
async fn sort(
    table: &Table,
    batches: Vec<RecordBatch>,
    memory_bytes: usize,
) -> (Vec<(Option<String>, i32)>, usize) {
    let mut sorter = Sorter::new(Order::new(table).expect("order"), memory_bytes);
    for batch in batches {
        sorter.push(batch).await.expect("push");
    }
    sorter.settle().await.expect("settle");
    let merges = sorter.runs.merges;
    let (mut sorted, _) = sorter.finish().await.expect("finish");
    let mut rows = Vec::new();
    while let Some(batch) = sorted.next().expect("next") {
        let (tenants, ids) =
            (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int32Type>());
        rows.extend(
            (0..batch.num_rows())
                .map(|row| ((!tenants.is_null(row)).then(|| tenants.value(row).to_owned()), ids.value(row))),
        );
    }
    (rows, merges)
}

#[tokio::test]
async fn rows_come_by_tenant_and_key_with_and_without_spilling() {
    let table = table(&["id"]);
    let mut expected: Vec<(Option<String>, i32)> =
        (0..1000).map(|id| ((id % 8 > 0).then(|| format!("{}", id % 8)), id)).collect();
    expected.sort_by_key(|(tenant, id)| (tenant.is_none(), tenant.clone(), *id));
    let (rows, merges) = sort(&table, batches(&table, 1000, 500), 64 << 20).await;
    assert_eq!((rows == expected, merges), (true, 0));
    // 32 kB hold some 250 rows: several runs, merged at once in the end.
    let (rows, merges) = sort(&table, batches(&table, 1000, 50), 32 << 10).await;
    assert_eq!((rows == expected, merges), (true, 0));
    // One run for each batch, and only two fit in a merge: merged runs are merged again and again.
    let (rows, merges) = sort(&table, batches(&table, 1000, 10), 1).await;
    assert_eq!((rows == expected, merges), (true, MERGE_RUNS_MAX - 1));
}

#[tokio::test]
async fn merges_of_merged_runs_use_all_the_ways_that_memory_allows() {
    let table = table(&["id"]);
    // Tiny batches against a roomy merge: every 64 runs become one.
    let mut sorter = Sorter::new(Order::new(&table).expect("order"), 1 << 20);
    for batch in batches(&table, 1300, 10).into_iter().filter(|batch| batch.num_rows() > 0) {
        sorter.push(batch).await.expect("push");
        sorter.spill().await.expect("spill");
    }
    sorter.settle().await.expect("settle");
    let levels: Vec<usize> = sorter.runs.levels.iter().map(Vec::len).collect();
    assert_eq!((levels, sorter.runs.merges), (vec![130 - 2 * MERGE_RUNS_MAX, 2], 2));
    let (mut sorted, rows) = sorter.finish().await.expect("finish");
    let mut seen = 0;
    while let Some(batch) = sorted.next().expect("next") {
        seen += batch.num_rows() as u64;
    }
    assert_eq!((rows, seen), (1300, 1300));
}

#[test]
fn a_table_without_usable_key_is_ordered_by_the_hash_of_its_rows() {
    assert_eq!(Order::new(&table(&["id"])).expect("order").key_columns(), ["reinstate_tenant", "id"]);
    assert_eq!(Order::new(&table(&[])).expect("order").key_columns(), ["reinstate_tenant", "reinstate_hash"]);
    let mut generated = table(&["id"]);
    generated.columns[0].generated = true;
    assert_eq!(Order::new(&generated).expect("order").key_columns(), ["reinstate_tenant", "reinstate_hash"]);
}

#[tokio::test]
async fn a_batch_that_does_not_fit_its_table_is_refused() {
    let order = Order::new(&table(&["id"])).expect("order");
    let mut other = table(&[]);
    other.columns[0].kind = TypeKind::Int64;
    let mut tuple = Tuples::default();
    push_tuple(&mut tuple, &[Some(&[0; 8]), None]);
    let mut decoder = Decoder::new(Arc::new(other));
    decoder.push(None, &tuple.bytes).expect("push");
    let error = Sorter::new(order, 1 << 20).push(decoder.finish()).await.expect_err("refused");
    assert!(
        error.chain().starts_with("the source's batch does not fit table 'public.t': "),
        "{}",
        error.chain()
    );
}
