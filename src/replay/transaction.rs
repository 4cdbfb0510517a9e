//! One tenant in one shard, in one transaction: the steps of a restore, in order. Commit is the last.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use arrow::array::AsArray;
use arrow::datatypes::{Int16Type, Int32Type, Int64Type};
use futures::StreamExt;
use jiff::Timestamp;

use super::adapted;
use super::ahead::Ahead;
use super::groups::TableRows;
use super::kept::{self, Found};
use super::prove::Proof;
use super::queued::Cleared;
use super::referenced::Choice;
use super::repair::{self, Repairs};
use super::{Replay, ShardStatus, VerifyAt};
use crate::connect::ConnectedShard;
use crate::error::{Error, Result};
use crate::model::{Fingerprint, OwnedTable, Sequence, TableName, TypeKind};
use crate::plan::{ShardPlan, TenantPlan, TenantShard, TenantTable};
use crate::shard::{Chunk, ChunkStream, Claim, JournalEntry, Session, TableWrites};
use crate::verify::{self, Verdict};

/// Brings one tenant back into one shard, or leaves the shard as it was.
pub(super) async fn restore<'a>(
    run: &'a Replay<'_>,
    connected: &'a ConnectedShard,
    planned: &'a ShardPlan,
    tenant: &'a TenantPlan,
    part: &'a TenantShard,
    ahead: Option<Ahead<'a>>,
) -> Result<ShardStatus> {
    let started_at = Timestamp::now();
    let ahead = match ahead {
        Some(ahead) => ahead,
        None => Ahead::new(connected.source.as_ref(), planned, part, &tenant.id, TableRows::new()).await?,
    };
    let mut session = match connected.shard.begin(run.hash(), &tenant.id).await? {
        Claim::Session(session) => session,
        Claim::Done(entry) => return Ok(ShardStatus::AlreadyBack { entry }),
        Claim::Held { by } => return Ok(ShardStatus::Held { by }),
    };
    let steps = Steps { run, connected, planned, tenant, part };
    match steps.write_and_prove(session.as_mut(), started_at, ahead).await {
        Ok(Done { verdict, rows, cleared, dropped }) => {
            let bytes = part.bytes();
            session.commit().await?;
            Ok(ShardStatus::Restored { rows, bytes, cleared, verdict, dropped })
        }
        Err(error) => {
            // The first error is the one to report; a failing rollback only means that the connection is gone, and
            // then the server rolls back by itself.
            let _ = session.abort().await;
            Err(error)
        }
    }
}

/// A transaction on its way.
struct Work<'a> {
    ahead: Ahead<'a>,
    choice: Choice,
    /// Where triggers are off.
    proof: Option<Proof<'a>>,
    cleared: Cleared,
    /// Files that hold values without a column.
    dropped: Vec<PathBuf>,
    /// The furthest values that came back of each sequence.
    sequences: Vec<(Sequence, i64)>,
}

/// What was done, and is worth a commit.
struct Done {
    /// `None` if the verification was put off.
    verdict: Option<Verdict>,
    rows: u64,
    cleared: Cleared,
    /// Files that hold values without a column.
    dropped: Vec<PathBuf>,
}

pub(super) struct Steps<'a> {
    pub run: &'a Replay<'a>,
    pub connected: &'a ConnectedShard,
    pub planned: &'a ShardPlan,
    pub tenant: &'a TenantPlan,
    pub part: &'a TenantShard,
}

