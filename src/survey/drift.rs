//! How the tables have changed since the snapshot, and what the tenants' rows say about it.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use futures::StreamExt;

use super::Surveyed;
use super::standing::Compared;
use crate::error::{Error, Kind, Result};
use crate::extract::{self, AdaptedChunk};
use crate::model::Chunk;
use crate::model::adapt::Adaptation;
use crate::model::wire::Tuples;
use crate::model::{
    Column, DatabaseIdentity, Fingerprint, OwnedTable, Table, TableName, TenantId, TypeKind, row_name, wire,
};
use crate::plan::TableDrift;
use crate::plan::drift::{Declared, Dialect, Found, Of, Value, Values, compare, type_to_read};
use crate::progress::Progress;
use crate::shard::{Question, Rows};

impl Surveyed {
    /// The differences of these tables, as far as the schema alone tells.
    pub(super) async fn drift(&self, tables: &[OwnedTable]) -> Result<BTreeMap<TableName, TableDrift>> {
        self.check_declared()?;
        let dialect = match self.facts.identity {
            DatabaseIdentity::Sqlite { .. } => Dialect::Sqlite,
            DatabaseIdentity::Postgres { .. } => Dialect::Postgres,
        };
        let nothing = Declared::default();
        let mut found = BTreeMap::new();
        for OwnedTable { table: taken, .. } in tables {
            let live = self.live(&taken.name);
            let declared = self.config.drift.get(&taken.name).unwrap_or(&nothing);
            let values = self.values(taken, live, declared).await?;
            let drift = compare(taken, live, declared, &values, dialect);
            found.insert(taken.name.clone(), TableDrift { drift, found: Found::default() });
        }
        Ok(found)
    }

    fn live(&self, name: &TableName) -> Option<&Table> {
        self.facts.tables.iter().find(|table| table.name == *name)
    }

    /// A declaration about a table that is nowhere is a typing error.
    fn check_declared(&self) -> Result<()> {
        let taken = &self.source.snapshot().manifest().tables;
        let is_known = |name: &&TableName| {
            self.live(name).is_some() || taken.iter().any(|entry| entry.table.name == **name)
        };
        match self.config.drift.keys().find(|name| !is_known(name)) {
            None => Ok(()),
            Some(name) => Err(Error::usage(format!(
                "unable to use the configuration of shard '{}': its drift names table '{name}', which neither the snapshot nor the database has",
                self.name
            ))),
        }
    }

    /// The declared values of columns that are new, as the live database reads them.
    async fn values(&self, taken: &Table, live: Option<&Table>, declared: &Declared) -> Result<Values> {
        let mut values = Values::new();
        for (name, literal) in &declared.values {
            let is_stored = taken.column(name).is_some_and(|column| !column.generated);
            let column = live.and_then(|live| live.column(name)).filter(|_| !is_stored);
            if let Some(column) = column {
                values.insert(name.clone(), self.value(column, literal.to_string()).await?);
            }
        }
        Ok(values)
    }

    async fn value(&self, column: &Column, text: String) -> Result<Result<Value, String>> {
        let Some(type_name) = type_to_read(column) else {
            let wire = text.clone().into_bytes();
            return Ok(Ok(Value { text, kind: column.kind, wire }));
        };
        match self.shard.read_value(&type_name, &text).await {
            Ok((kind, wire)) => Ok(Ok(Value { text, kind, wire })),
            Err(error) if error.kind() == Kind::Undecided => {
                Ok(Err(format!("the declared value '{text}' is no {type_name}: {}", error.chain())))
            }
            Err(error) => Err(error),
        }
    }

    /// The name that a live column had when the snapshot was taken, if it had it then.
    pub(super) fn name_in_snapshot<'a>(&'a self, table: &TableName, live: &'a str) -> Option<&'a str> {
        let taken = self.source.snapshot().manifest().tables.iter().find(|entry| entry.table.name == *table);
        let taken = &taken?.table;
        let declared = self.config.drift.get(table);
        let name = declared.map_or(live, |declared| declared.name_in_snapshot(taken, live));
        taken.column(name).map(|_| name)
    }

    /// The declared renames that lead from the snapshot to live columns.
    pub(super) fn renamed(&self) -> BTreeMap<TableName, BTreeMap<String, String>> {
        let taken = self.source.snapshot().manifest().tables.iter().map(|entry| &entry.table);
        let renamed = taken.filter_map(|taken| {
            let (live, declared) = (self.live(&taken.name)?, self.config.drift.get(&taken.name)?);
            let pairs = declared.applied(taken, live).into_iter();
            Some((taken.name.clone(), pairs.map(|(old, new)| (old.to_owned(), new.to_owned())).collect()))
        });
        renamed.collect()
    }

