//! How a tenant's rows stand against the live ones: read once, and asked of the server where it alone can tell.
//!
//! ```text
//! live rows of the tenant (if it has any) ─► key ─► hash
//! snapshot's chunk ─► identical │ different │ absent ─► keys taken?  parents live?     one question a key and chunk
//!                                             └► keys that others may point at
//! end of the tenant ─► parents that neither are live nor came by: perhaps they are another's     (awaited.rs)
//!
//! Questions about keys and parents are in `questions.rs`.
//! ```
//!
//! What grows with the tenant is in ledgers: its live rows of one table, and the keys of its own rows that a foreign
//! key can point at. Each distinct key that points elsewhere is held in memory, up to a bound.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::StreamExt;

use super::clashes::{self, Claimed};
use super::keys::{KeyOf, salt};
use super::live::{LiveRows, Stand, encoded};
use super::orphans::{self, Hop};
use super::referrers::Referrers;
use super::tombstones::Erased;
use crate::disputed::Unowned;
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::limits::{DIFFERENCES_NAMED_MAX, OPEN_REFERENCE_BYTES, SET_ENTRY_BYTES};
use crate::memory::Share;
use crate::model::wire::Tuples;
use crate::model::{
    Belongs, Chunk, ChunkStream, ForeignKey, OwnedTable, QueueLink, Table, TableName, TenantId, UniqueKey,
    row_hash, row_name,
};
use crate::plan::Repair;
use crate::plan::conflict::{Finding, Reason, RowHash, Standing};
use crate::shard::{Question, Rows, Shard, Trial};

/// What foreign keys may point at beside a tenant's own rows.
pub(super) struct Parents {
    /// Keys of live rows that were asked for once: they need not be asked for again for the next tenant.
    pub live: HashSet<u128>,
    /// Whether keys that are NOT VALID must hold as well, as they must where triggers are on.
    pub strict: bool,
    /// References that nothing answers, of all tenants: what they take, in bytes.
    open_bytes: usize,
    share: Share,
}

impl Parents {
    /// `strict`: whether keys that are NOT VALID must hold as well.
    pub fn new(strict: bool, share: Share) -> Self {
        Self { live: HashSet::new(), strict, open_bytes: 0, share }
    }

    /// Remembers keys of live rows; all that were known are forgotten where there is no room.
    pub fn are_live(&mut self, keys: impl Iterator<Item = u128>) {
        if self.live.len() * SET_ENTRY_BYTES > self.share.part_bytes() {
            self.live = HashSet::new();
        }
        self.live.extend(keys);
    }

    /// Makes room for one more reference that nothing answers.
    fn open(&mut self, tenant: &TenantId, open: &Open) -> Result<()> {
        let asked = open.asked.as_ref().map_or(0, |asked| asked.tuple.len());
        self.open_bytes += OPEN_REFERENCE_BYTES + open.named.len() + asked;
        if self.open_bytes <= self.share.part_bytes() {
            return Ok(());
        }
        let (child, parent) = (&open.named, &open.key.parent);
        Err(Error::refused(format!(
            "unable to plan tenant '{tenant}': too many of its rows point at rows that are not there ({child} of '{parent}', and others)"
        ))
        .hint("leave it out of the list, or give the plan more memory with --memory"))
    }
}

/// References of one tenant that neither its own rows nor live ones answer, by table.
pub(super) struct Unanswered(pub Vec<(TableName, Vec<(u128, Open)>)>);

/// What is the same for all tenants of a shard.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub shard: &'a dyn Shard,
    /// All tables, as they are live.
    pub tables: &'a [Table],
    /// Those that tenants own rows of.
    pub involved: &'a [OwnedTable],
    pub queues: &'a [QueueLink],
    /// Whether rows that are live with other values are written too.
    pub repair: Option<Repair>,
    pub share: Share,
}

