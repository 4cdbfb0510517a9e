//! How the Parquet files of a snapshot are written, and why so.

use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use crate::limits::{DATA_PAGE_ROWS_MAX, ROW_GROUP_ROWS_MAX};

/// Level 3 is where zstd still keeps up with a server that sends rows.
const ZSTD_LEVEL: i32 = 3;

/// Properties of a data file, which is sorted by its first column, `sorted_by`.
///
/// No column has a dictionary: a tenant's few rows would cost the dictionary of the whole row group. Only the column
/// that engines can prune by has the bounds of every page; they would take more room than many a page.
pub(super) fn data(sorted_by: &str) -> WriterProperties {
    sorted()
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_statistics_enabled(path(sorted_by), EnabledStatistics::Page)
        // Every write becomes a page: who writes says where it ends.
        .set_data_page_row_count_limit(1)
        .set_write_batch_size(DATA_PAGE_ROWS_MAX)
        .build()
}

/// Properties of the tenant index, which is sorted by its first column and read as a whole.
pub(super) fn index(repeating: &[&str]) -> WriterProperties {
    let properties =
        sorted().set_dictionary_enabled(false).set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX));
    let with_dictionary = |properties: WriterPropertiesBuilder, column: &&str| {
        properties.set_column_dictionary_enabled(path(column), true)
    };
    repeating.iter().fold(properties, with_dictionary).build()
}

fn sorted() -> WriterPropertiesBuilder {
    let level = ZstdLevel::try_new(ZSTD_LEVEL).unwrap_or_default();
    let sorted = SortingColumn { column_idx: 0, descending: false, nulls_first: false };
    WriterProperties::builder()
        .set_created_by(format!("reinstate {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(level))
        .set_sorting_columns(Some(vec![sorted]))
}

fn path(column: &str) -> ColumnPath {
    ColumnPath::new(vec![column.to_owned()])
}