impl Steps<'_> {
    /// Everything between begin and commit. An equal verdict is the only way out that leads to a commit, unless the
    /// verification was put off.
    async fn write_and_prove(
        &self,
        session: &mut dyn Session,
        started_at: Timestamp,
        ahead: Ahead<'_>,
    ) -> Result<Done> {
        let tables = self.tables()?;
        let choice = self.choose(session, &tables).await?;
        let mut repairs = Repairs::default();
        let mut proof = None;
        if self.triggers_off() {
            session.disable_triggers().await?;
            let owned = tables.iter().map(|(owned, _)| *owned).collect();
            proof = Some(Proof::new(owned, &self.tenant.id, self.run.share));
        }
        let mut work =
            Work { ahead, choice, proof, cleared: Cleared::new(), dropped: vec![], sequences: vec![] };
        for (owned, rows) in tables.iter().copied() {
            self.settle(session, owned, &mut work.choice).await?;
            let mut found = match &rows.settled {
                None => None,
                Some(settled) => Some(kept::find(self, session, owned, rows, settled).await?),
            };
            self.write(session, (owned, rows), found.as_ref(), &mut work).await?;
            if let Some(found) = &mut found {
                self.update(session, (owned, rows), found, work.proof.as_ref(), &mut repairs).await?;
            }
            let (choice, cleared) = (&work.choice, &mut work.cleared);
            self.clear_queues(session, (owned, rows), found.as_ref(), choice, cleared).await?;
        }
        let Work { choice, proof, cleared, dropped, sequences, .. } = work;
        session.advance_sequences(&sequences).await?;
        self.delete_extra(session, &tables, &mut repairs).await?;
        self.prove_referrers(session, std::mem::take(&mut repairs.gone)).await?;
        if let Some(proof) = proof {
            proof.prove(session).await?;
        }
        let gate = self.run.gate_of(self.part);
        let verdict = match self.run.verify {
            // With the gate closed the tenant is not equal: the row that has it is proved before.
            VerifyAt::After if gate.is_none() => None,
            _ => Some(self.read_back(session, &choice).await?),
        };
        if let Some(gate) = &gate {
            gate.close(session, self.run.hash(), &self.tenant.id).await?;
        }
        let gated = gate.as_ref().map(|gate| &gate.root.table.name);
        let rows = self.check_writes(session, &choice, &cleared, gated).await?;
        let written = || self.part.tables.iter().map(|rows| choice.written(rows)).sum();
        let entry = JournalEntry {
            plan: self.run.hash().clone(),
            tenant: self.tenant.id.clone(),
            snapshot: self.planned.snapshot.clone(),
            run: self.run.name.clone(),
            rows,
            bytes: self.part.bytes(),
            fingerprint: verdict.as_ref().map_or_else(written, Verdict::fingerprint),
            started_at,
            recorded_at: Timestamp::now(),
            transaction_id: None,
        };
        session.record(&entry).await?;
        Ok(Done { verdict, rows, cleared, dropped })
    }

    fn tables(&self) -> Result<Vec<(&OwnedTable, &TenantTable)>> {
        let find = |rows| self.planned_table(rows).map(|owned| (owned, rows));
        self.part.tables.iter().map(find).collect()
    }

    fn planned_table(&self, rows: &TenantTable) -> Result<&OwnedTable> {
        let found = self.planned.tables.iter().find(|owned| owned.table.name == rows.table);
        found.ok_or_else(|| Error::bug(format!("table '{}' is not in the plan's shard", rows.table)))
    }

    /// Writes the rows of one table.
    async fn write(
        &self,
        session: &mut dyn Session,
        (owned, rows): (&OwnedTable, &TenantTable),
        found: Option<&Found>,
        work: &mut Work<'_>,
    ) -> Result<()> {
        let (chunks, before) = match self.planned.adaptations.get(&rows.table) {
            None => (work.ahead.rows(owned).await?, None),
            Some(adaptation) => {
                let (chunks, before) = adapted::rows(self, adaptation, owned).await?;
                (chunks, Some(before))
            }
        };
        let chunks = kept::inserted(chunks, found)?;
        let seen = Arc::new(Mutex::new(Seen::new(owned)));
        let mut chunks = work.choice.of(owned, chunks);
        if let Some(proof) = &work.proof {
            chunks = proof.watch(&owned.table.name, chunks);
        }
        let chunks = observe(chunks, owned, seen.clone(), self.run);
        let taken = session.write(owned, chunks).await.map_err(|error| Self::came_back(owned, error))?;
        let seen = {
            let mut seen =
                seen.lock().map_err(|_| Error::bug("a writer stopped in the middle of a batch"))?;
            std::mem::take(&mut *seen)
        };
        let passed = work.choice.wrote(&rows.table, seen.fingerprint)?;
        let read = match (&before, &rows.settled) {
            (Some(before), _) => before.fingerprint()?,
            (None, None) => passed,
            // `kept` has read all rows; those that stay are not among the ones that went by here.
            (None, Some(_)) => rows.fingerprint,
        };
        if read != rows.fingerprint || passed != rows.inserted() {
            return Err(self.distrust(rows));
        }
        let wanted = work.choice.rows(rows);
        if taken != wanted {
            return Err(Error::failed(format!(
                "unable to restore table '{}': the shard took {taken} of {wanted} rows",
                rows.table
            ))
            .hint("a trigger or a rule may drop rows on INSERT"));
        }
        let restored = |(sequence, max): (Sequence, Option<i64>)| Some((sequence, max?));
        work.sequences.extend(seen.sequences.into_iter().filter_map(restored));
        if let Some(before) = &before {
            work.dropped.extend(before.finish()?);
        }
        Ok(())
    }

    /// The snapshot does not hold what it was planned with.
    pub(super) fn distrust(&self, rows: &TenantTable) -> Error {
        Error::refused(format!(
            "unable to trust the snapshot: the rows of tenant '{}' in table '{}' are not those that were fingerprinted",
            self.tenant.id, rows.table
        ))
        .hint("`reinstate snapshot verify` says which files are rotten")
    }

    /// Compares what was written with what was to be written; the number of rows.
    async fn check_writes(
        &self,
        session: &mut dyn Session,
        choice: &Choice,
        cleared: &Cleared,
        gated: Option<&TableName>,
    ) -> Result<u64> {
        let writes = |rows: &TenantTable| repair::writes(rows, choice.rows(rows));
        let mut expected: BTreeMap<TableName, TableWrites> =
            self.part.tables.iter().map(|rows| (rows.table.clone(), writes(rows))).collect();
        let rows = expected.values().map(|rows| rows.inserted + rows.updated + rows.deleted).sum();
        if let Some(root) = gated {
            expected.entry(root.clone()).or_default().updated += 1;
        }
        for (queue, &entries) in cleared {
            expected.entry(queue.clone()).or_default().deleted += entries;
        }
        let written = session.write_set().await?;
        verify::check_write_set(&expected, &written, &self.planned.tables, self.triggers_off())?;
        Ok(rows)
    }
}

