//! Row groups without a wanted value, told by their statistics and bloom filters alone.
//!
//! Whatever is not certain counts as "may hold": a file without statistics, an order that is not that of the values
//! (a UUID as text may be in capitals), an old writer's statistics.

use arrow::datatypes::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Type as Physical;
use parquet::bloom_filter::Sbbf;
use parquet::file::statistics::Statistics;

use super::rows::RowGroup;

/// Wanted values that are looked up one by one in each row group; more would hardly miss one.
pub const VALUES_MAX: usize = 1_024;

/// Wanted values of a column.
pub enum Values {
    Integers(Vec<i64>),
    Texts(Vec<Box<str>>),
    Uuids(Vec<[u8; 16]>),
}

/// Whether the stored column at `place` of the table may hold one of these values in a row group, or a NULL if that is
/// wanted too.
pub fn may_hold(group: &RowGroup, place: usize, values: &Values, nulls: bool) -> bool {
    let metadata = &group.file.metadata;
    let (root, schema) = (group.file.columns[place].0, metadata.parquet_schema());
    let leaves = 0..schema.num_columns();
    let Some(leaf) = leaves.clone().find(|leaf| schema.get_column_root_idx(*leaf) == root) else {
        return true;
    };
    let chunk = metadata.metadata().row_group(group.number).column(leaf);
    let Some(statistics) = chunk.statistics() else { return true };
    if nulls && statistics.null_count_opt() != Some(0) {
        return true;
    }
    let from = metadata.schema().field(root).data_type();
    let bloom = || -> Option<Sbbf> {
        let builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(group.file.file.clone(), metadata.clone());
        chunk.bloom_filter_offset()?;
        builder.get_row_group_column_bloom_filter(group.number, leaf).ok()?
    };
    match values {
        Values::Integers(values) => {
            let Some((least, greatest)) = integers(statistics, from) else { return true };
            let narrow = schema.column(leaf).physical_type() == Physical::INT32;
            let is_in = |filter: &Sbbf, value: i64| match i32::try_from(value) {
                Ok(value) if narrow => filter.check(&value),
                _ => filter.check(&value),
            };
            any(values.iter().copied().filter(|value| (least..=greatest).contains(value)), bloom, is_in)
        }
        Values::Texts(values) if *from == DataType::Utf8 => {
            let Some((least, greatest)) = bytes(statistics) else { return true };
            let inside = |value: &&[u8]| least <= *value && *value <= greatest;
            let values = values.iter().map(|value| value.as_bytes());
            any(values.filter(inside), bloom, |filter, value| filter.check(value))
        }
        Values::Uuids(values) if *from == DataType::FixedSizeBinary(16) => {
            let Some((least, greatest)) = bytes(statistics) else { return true };
            let inside = |value: &&[u8; 16]| least <= &value[..] && &value[..] <= greatest;
            any(values.iter().filter(inside), bloom, |filter, value| filter.check(&value[..]))
        }
        _ => true,
    }
}

/// Whether the filter, if there is one, may hold a value. It is read only if there is a value to ask for.
fn any<V>(
    values: impl Iterator<Item = V>,
    filter: impl FnOnce() -> Option<Sbbf>,
    is_in: impl Fn(&Sbbf, V) -> bool,
) -> bool {
    let mut values = values.peekable();
    if values.peek().is_none() {
        return false;
    }
    filter().is_none_or(|filter| values.any(|value| is_in(&filter, value)))
}

fn integers(statistics: &Statistics, from: &DataType) -> Option<(i64, i64)> {
    if !from.is_signed_integer() {
        return None;
    }
    match statistics {
        Statistics::Int32(of) => Some((i64::from(*of.min_opt()?), i64::from(*of.max_opt()?))),
        Statistics::Int64(of) => Some((*of.min_opt()?, *of.max_opt()?)),
        _ => None,
    }
}

fn bytes(statistics: &Statistics) -> Option<(&[u8], &[u8])> {
    if statistics.is_min_max_deprecated() {
        return None;
    }
    Some((statistics.min_bytes_opt()?, statistics.max_bytes_opt()?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};

    use super::super::files::TableFiles;
    use super::super::rows::RowGroups;
    use super::*;
    use crate::model::{Column, Table, TableName, TypeKind};

    /// Which of three row groups may hold the values: sites 10, 20 and 40 and a NULL, named like their number.
    fn held(properties: WriterPropertiesBuilder, place: usize, values: &Values, nulls: bool) -> Vec<bool> {
        let properties = properties.set_max_row_group_row_count(Some(2)).build();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t.parquet");
        let sites = [Some(10), Some(20), Some(20), Some(40), Some(40), None];
        let names: StringArray = sites.iter().map(|site| site.map(|site: i64| format!("s{site}"))).collect();
        let columns: [(_, ArrayRef); 2] =
            [("site", Arc::new(Int64Array::from(sites.to_vec()))), ("name", Arc::new(names))];
        let batch = RecordBatch::try_from_iter(columns).expect("a batch");
        let file = std::fs::File::create(&path).expect("a file");
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a writer");
        writer.write(&batch).expect("written");
        writer.close().expect("closed");
        let mut table = Table::new(TableName::new("public", "t"));
        table.columns.push(Column::new("site", "bigint", TypeKind::Int64));
        table.columns.push(Column::new("name", "text", TypeKind::Text));
        let groups = RowGroups::new(&Arc::new(table), &TableFiles { paths: vec![path] });
        groups.map(|group| may_hold(&group.expect("a row group"), place, values, nulls)).collect()
    }

    #[test]
    fn row_groups_without_a_wanted_value_are_told() {
        let plain = WriterProperties::builder;
        let integers = |values: &[i64]| Values::Integers(values.into());
        let texts = |values: &[&str]| Values::Texts(values.iter().map(|text| (*text).into()).collect());
        assert_eq!(held(plain(), 0, &integers(&[20]), false), [true, true, false]);
        assert_eq!(held(plain(), 0, &integers(&[9, 50]), false), [false; 3]);
        assert_eq!(held(plain(), 0, &integers(&[9]), true), [false, false, true], "the NULL");
        assert_eq!(held(plain(), 0, &integers(&[30]), false), [false, true, false], "between");
        assert_eq!(held(plain(), 1, &texts(&["s40"]), false), [false, true, true]);
        let with_bloom = || plain().set_bloom_filter_enabled(true);
        assert_eq!(held(with_bloom(), 0, &integers(&[30]), false), [false; 3], "the filter knows better");
        assert_eq!(held(with_bloom(), 0, &integers(&[40]), false), [false, true, true]);
        assert_eq!(held(with_bloom(), 1, &texts(&["s30"]), false), [false; 3]);
        assert_eq!(held(with_bloom(), 1, &texts(&["s20"]), false), [true, true, false]);
        let without = || plain().set_statistics_enabled(EnabledStatistics::None);
        assert_eq!(held(without(), 0, &integers(&[9]), false), [true; 3], "nothing is known");
        assert_eq!(
            held(plain(), 1, &Values::Uuids(vec![[0; 16]]), false),
            [true; 3],
            "text may be in capitals"
        );
    }
}
