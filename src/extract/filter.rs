//! Whose row it is. This is the one place that decides it: a source may return rows of more tenants than
//! asked.

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;

use crate::error::{Error, Result};
use crate::model::{TENANT_COLUMN, TenantId};

/// Keeps the rows whose owner is `tenant`. A row without owner is nobody's.
pub fn of_tenant(batch: RecordBatch, tenant: &TenantId) -> Result<RecordBatch> {
    let owners = batch.column_by_name(TENANT_COLUMN).and_then(|column| column.as_string_opt::<i32>());
    let owners = owners.ok_or_else(|| Error::bug("a source's batch does not say who owns its rows"))?;
    let is_owned = |row: usize| !owners.is_null(row) && owners.value(row) == tenant.as_str();
    let mask: BooleanArray = (0..owners.len()).map(|row| Some(is_owned(row))).collect();
    masked(batch, &mask)
}

/// Keeps the rows without owner.
pub fn of_nobody(batch: RecordBatch) -> Result<RecordBatch> {
    let owners = batch.column_by_name(TENANT_COLUMN);
    let owners = owners.ok_or_else(|| Error::bug("a source's batch does not say who owns its rows"))?;
    let mask: BooleanArray = (0..owners.len()).map(|row| Some(owners.is_null(row))).collect();
    masked(batch, &mask)
}

/// Cuts a batch where the owner changes. Rows without owner are left out.
pub fn by_tenant(batch: &RecordBatch) -> Result<Vec<(TenantId, RecordBatch)>> {
    let owners = batch.column_by_name(TENANT_COLUMN).and_then(|column| column.as_string_opt::<i32>());
    let owners = owners.ok_or_else(|| Error::bug("a source's batch does not say who owns its rows"))?;
    let owner = |row: usize| (!owners.is_null(row)).then(|| owners.value(row));
    let mut runs = Vec::new();
    let mut first = 0;
    for row in 1..=owners.len() {
        if row == owners.len() || owner(row) != owner(first) {
            runs.extend(owner(first).map(|owner| (TenantId::new(owner), batch.slice(first, row - first))));
            first = row;
        }
    }
    Ok(runs)
}

fn masked(batch: RecordBatch, mask: &BooleanArray) -> Result<RecordBatch> {
    if mask.true_count() == batch.num_rows() {
        return Ok(batch);
    }
    filter_record_batch(&batch, mask).map_err(|error| Error::bug("unable to filter rows").because(error))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Array, StringArray};

    use super::*;

    fn batch(owners: &[Option<&str>]) -> RecordBatch {
        let numbers: Int32Array = (0..owners.len() as i32).map(Some).collect();
        let owners: StringArray = owners.iter().copied().collect();
        RecordBatch::try_from_iter([(TENANT_COLUMN, Arc::new(owners) as _), ("n", Arc::new(numbers) as _)])
            .expect("batch")
    }

    #[test]
    fn only_the_tenants_own_rows_pass() {
        let tenant = TenantId::new("7");
        let kept =
            of_tenant(batch(&[Some("7"), Some("77"), None, Some("7 "), Some("7")]), &tenant).expect("filter");
        assert_eq!(kept.column(1).as_primitive::<arrow::datatypes::Int32Type>().values().to_vec(), [0, 4]);
        assert_eq!(of_tenant(batch(&[Some("7")]), &tenant).expect("filter").num_rows(), 1);
        assert_eq!(of_tenant(batch(&[None]), &tenant).expect("filter").num_rows(), 0);
        assert_eq!(of_tenant(batch(&[]), &tenant).expect("filter").num_rows(), 0);
    }

    #[test]
    fn a_batch_is_cut_where_the_owner_changes() {
        let runs = by_tenant(&batch(&[Some("7"), Some("7"), None, Some("7"), Some("8")])).expect("cut");
        let found: Vec<(&str, Vec<i32>)> = runs
            .iter()
            .map(|(tenant, rows)| {
                let numbers = rows.column(1).as_primitive::<arrow::datatypes::Int32Type>();
                (tenant.as_str(), numbers.values().to_vec())
            })
            .collect();
        assert_eq!(found, [("7", vec![0, 1]), ("7", vec![3]), ("8", vec![4])]);
        assert!(by_tenant(&batch(&[])).expect("cut").is_empty());
        assert!(by_tenant(&batch(&[None, None])).expect("cut").is_empty());
    }

    #[test]
    fn a_batch_that_does_not_name_owners_is_refused() {
        let numbers = Arc::new(Int32Array::from(vec![1]));
        let batch = RecordBatch::try_from_iter([("n", numbers as _)]).expect("batch");
        assert!(of_tenant(batch, &TenantId::new("7")).is_err());
    }
}
