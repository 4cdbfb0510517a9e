//! Rows of the tables to come, read while others are being written.

use std::collections::VecDeque;

use futures::{StreamExt, stream};

use super::groups::TableRows;
use crate::error::Result;
use crate::extract;
use crate::limits::READ_AHEAD_BYTES_MAX;
use crate::model::{Belongs, ChunkStream, OwnedTable, TableName, TenantId};
use crate::plan::{ShardPlan, TenantShard, TenantTable};
use crate::source::Source;

/// The tables of a tenant whose rows go to the shard as the snapshot has them, in the order of writing. Adapted and
/// settled rows are read in ways of their own; a choice is made inside the transaction.
pub(super) fn plain<'a>(
    planned: &'a ShardPlan,
    part: &'a TenantShard,
) -> impl Iterator<Item = (&'a OwnedTable, &'a TenantTable)> {
    let plain = part
        .tables
        .iter()
        .filter(|rows| rows.settled.is_none() && !planned.adaptations.contains_key(&rows.table));
    plain.filter_map(|rows| {
        let owned = planned.tables.iter().find(|owned| owned.table.name == rows.table)?;
        (owned.owners.belongs == Belongs::ToOne).then_some((owned, rows))
    })
}

/// One tenant's rows in one shard: those of a small tenant were read with its group; else small tables are read ahead,
/// as many as fit the bound, and a large one streams when its turn comes, which keeps everybody busy by itself.
pub struct Ahead<'a> {
    source: &'a dyn Source,
    part: &'a TenantShard,
    tenant: &'a TenantId,
    /// What was read with the group.
    read: TableRows,
    /// Tables that nobody reads yet, in the order of writing, and their bytes.
    waiting: VecDeque<(&'a OwnedTable, u64)>,
    /// Those that are being read.
    reading: VecDeque<(&'a TableName, u64, ChunkStream)>,
}

impl<'a> Ahead<'a> {
    /// Begins to read what was not `read` yet.
    pub(super) async fn new(
        source: &'a dyn Source,
        planned: &'a ShardPlan,
        part: &'a TenantShard,
        tenant: &'a TenantId,
        read: TableRows,
    ) -> Result<Self> {
        let waiting = plain(planned, part)
            .filter(|(owned, _)| !read.contains_key(&owned.table.name))
            .map(|(owned, rows)| (owned, rows.bytes));
        let mut ahead =
            Self { source, part, tenant, waiting: waiting.collect(), read, reading: VecDeque::new() };
        ahead.fill().await?;
        Ok(ahead)
    }

    /// Whether this is what was read of that part.
    pub fn is_of(&self, part: &TenantShard) -> bool {
        std::ptr::eq(self.part, part)
    }

    async fn fill(&mut self) -> Result<()> {
        let mut bytes: u64 = self.reading.iter().map(|(_, bytes, _)| bytes).sum();
        while let Some((owned, more)) =
            self.waiting.pop_front_if(|(_, more)| bytes + *more <= READ_AHEAD_BYTES_MAX)
        {
            let rows = extract::tenant_rows(self.source, &owned.table, self.tenant).await?;
            self.reading.push_back((&owned.table.name, more, rows));
            bytes += more;
        }
        Ok(())
    }

    /// The rows of a table, read ahead or from now on.
    pub async fn rows(&mut self, owned: &OwnedTable) -> Result<ChunkStream> {
        let name = &owned.table.name;
        if let Some(read) = self.read.remove(name) {
            return Ok(stream::iter(read).map(Ok).boxed());
        }
        let at = self.reading.iter().position(|(table, ..)| *table == name);
        let found = at.and_then(|at| self.reading.remove(at));
        self.waiting.retain(|(waiting, _)| waiting.table.name != *name);
        self.fill().await?;
        match found {
            Some((.., rows)) => Ok(rows),
            None => extract::tenant_rows(self.source, &owned.table, self.tenant).await,
        }
    }
}