    /// Asks the server which rows, in the shape of the live table, do not meet what it demands since the snapshot.
    /// False if it cannot even read them, because a value is none of its domain.
    pub(super) async fn check(
        &self,
        owned: &OwnedTable,
        chunk: &Chunk,
        changed: &mut TableDrift,
    ) -> Result<bool> {
        let TableDrift { drift, found } = changed;
        if drift.conditions.is_empty() {
            return Ok(true);
        }
        let live =
            self.live(&owned.table.name).ok_or_else(|| Error::bug("a table that is not live was read"))?;
        let owned = OwnedTable { table: drift.written(live), owners: owned.owners.clone() };
        let name = |row| row_name(&owned.table, &chunk.batch, row);
        let mut is_readable = true;
        let mut of_table = Vec::new();
        for (position, condition) in drift.conditions.iter().enumerate() {
            let refused = match &condition.of {
                Of::Row => {
                    of_table.push((position, condition.sql.clone()));
                    continue;
                }
                // Only of values that can be read.
                Of::Domain { kind: TypeKind::Printed, .. } if !is_readable => continue,
                Of::Domain { column, base, kind } => {
                    let values = column_values(&chunk.tuples, *column)?;
                    self.shard.refused_values((base, *kind), &condition.sql, &values).await?
                }
                Of::Printed { column, base } => {
                    self.shard.misread_values(base, &column_values(&chunk.tuples, *column)?).await?
                }
            };
            for row in refused {
                is_readable = false;
                found.add_failed(position, || name(row));
            }
        }
        if is_readable {
            let (positions, sql): (Vec<usize>, Vec<String>) = of_table.into_iter().unzip();
            let rows = Rows { owned: &owned, tuples: &chunk.tuples };
            for answer in self.shard.ask(&rows, &Question::Fails(&sql)).await? {
                found.add_failed(positions[answer.part], || name(answer.row));
            }
        }
        Ok(is_readable)
    }

    /// Rows of these tenants in tables of the snapshot that are not live.
    pub(super) fn gone(&self, tenants: &[TenantId]) -> BTreeMap<TableName, u64> {
        let tables = self.source.snapshot().manifest().tables.iter().map(|entry| &entry.table.name);
        let gone = tables.filter(|name| self.live(name).is_none());
        let rows = gone.map(|name| {
            let rows: u64 = tenants.iter().map(|tenant| self.rows_in_snapshot(tenant, name)).sum();
            (name.clone(), rows)
        });
        rows.filter(|(_, rows)| *rows > 0).collect()
    }

    /// The live table as rows are written to it.
    pub(super) fn written(&self, name: &TableName, changed: &TableDrift) -> Result<Table> {
        let live =
            self.live(name).ok_or_else(|| Error::bug(format!("table '{name}' is adapted but not live")))?;
        Ok(changed.drift.written(live))
    }

    /// Reads the rows of one tenant: their fingerprint in the snapshot, and in their new shape.
    pub(super) async fn read_adapted(
        &self,
        adaptation: &Adaptation,
        written: &OwnedTable,
        tenant: &TenantId,
        changed: &mut TableDrift,
        mut compared: Option<&mut Compared<'_, '_>>,
        progress: &dyn Progress,
    ) -> Result<(Fingerprint, Option<Fingerprint>)> {
        let (mut read, mut adapted) = (Fingerprint::default(), Fingerprint::default());
        let mut chunks = extract::adapted_rows(&self.source, adaptation, &written.table, tenant).await?;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            read += chunk.taken.fingerprint;
            adapted += chunk.adapted.fingerprint;
            judge(adaptation, &chunk, &mut changed.found)?;
            let is_readable = self.check(written, &chunk.adapted, changed).await?;
            if let Some(compared) = compared.as_mut().filter(|_| is_readable) {
                compared.see(&chunk.adapted).await?;
            }
            progress.advance(chunk.taken.tuples.len() as u64, chunk.taken.tuples.bytes.len() as u64);
        }
        Ok((read, Some(adapted)))
    }
}

/// Notes the values that do not fit and those that have no column.
fn judge(adaptation: &Adaptation, chunk: &AdaptedChunk, found: &mut Found) -> Result<()> {
    let name = |batch: &RecordBatch, row| row_name(&adaptation.taken, batch, row);
    for misfit in &chunk.misfits {
        found.add_misfit(misfit.column, misfit.why, || name(&chunk.taken.batch, misfit.row));
    }
    for (at, column) in adaptation.dropped_positions() {
        let mut values = 0;
        for tuple in chunk.taken.tuples.iter() {
            let fields =
                wire::fields(tuple).map_err(|error| Error::bug("rows lost their shape").because(error))?;
            values += u64::from(fields[at].is_some());
        }
        found.add_dropped(column, values);
    }
    Ok(())
}

/// The values of one column.
fn column_values(tuples: &Tuples, column: usize) -> Result<Vec<Option<&[u8]>>> {
    let field = |tuple| wire::fields(tuple).map(|fields| fields[column]);
    let values: Result<Vec<_>, _> = tuples.iter().map(field).collect();
    values.map_err(|error| Error::bug("rows lost their shape").because(error))
}
