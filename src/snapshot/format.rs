//! How the Parquet files of a snapshot are written, and why so.

use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::limits::{DATA_PAGE_ROWS_MAX, ROW_GROUP_ROWS_MAX};

/// Level 3 is where zstd still keeps up with a server that sends rows.
const ZSTD_LEVEL: i32 = 3;

/// Properties of a file that is sorted by its first column. Only `repeating` columns get a dictionary: a
/// tenant's few rows would otherwise cost the dictionary of the whole row group in each column.
pub(crate) fn properties(repeating: &[&str]) -> WriterProperties {
    let level = ZstdLevel::try_new(ZSTD_LEVEL).unwrap_or_default();
    let sorted = SortingColumn { column_idx: 0, descending: false, nulls_first: false };
    let mut properties = WriterProperties::builder()
        .set_created_by(format!("reinstate {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(level))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
        .set_data_page_row_count_limit(DATA_PAGE_ROWS_MAX)
        // A page is closed between two of these, so they must be smaller than a page.
        .set_write_batch_size(DATA_PAGE_ROWS_MAX / 8)
        .set_sorting_columns(Some(vec![sorted]));
    for column in repeating {
        let path = ColumnPath::new(vec![(*column).to_owned()]);
        properties = properties.set_column_dictionary_enabled(path, true);
    }
    properties.build()
}