/// One tenant in one shard.
pub(super) struct Comparison<'a> {
    pub shard: &'a dyn Shard,
    pub tenant: &'a TenantId,
    /// Tables by name, as they are live.
    pub tables: &'a [Table],
    queues: &'a [QueueLink],
    /// Hops that nothing enforces.
    pub hops: Vec<Hop>,
    pub parents: &'a mut Parents,
    pub trial: Option<&'a mut dyn Trial>,
    pub claimed: &'a mut Claimed,
    erased: &'a mut Erased,
    /// Of a repair.
    referrers: Option<Referrers>,
    /// What foreign keys point at: columns of a table, and what tells their keys from others.
    pointed_at: HashMap<(TableName, Vec<String>), u128>,
    /// Keys of the tenant's own rows there.
    present: Ledger,
    /// Tables whose keys are all known already.
    noted: HashSet<TableName>,
    share: Share,
    /// References that nothing live answers: by table, key and hash.
    pub open: BTreeMap<(TableName, String), HashMap<u128, Open>>,
}

/// A reference that nothing answers so far.
pub(super) struct Open {
    pub key: Arc<ForeignKey>,
    /// Rows that hold it, and the first of them by name.
    pub rows: u64,
    pub named: Box<str>,
    /// The first of them, where only the database can tell who answers it.
    pub asked: Option<Asked>,
    /// Whether a parent of the same bytes is the one that is meant.
    pub by_bytes: bool,
}

/// What a question about a reference needs of its row.
pub(super) struct Asked {
    pub owned: Arc<OwnedTable>,
    pub tuple: Box<[u8]>,
}

impl<'a> Comparison<'a> {
    /// Nothing is compared yet.
    pub fn new(
        scope: Scope<'a>,
        tenant: &'a TenantId,
        parents: &'a mut Parents,
        claimed: &'a mut Claimed,
        trial: Option<&'a mut dyn Trial>,
        erased: &'a mut Erased,
    ) -> Self {
        let Scope { shard, tables, involved, queues, repair, share } = scope;
        let referrers = repair.map(|repair| Referrers::new(tables, involved, repair, parents.strict, share));
        let is_involved = |name: &TableName| involved.iter().any(|owned| owned.table.name == *name);
        let keys = tables.iter().filter(|table| is_involved(&table.name)).flat_map(Table::all_foreign_keys);
        let pointed_at = keys
            .filter(|key| is_involved(&key.parent))
            .map(|key| {
                ((key.parent.clone(), key.parent_columns.clone()), salt(&key.parent, &key.parent_columns))
            })
            .collect();
        Self {
            shard,
            tenant,
            tables,
            queues,
            hops: orphans::hops(tables, involved),
            parents,
            trial,
            claimed,
            erased,
            referrers,
            pointed_at,
            present: share.ledger(),
            noted: HashSet::new(),
            share,
            open: BTreeMap::new(),
        }
    }

