//! The engine's own proof of a tenant's keys, where triggers are off: all that the server would have checked by
//! triggers, in the same transaction.

use std::sync::{Arc, Mutex};

use futures::StreamExt;

use super::references::{Leaving, References};
use crate::bridge::compute_on;
use crate::database::ParentMissing;
use crate::error::{Error, Result};
use crate::limits::KEYS_ASKED_MAX;
use crate::memory::Share;
use crate::model::wire::Tuples;
use crate::model::{ChunkStream, ForeignKey, OwnedTable, Table, TableName, TenantId};
use crate::shard::{Broken, Question, Rows, Session};

/// What has been seen of one tenant's keys.
pub struct Proof<'a> {
    tables: Vec<&'a OwnedTable>,
    tenant: &'a TenantId,
    references: Arc<Mutex<References>>,
}

impl<'a> Proof<'a> {
    /// For a tenant whose rows are in `tables`.
    pub fn new(tables: Vec<&'a OwnedTable>, tenant: &'a TenantId, share: Share) -> Self {
        let references = References::new(&tables, share.proof_bytes());
        Self { tables, tenant, references: Arc::new(Mutex::new(references)) }
    }

    /// Looks at the keys of rows on their way to the shard.
    pub fn watch(&self, table: &TableName, chunks: ChunkStream) -> ChunkStream {
        let (table, references) = (table.clone(), Arc::clone(&self.references));
        chunks
            .then(move |chunk| {
                let (table, references) = (table.clone(), Arc::clone(&references));
                async move {
                    let chunk = chunk?;
                    compute_on(chunk.tuples.bytes.len(), move || {
                        references.lock().map_err(|_| stopped())?.add(&table, &chunk.tuples)?;
                        Ok(chunk)
                    })
                    .await?
                }
            })
            .boxed()
    }

    /// Proves every key, now that all rows are there.
    pub async fn prove(self, session: &mut dyn Session) -> Result<()> {
        let references = Arc::into_inner(self.references).ok_or_else(stopped)?;
        let references = references.into_inner().map_err(|_| stopped())?;
        for leaving in references.leaving() {
            let table = self.tables.iter().find(|owned| owned.table.name == leaving.table);
            let table = table.ok_or_else(|| Error::bug("a foreign key of a table that is not planned"))?;
            prove_reference(session, table, self.tenant, leaving).await?;
        }
        for table in &self.tables {
            for part in &table.table.partition_keys {
                let broken =
                    session.broken_reference(table, self.tenant, &part.key, Some(&part.rows)).await?;
                refuse(&table.table.name, &part.key, broken)?;
            }
            for key in table.table.keys().filter(|key| key.deferrable) {
                let Some(found) = session.collision(table, self.tenant, key).await? else { continue };
                return Err(Error::failed(format!(
                    "unable to restore table '{}': row {} and live row {} share the key '{}'",
                    table.table.name, found.row, found.other, key.name
                ))
                .hint("the key was taken since the snapshot; a person must decide which row keeps it"));
            }
        }
        Ok(())
    }
}

async fn prove_reference(
    session: &mut dyn Session,
    owned: &OwnedTable,
    tenant: &TenantId,
    leaving: Leaving,
) -> Result<()> {
    let (table, key) = (&owned.table, &leaving.key);
    if leaving.partly_null {
        return Err(Error::failed(format!(
            "unable to restore table '{}': a row is NULL in some columns of foreign key '{}' only (MATCH FULL)",
            table.name, key.name
        )));
    }
    if let Some(keys) = &leaving.keys
        && !ask(session, owned, &leaving, keys).await?
    {
        return Ok(());
    }
    // Either nothing is known, or a key is broken and this names its row.
    refuse(&table.name, key, session.broken_reference(owned, tenant, key, None).await?)
}

/// Whether one of the keys is broken. The rows that the others point at are locked against deletion, as the server
/// would do it.
async fn ask(
    session: &mut dyn Session,
    owned: &OwnedTable,
    leaving: &Leaving,
    keys: &Tuples,
) -> Result<bool> {
    let mut table = Table::new(leaving.table.clone());
    table.columns = leaving.columns.clone();
    let shape = OwnedTable { table, owners: owned.owners.clone() };
    let mut broken = false;
    for tuples in pieces(keys) {
        let question = Question::NoParent { key: &leaving.key, lock: true };
        let rows = Rows { owned: &shape, tuples: &tuples };
        broken |= !session.ask(&rows, &question).await?.is_empty();
    }
    Ok(broken)
}

/// A broken key stops the tenant, unless nobody ever promised that the key holds: rows that break a `NOT VALID` key
/// come back as they were.
fn refuse(table: &TableName, key: &ForeignKey, broken: Option<Broken>) -> Result<()> {
    let Some(broken) = broken.filter(|_| key.validated) else { return Ok(()) };
    let missing = format!(
        "row {} points by foreign key '{}' at {} of '{}', which is not there",
        broken.row, key.name, broken.key, key.parent
    );
    Err(Error::failed(format!("unable to restore table '{table}'"))
        .because(ParentMissing(missing))
        .hint("the parent vanished since the snapshot and is no row of the tenant: bring it back first"))
}

/// The keys in questions of a bounded size.
pub(super) fn pieces(keys: &Tuples) -> Vec<Tuples> {
    let all: Vec<&[u8]> = keys.iter().collect();
    let piece = |tuples: &[&[u8]]| {
        let mut piece = Tuples::default();
        for tuple in tuples {
            piece.bytes.extend_from_slice(tuple);
            piece.ends.push(piece.bytes.len());
        }
        piece
    };
    all.chunks(KEYS_ASKED_MAX).map(piece).collect()
}

fn stopped() -> Error {
    Error::bug("the proof of a tenant's keys stopped in the middle")
}
