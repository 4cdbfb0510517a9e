//! Values that a live table has no column for any more: one Parquet file a tenant and table, written before the
//! tenant's commit.
//!
//! The file appears under its name when it is complete, and replaces one of an earlier attempt, which held the
//! same rows. It names rows by the snapshot's primary key; of a table without one it holds whole rows.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::error::{Error, Result};
use crate::limits::ROW_GROUP_ROWS_MAX;
use crate::model::adapt::Adaptation;
use crate::model::{ShardName, TenantId, file_name};

/// Where the file of a tenant and table is, below the folder of a run.
pub fn path(folder: &Path, shard: &ShardName, adaptation: &Adaptation, tenant: &TenantId) -> PathBuf {
    let table = file_name(&adaptation.taken.name.to_string());
    folder.join(file_name(shard.as_str())).join(table).join(format!("{}.parquet", file_name(tenant.as_str())))
}

/// A file in the making.
pub struct Sidecar {
    path: PathBuf,
    unfinished: PathBuf,
    columns: Vec<String>,
    writer: Option<ArrowWriter<File>>,
}

impl Sidecar {
    /// A file at `path` for the columns that `adaptation` drops. Nothing is created before the first row.
    pub fn new(path: PathBuf, adaptation: &Adaptation) -> Self {
        let taken = &adaptation.taken;
        let is_kept = |name: &String| {
            taken.primary_key.is_empty()
                || taken.primary_key.contains(name)
                || adaptation.dropped.contains(name)
        };
        let columns = taken.stored_columns().map(|column| column.name.clone()).filter(is_kept).collect();
        let unfinished = path.with_extension(format!("parquet.{}.unfinished", std::process::id()));
        Self { path, unfinished, columns, writer: None }
    }

    /// Adds rows of the snapshot.
    pub fn write(&mut self, taken: &RecordBatch) -> Result<()> {
        let positions: Result<Vec<usize>, _> =
            self.columns.iter().map(|name| taken.schema().index_of(name)).collect();
        let batch = positions.and_then(|positions| taken.project(&positions));
        let batch = batch.map_err(|error| self.unable().because(error))?;
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.create(&batch)?,
        };
        writer.write(&batch).map_err(|error| self.unable().because(error))?;
        self.writer = Some(writer);
        Ok(())
    }

    /// Completes the file, which is safe on the disk when this returns. Without a row there is none.
    pub fn finish(&mut self) -> Result<Option<PathBuf>> {
        let Some(writer) = self.writer.take() else { return Ok(None) };
        let file = writer.into_inner().map_err(|error| self.unable().because(error))?;
        file.sync_all().map_err(|error| self.unable().because(error))?;
        std::fs::rename(&self.unfinished, &self.path).map_err(|error| self.unable().because(error))?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| self.unable().because(error))?;
        Ok(Some(self.path.clone()))
    }

    fn create(&self, batch: &RecordBatch) -> Result<ArrowWriter<File>> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|error| self.unable().because(error))?;
        let file = File::create(&self.unfinished).map_err(|error| self.unable().because(error))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
            .build();
        ArrowWriter::try_new(file, batch.schema(), Some(properties))
            .map_err(|error| self.unable().because(error))
    }

    fn unable(&self) -> Error {
        Error::failed(format!("unable to write dropped values to '{}'", self.path.display())).hint(
            "the tenant was not restored; make room for the file, or name another folder with --dropped",
        )
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // Only a leftover, if it is there at all: its name says that it is unfinished.
        let _ = std::fs::remove_file(&self.unfinished);
    }
}