    /// Begins with a table, in its live shape, of which the tenant has so many live rows. `taken` is its shape in the
    /// snapshot.
    pub async fn table<'t>(
        &'t mut self,
        taken: &Table,
        owned: &'t OwnedTable,
        live_rows: u64,
    ) -> Result<Compared<'t, 'a>> {
        let table = &owned.table;
        if let Some(referrers) = &mut self.referrers {
            referrers.knows(owned);
        }
        let live = match live_rows {
            0 => LiveRows::none(table, self.share),
            _ => LiveRows::read(self.shard, owned, self.tenant, self.share).await?,
        };
        let keys = table.primary().into_iter().chain(table.unique_keys.iter().cloned());
        let own_column = owned.owners.only().filter(|way| way.steps.is_empty()).map(|way| &way.column);
        // A key that holds the tenant's id cannot be taken by anybody else.
        let is_safe =
            |key: &UniqueKey| live_rows == 0 && own_column.is_some_and(|column| key.columns.contains(column));
        let keys = keys.filter(|key| !is_safe(key)).collect();
        Ok(Compared {
            of: self,
            owned,
            live,
            keys,
            new_keys: clashes::new_keys(taken, table),
            has_new_keys: table.keys().any(|key| taken.keys().all(|known| known != key)),
            standing: Standing::default(),
            tallies: Tallies::default(),
        })
    }

    /// The references of the tenant's rows that nothing answers so far, and, of a repair, who points at rows that go.
    pub async fn finish(mut self) -> Result<(Unanswered, Vec<(TableName, Finding)>)> {
        let referrers = match self.referrers.take() {
            Some(referrers) => referrers.finish(self.shard, self.tenant).await?,
            None => Vec::new(),
        };
        let mut unanswered = Vec::new();
        for ((table, _), open) in std::mem::take(&mut self.open) {
            let mut left = Vec::new();
            for (hash, open) in open {
                if !(open.by_bytes && self.is_present(&open.key, hash)?) {
                    left.push((hash, open));
                }
            }
            unanswered.push((table, left));
        }
        Ok((Unanswered(unanswered), referrers))
    }

    /// Whether a row of the tenant has the key that a reference of this hash points at.
    pub fn is_present(&self, key: &ForeignKey, hash: u128) -> Result<bool> {
        let place = (key.parent.clone(), key.parent_columns.clone());
        match self.pointed_at.get(&place) {
            Some(salt) => Ok(self.present.get(hash ^ salt)? > 0),
            None => Ok(false),
        }
    }

    /// Notes a reference that nothing answers so far.
    pub fn open(&mut self, place: &(TableName, String), hash: u128, open: Open) -> Result<()> {
        self.parents.open(self.tenant, &open)?;
        self.open.entry(place.clone()).or_default().insert(hash, open);
        Ok(())
    }

    /// Notes the keys of all rows of a table, before any of them is looked at.
    pub async fn note_early(&mut self, table: &Table, mut chunks: ChunkStream) -> Result<()> {
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            let erased = self.erased.rows(table, &chunk.batch);
            self.note_present(table, &chunk.tuples, |row| !erased.contains(&row))?;
        }
        self.noted.insert(table.name.clone());
        Ok(())
    }

    fn note_present(
        &mut self,
        table: &Table,
        tuples: &Tuples,
        is_present: impl Fn(usize) -> bool,
    ) -> Result<()> {
        for ((_, columns), salt) in self.pointed_at.iter().filter(|((name, _), _)| *name == table.name) {
            let Some(key) = KeyOf::new(table, columns) else { continue };
            for (_, tuple) in tuples.iter().enumerate().filter(|(row, _)| is_present(*row)) {
                if let Some(hash) = key.reference(tuple)? {
                    self.present.change(hash ^ salt, |_| 1)?;
                }
            }
        }
        Ok(())
    }
}

/// Findings as they are counted.
#[derive(Default)]
pub(super) struct Tallies(BTreeMap<Reason, (u64, Vec<String>)>);

impl Tallies {
    pub fn add(&mut self, reason: Reason, rows: u64, name: impl FnOnce() -> String) {
        let (count, named) = self.0.entry(reason).or_default();
        *count += rows;
        if named.len() < DIFFERENCES_NAMED_MAX {
            named.push(name());
        }
    }

    pub fn into_findings(self) -> impl Iterator<Item = Finding> {
        self.0.into_iter().map(|(reason, (rows, mut named))| {
            named.sort();
            Finding { reason, rows, named }
        })
    }
}

/// One table of the tenant.
pub(super) struct Compared<'t, 'a> {
    pub of: &'t mut Comparison<'a>,
    pub owned: &'t OwnedTable,
    pub live: LiveRows,
    /// Keys that may be taken.
    pub keys: Vec<UniqueKey>,
    /// Those that rows may share that stood together in the snapshot.
    pub new_keys: Vec<UniqueKey>,
    /// Whether there are any, of any sort.
    pub has_new_keys: bool,
    standing: Standing,
    pub tallies: Tallies,
}

