//! Rows that are not inserted, since they are live or stay erased: found again inside the transaction, and as many as
//! the plan says, or the tenant is rolled back.

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use futures::StreamExt;

use super::transaction::Steps;
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::model::wire::Tuples;
use crate::model::{Chunk, ChunkStream, Fingerprint, OwnedTable, row_hash};
use crate::plan::{Policy, Settled, TenantTable};
use crate::shard::{Question, Rows, Session};

/// Rows of the snapshot by how they stand; how often each occurs, by its hash.
pub(super) struct Found {
    /// Those that are not inserted.
    pub kept: Ledger,
    /// Those of them that are live with other values.
    pub changed: Ledger,
    /// How these are live, and live rows that the snapshot does not have.
    pub live: Ledger,
    /// The former, where rows may point at a key of theirs that is not the primary one.
    pub old: Tuples,
}

/// Finds them.
pub(super) async fn find(
    steps: &Steps<'_>,
    session: &mut dyn Session,
    owned: &OwnedTable,
    rows: &TenantTable,
    settled: &Settled,
) -> Result<Found> {
    let share = steps.run.share;
    let (mut kept, mut changed, mut old) = (share.ledger(), share.ledger(), Tuples::default());
    let keeps_old = steps.triggers_off() && settled.repaired.is_some() && steps.has_referenced_keys(owned);
    let mut live = session.row_hashes(owned, &steps.tenant.id, share).await?;
    let mut before = Fingerprint::default();
    for entry in live.entries() {
        let (hash, times) = entry?;
        (0..times).for_each(|_| before.add(hash));
    }
    let mut erased = share.ledger();
    settled.erased.iter().try_for_each(|row| erased.add(row.0))?;
    let primary =
        owned.table.primary().filter(|_| settled.policy == Policy::KeepLive || settled.repaired.is_some());
    let mut read = Fingerprint::default();
    let (mut identical, mut different) = (0, 0);
    let mut chunks = steps.rows_of(owned).await?;
    while let Some(chunk) = chunks.next().await {
        let mut absent = Tuples::default();
        for tuple in chunk?.tuples.iter() {
            let hash = row_hash(tuple);
            read.add(hash);
            if erased.take(hash)? {
                kept.add(hash)?;
            } else if live.take(hash)? {
                kept.add(hash)?;
                identical += 1;
            } else {
                absent.bytes.extend_from_slice(tuple);
                absent.ends.push(absent.bytes.len());
            }
        }
        let Some(primary) = &primary else { continue };
        let answers = session.ask(&Rows { owned, tuples: &absent }, &Question::Taken(primary)).await?;
        let own = answers
            .iter()
            .filter(|answer| answer.live.as_ref().is_some_and(|live| live.owners.contains(&steps.tenant.id)));
        let hashes: Vec<u128> = absent.iter().map(row_hash).collect();
        for answer in own {
            if let Some(live) = answer.live.as_ref().filter(|_| keeps_old) {
                share.hold(&mut old, &live.tuple)?;
            }
            kept.add(hashes[answer.row])?;
            changed.add(hashes[answer.row])?;
            different += 1;
        }
    }
    if settled.repaired.is_some_and(|repaired| repaired.before != before) {
        let disputed = steps.disputed(session, owned).await?;
        disputed.into_iter().for_each(|hash| before.remove(hash));
    }
    let is_as_planned = settled.repaired.is_none_or(|repaired| repaired.before == before);
    let updated = settled.repaired.map_or(0, |repaired| repaired.updated);
    let what = match () {
        () if read != rows.shaped() => "the snapshot's rows are not those that were planned",
        () if !is_as_planned
            || identical != settled.identical
            || different != settled.different + updated =>
        {
            "other rows of the tenant are live than when the plan was made"
        }
        () => return Ok(Found { kept, changed, live, old }),
    };
    Err(Error::failed(format!("unable to restore table '{}': {what}", rows.table))
        .hint("make a new plan; it shows what is live now"))
}

/// The chunks without the rows that are not inserted.
pub(super) fn inserted(chunks: ChunkStream, found: Option<&Found>) -> Result<ChunkStream> {
    match found {
        None => Ok(chunks),
        Some(found) => Ok(filtered(chunks, found.kept.copy()?, false)),
    }
}

/// Of the chunks only these rows.
pub(super) fn only(chunks: ChunkStream, wanted: Ledger) -> ChunkStream {
    filtered(chunks, wanted, true)
}

/// The rows that are among `named`, or those that are not.
fn filtered(chunks: ChunkStream, mut named: Ledger, among: bool) -> ChunkStream {
    let rest = chunks.map(move |chunk| {
        let chunk = chunk?;
        let mut tuples = Tuples::default();
        let mut mask = Vec::with_capacity(chunk.tuples.len());
        for tuple in chunk.tuples.iter() {
            let goes = named.take(row_hash(tuple))? == among;
            mask.push(goes);
            if goes {
                tuples.bytes.extend_from_slice(tuple);
                tuples.ends.push(tuples.bytes.len());
            }
        }
        let batch = filter_record_batch(&chunk.batch, &BooleanArray::from(mask))
            .map_err(|error| Error::bug("unable to filter rows").because(error))?;
        let fingerprint = Fingerprint::of(&tuples);
        Ok(Chunk { batch, tuples, fingerprint })
    });
    // Where nothing is left there is nothing to write, and no statement to begin.
    rest.filter(|chunk| {
        let empty = chunk.as_ref().is_ok_and(|chunk| chunk.tuples.is_empty());
        std::future::ready(!empty)
    })
    .boxed()
}