/// What went by on the way to the shard.
#[derive(Default)]
struct Seen {
    fingerprint: Fingerprint,
    sequences: Vec<(Sequence, Option<i64>)>,
}

impl Seen {
    fn new(owned: &OwnedTable) -> Self {
        let sequences = owned.table.sequences.iter().map(|sequence| (sequence.clone(), None));
        Self { fingerprint: Fingerprint::default(), sequences: sequences.collect() }
    }

    fn add(&mut self, owned: &OwnedTable, chunk: &Chunk) {
        self.fingerprint += chunk.fingerprint;
        for (sequence, furthest) in &mut self.sequences {
            let values = integers(owned, chunk, &sequence.column);
            *furthest = if sequence.increment < 0 {
                values.chain(*furthest).min()
            } else {
                values.chain(*furthest).max()
            };
        }
    }
}

fn integers<'a>(owned: &OwnedTable, chunk: &'a Chunk, column: &str) -> Box<dyn Iterator<Item = i64> + 'a> {
    let (Some(array), Some(column)) = (chunk.batch.column_by_name(column), owned.table.column(column)) else {
        return Box::new(std::iter::empty());
    };
    match column.kind {
        TypeKind::Int16 => Box::new(array.as_primitive::<Int16Type>().iter().flatten().map(i64::from)),
        TypeKind::Int32 => Box::new(array.as_primitive::<Int32Type>().iter().flatten().map(i64::from)),
        TypeKind::Int64 => Box::new(array.as_primitive::<Int64Type>().iter().flatten()),
        _ => Box::new(std::iter::empty()),
    }
}

/// Looks at the chunks as they pass: what is compared with the plan is what was handed to the shard.
fn observe(chunks: ChunkStream, owned: &OwnedTable, seen: Arc<Mutex<Seen>>, run: &Replay<'_>) -> ChunkStream {
    let owned = owned.clone();
    let progress = run.progress.clone();
    chunks
        .map(move |chunk| {
            let chunk = chunk?;
            seen.lock()
                .map_err(|_| Error::bug("a writer stopped in the middle of a batch"))?
                .add(&owned, &chunk);
            progress.advance(chunk.tuples.len() as u64, chunk.tuples.bytes.len() as u64);
            Ok(chunk)
        })
        .boxed()
}