/// Rows of a chunk that are to be written.
pub(super) struct Wanted<'c> {
    pub batch: &'c RecordBatch,
    pub tuples: Tuples,
    /// Their positions in the batch.
    pub places: Vec<usize>,
}

impl<'c> Wanted<'c> {
    fn of(batch: &'c RecordBatch) -> Self {
        Self { batch, tuples: Tuples::default(), places: Vec::new() }
    }

    fn push(&mut self, row: usize, tuple: &[u8]) {
        self.tuples.bytes.extend_from_slice(tuple);
        self.tuples.ends.push(self.tuples.bytes.len());
        self.places.push(row);
    }
}

impl Compared<'_, '_> {
    /// Looks at a chunk of the snapshot's rows in their live shape.
    pub async fn see(&mut self, chunk: &Chunk) -> Result<()> {
        let table = &self.owned.table;
        let erased = self.of.erased.rows(table, &chunk.batch);
        let (live, away) = self.left_alone(chunk).await?;
        if !self.of.noted.contains(&table.name) {
            let is_present = |row: usize| !erased.contains(&row) && !away.contains(&row);
            self.of.note_present(table, &chunk.tuples, is_present)?;
        }
        let (mut absent, mut changed) = (Wanted::of(&chunk.batch), Wanted::of(&chunk.batch));
        for (row, tuple) in chunk.tuples.iter().enumerate() {
            let hash = row_hash(tuple);
            if erased.contains(&row) {
                self.standing.erased.push(RowHash(hash));
                continue;
            }
            if live.contains(&row) || away.contains(&row) {
                continue;
            }
            let reason = match self.live.take(tuple, hash)? {
                Stand::Absent => {
                    self.standing.absent.add(hash);
                    self.standing.absent_bytes += tuple.len() as u64;
                    absent.push(row, tuple);
                    continue;
                }
                Stand::Identical => {
                    self.standing.identical.add(hash);
                    Reason::Identical
                }
                Stand::Different(live) => {
                    self.standing.different += 1;
                    self.standing.changed.add(hash);
                    if let Some(referrers) = &mut self.of.referrers {
                        referrers.moves(&table.name, live)?;
                        changed.push(row, tuple);
                    }
                    Reason::Different
                }
            };
            self.tallies.add(reason, 1, || row_name(table, &chunk.batch, row));
        }
        self.ask_for_queued(&absent).await?;
        self.ask_for_orphans(&absent).await?;
        for (wanted, changed) in [(absent, false), (changed, true)] {
            self.ask_for_clashes(&wanted).await?;
            self.ask_for_keys(&wanted, changed).await?;
            self.try_rows(&wanted, changed).await?;
            self.ask_for_parents(&wanted).await?;
            if changed {
                self.compare_with_live(&wanted).await?;
            }
        }
        Ok(())
    }

    /// Does without live rows that several tenants claimed in the snapshot; their number. After all chunks.
    pub async fn forget_disputed(&mut self, unowned: Unowned<'_>) -> Result<u64> {
        self.live.forget_disputed(self.of.shard, self.owned, self.of.tenant, unowned).await
    }

    /// Ends the table.
    pub async fn finish(mut self) -> Result<Standing> {
        let mut left = self.live.left()?;
        self.standing.live = self.live.all();
        for entry in left.entries() {
            let (hash, times) = entry?;
            (0..times).for_each(|_| self.standing.extra.add(hash));
        }
        self.standing.ghosts = self.standing.extra.rows;
        self.standing.is_keyed = self.live.is_keyed();
        if self.standing.ghosts > 0 {
            self.name_ghosts(&mut left).await?;
        }
        self.standing.findings = self.tallies.into_findings().collect();
        Ok(self.standing)
    }

    async fn name_ghosts(&mut self, left: &mut Ledger) -> Result<()> {
        let mut batches = self.of.shard.read(self.owned, self.of.tenant).await?;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            for (row, tuple) in encoded(&self.owned.table, &batch)?.iter().enumerate() {
                if left.take(row_hash(tuple))? {
                    self.tallies.add(Reason::Ghost, 1, || row_name(&self.owned.table, &batch, row));
                    if let Some(referrers) = &mut self.of.referrers {
                        referrers.goes(self.owned, tuple)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Rows that belong to whoever points at them and are not written: the live ones, which stay, whatever they are;
    /// and those that hang from a live row without being live, which stay away.
    async fn left_alone(&self, chunk: &Chunk) -> Result<(HashSet<usize>, HashSet<usize>)> {
        let shared = self.owned.owners.belongs != Belongs::ToOne;
        let Some(primary) = self.owned.table.primary().filter(|_| shared) else {
            return Ok(Default::default());
        };
        let rows = Rows { owned: self.owned, tuples: &chunk.tuples };
        let named = async |question: &Question<'_>| -> Result<HashSet<usize>> {
            let answers = self.of.shard.ask(&rows, question).await?;
            Ok(answers.into_iter().map(|answer| answer.row).collect())
        };
        let live = named(&Question::Taken(&primary)).await?;
        if self.owned.owners.belongs != Belongs::WithParent {
            return Ok((live, HashSet::new()));
        }
        let detached = named(&Question::Detached).await?;
        let away = (0..chunk.tuples.len()).filter(|row| !live.contains(row) && !detached.contains(row));
        let away = away.collect();
        Ok((live, away))
    }

    /// Compares rows that are live with other values with these: not every column can be set, and rows may point at a
    /// key that changes.
    async fn compare_with_live(&mut self, changed: &Wanted<'_>) -> Result<()> {
        let (table, Some(referrers)) = (&self.owned.table, &mut self.of.referrers) else { return Ok(()) };
        let fixed: Vec<(&String, KeyOf)> = table
            .fixed_columns
            .iter()
            .filter(|column| !table.primary_key.contains(column))
            .filter_map(|column| Some((column, KeyOf::new(table, std::slice::from_ref(column))?)))
            .collect();
        let Some(primary) =
            table.primary().filter(|_| !fixed.is_empty() || referrers.point_beside_primary(table))
        else {
            return Ok(());
        };
        let rows = Rows { owned: self.owned, tuples: &changed.tuples };
        let wanted: Vec<&[u8]> = changed.tuples.iter().collect();
        for answer in self.of.shard.ask(&rows, &Question::Taken(&primary)).await? {
            let (Some(live), new) = (answer.live, wanted[answer.row]) else { continue };
            for (column, value) in &fixed {
                if value.whole(&live.tuple)? != value.whole(new)? {
                    let reason = Reason::Fixed { column: (*column).clone() };
                    self.tallies
                        .add(reason, 1, || row_name(table, changed.batch, changed.places[answer.row]));
                }
            }
            referrers.changes(self.owned, &live.tuple, new)?;
        }
        Ok(())
    }

    /// Counts the entries of deletion queues about rows that come back.
    async fn ask_for_queued(&mut self, absent: &Wanted<'_>) -> Result<()> {
        let rows = Rows { owned: self.owned, tuples: &absent.tuples };
        for link in self.of.queues.iter().filter(|link| link.table == self.owned.table.name) {
            let entries = self.of.shard.ask(&rows, &Question::Queued(link)).await?.len() as u64;
            if entries > 0 {
                *self.standing.queued.entry(link.queue.clone()).or_default() += entries;
            }
        }
        Ok(())
    }
}

/// Of which tenants a row is.
pub(super) fn whose(owners: &[TenantId]) -> String {
    let owners: Vec<&str> = owners.iter().map(TenantId::as_str).collect();
    if owners.is_empty() { "of no tenant".to_owned() } else { format!("of tenant {}", owners.join(", ")) }
}
