//! How a tenant's rows stand against the live ones: read once, and asked of the server where it alone can tell.
//!
//! ```text
//! live rows of the tenant (if it has any) ─► key ─► hash
//! snapshot's chunk ─► identical │ different │ absent ─► keys taken?  parents live?     one question a key and chunk
//!                                             └► keys that others may point at
//! end of the tenant ─► parents that neither are live nor came by: perhaps they are another's     (awaited.rs)
//! ```
//!
//! Held in memory: 32 bytes for each live row of the tenant in one table, 16 for each of its rows that a foreign key
//! can point at, and each distinct key that points elsewhere.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow::array::RecordBatch;
use futures::StreamExt;

use super::keys::{KeyOf, is_exact};
use super::live::{LiveRows, Stand, encoded};
use super::referrers::Referrers;
use super::tombstones::Erased;
use crate::disputed::Unowned;
use crate::error::Result;
use crate::limits::{DIFFERENCES_NAMED_MAX, PARENTS_KNOWN_MAX};
use crate::model::wire::Tuples;
use crate::model::{
    Belongs, Chunk, ForeignKey, OwnedTable, QueueLink, Table, TableName, TenantId, UniqueKey, row_hash,
    row_name, tuple_name,
};
use crate::plan::Repair;
use crate::plan::conflict::{Finding, Reason, RowHash, Standing};
use crate::shard::{LiveRow, Question, Rows, Shard};

/// What foreign keys may point at beside a tenant's own rows.
pub(super) struct Parents {
    /// Keys of live rows that were asked for once: they need not be asked for again for the next tenant.
    live: HashMap<(TableName, String), HashSet<u128>>,
    /// Whether keys that are NOT VALID must hold as well, as they must where triggers are on.
    strict: bool,
}

impl Parents {
    /// `strict`: whether keys that are NOT VALID must hold as well.
    pub fn new(strict: bool) -> Self {
        Self { live: HashMap::new(), strict }
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
}

/// One tenant in one shard.
pub(super) struct Comparison<'a> {
    shard: &'a dyn Shard,
    tenant: &'a TenantId,
    /// Tables by name, as they are live.
    tables: &'a [Table],
    queues: &'a [QueueLink],
    parents: &'a mut Parents,
    erased: &'a mut Erased,
    /// Of a repair.
    referrers: Option<Referrers>,
    /// Keys of the tenant's own rows that some foreign key may point at.
    present: HashMap<(TableName, Vec<String>), HashSet<u128>>,
    /// References that nothing live answers: by table, key and hash.
    open: BTreeMap<(TableName, String), HashMap<u128, Open>>,
}

/// A reference that nothing answers so far.
pub(super) struct Open {
    pub key: ForeignKey,
    /// Rows that hold it, and the first of them by name.
    pub rows: u64,
    pub named: String,
    exact: bool,
}

impl<'a> Comparison<'a> {
    /// Nothing is compared yet.
    pub fn new(
        scope: Scope<'a>,
        tenant: &'a TenantId,
        parents: &'a mut Parents,
        erased: &'a mut Erased,
    ) -> Self {
        let Scope { shard, tables, involved, queues, repair } = scope;
        let referrers = repair.map(|repair| Referrers::new(tables, involved, repair, parents.strict));
        let is_involved = |name: &TableName| involved.iter().any(|owned| owned.table.name == *name);
        let keys = tables.iter().filter(|table| is_involved(&table.name)).flat_map(|table| {
            table.foreign_keys.iter().chain(table.partition_keys.iter().map(|part| &part.key))
        });
        let present = keys
            .filter(|key| is_involved(&key.parent))
            .map(|key| ((key.parent.clone(), key.parent_columns.clone()), HashSet::new()))
            .collect();
        Self { shard, tenant, tables, queues, parents, erased, referrers, present, open: BTreeMap::new() }
    }

    /// Begins with a table, in its live shape, of which the tenant has so many live rows.
    pub async fn table<'t>(&'t mut self, owned: &'t OwnedTable, live_rows: u64) -> Result<Compared<'t, 'a>> {
        let table = &owned.table;
        if let Some(referrers) = &mut self.referrers {
            referrers.knows(owned);
        }
        let live = match live_rows {
            0 => LiveRows::none(table),
            _ => LiveRows::read(self.shard, owned, self.tenant).await?,
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
        let is_there = |hash: &u128, open: &Open| {
            let place = (open.key.parent.clone(), open.key.parent_columns.clone());
            self.present.get(&place).is_some_and(|keys| keys.contains(hash))
        };
        let left = self.open.into_iter().map(|((table, _), open)| {
            let left = open.into_iter().filter(|(hash, open)| open.exact && !is_there(hash, open));
            (table, left.collect())
        });
        Ok((Unanswered(left.collect()), referrers))
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
    of: &'t mut Comparison<'a>,
    owned: &'t OwnedTable,
    live: LiveRows,
    /// Keys that may be taken.
    keys: Vec<UniqueKey>,
    standing: Standing,
    tallies: Tallies,
}

/// Rows of a chunk that are to be written.
struct Wanted<'c> {
    batch: &'c RecordBatch,
    tuples: Tuples,
    /// Their positions in the batch.
    places: Vec<usize>,
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
        self.note_present(&chunk.tuples, |row| !erased.contains(&row) && !away.contains(&row))?;
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
                        referrers.moves(&table.name, live);
                        changed.push(row, tuple);
                    }
                    Reason::Different
                }
            };
            self.tallies.add(reason, 1, || row_name(table, &chunk.batch, row));
        }
        self.ask_for_queued(&absent).await?;
        for (wanted, changed) in [(absent, false), (changed, true)] {
            self.ask_for_keys(&wanted, changed).await?;
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
        let mut left = self.live.left();
        self.standing.live = self.live.all();
        self.standing.ghosts = left.values().sum();
        let extra = left.iter().flat_map(|(hash, count)| std::iter::repeat_n(*hash, *count as usize));
        extra.for_each(|hash| self.standing.extra.add(hash));
        self.standing.is_keyed = self.live.is_keyed();
        if self.standing.ghosts > 0 {
            self.name_ghosts(&mut left).await?;
        }
        self.standing.findings = self.tallies.into_findings().collect();
        Ok(self.standing)
    }

    async fn name_ghosts(&mut self, left: &mut HashMap<u128, u64>) -> Result<()> {
        let mut batches = self.of.shard.read(self.owned, self.of.tenant).await?;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            for (row, tuple) in encoded(&self.owned.table, &batch)?.iter().enumerate() {
                if let Some(count) = left.get_mut(&row_hash(tuple)).filter(|count| **count > 0) {
                    *count -= 1;
                    self.tallies.add(Reason::Ghost, 1, || row_name(&self.owned.table, &batch, row));
                    if let Some(referrers) = &mut self.of.referrers {
                        referrers.goes(self.owned, tuple);
                    }
                }
            }
        }
        Ok(())
    }

    fn note_present(&mut self, tuples: &Tuples, is_present: impl Fn(usize) -> bool) -> Result<()> {
        let table = &self.owned.table;
        let pointed_at = self.of.present.iter_mut().filter(|((name, _), _)| *name == table.name);
        for ((_, columns), keys) in pointed_at {
            let Some(key) = KeyOf::new(table, columns) else { continue };
            for (_, tuple) in tuples.iter().enumerate().filter(|(row, _)| is_present(*row)) {
                keys.extend(key.reference(tuple)?);
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

    async fn ask_for_keys(&mut self, wanted: &Wanted<'_>, changed: bool) -> Result<()> {
        let rows = Rows { owned: self.owned, tuples: &wanted.tuples };
        let mut named: HashSet<(usize, u128)> = HashSet::new();
        for key in &self.keys {
            for answer in self.of.shard.ask(&rows, &Question::Taken(key)).await? {
                let Some(live) = answer.live else { continue };
                let own = &wanted.tuples.bytes[..wanted.tuples.ends[answer.row]];
                let start = answer.row.checked_sub(1).map_or(0, |before| wanted.tuples.ends[before]);
                let hash = row_hash(&live.tuple);
                let own = &own[start..];
                let is_itself = if self.live.is_keyed() {
                    changed && self.live.is_same(own, &live.tuple)?
                } else {
                    hash == row_hash(own)
                };
                // One live row that takes several keys is told once.
                if is_itself || !named.insert((answer.row, hash)) {
                    continue;
                }
                let reason = Reason::Taken { key: key.name.clone() };
                let named = name_taken(self.owned, wanted, answer.row, &live);
                self.tallies.add(reason, 1, || named);
            }
        }
        Ok(())
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

    async fn ask_for_parents(&mut self, wanted: &Wanted<'_>) -> Result<()> {
        let owned = self.owned;
        for key in &owned.table.foreign_keys {
            self.ask_for_parents_by(key, wanted, &HashSet::new()).await?;
        }
        for part in &owned.table.partition_keys {
            let rows = Rows { owned, tuples: &wanted.tuples };
            let outside =
                self.of.shard.ask(&rows, &Question::Fails(std::slice::from_ref(&part.rows))).await?;
            let outside = outside.into_iter().map(|answer| answer.row).collect();
            self.ask_for_parents_by(&part.key, wanted, &outside).await?;
        }
        Ok(())
    }

    /// `outside`: rows that the key does not speak of.
    async fn ask_for_parents_by(
        &mut self,
        key: &ForeignKey,
        wanted: &Wanted<'_>,
        outside: &HashSet<usize>,
    ) -> Result<()> {
        let table = &self.owned.table;
        if !key.validated && !self.of.parents.strict {
            return Ok(());
        }
        let Some(columns) = KeyOf::new(table, &key.columns) else { return Ok(()) };
        let place = (key.parent.clone(), key.parent_columns.clone());
        let target = (key.parent.clone(), key.parent_columns.join("\u{0}"));
        let open = self.of.open.entry((table.name.clone(), key.name.clone())).or_default();
        let known = self.of.parents.live.entry(target).or_default();
        let own = self.of.present.get(&place);
        let mut asked: Vec<(u128, usize)> = Vec::new();
        let mut waiting: HashMap<u128, u64> = HashMap::new();
        let mut tuples = Tuples::default();
        for (row, tuple) in wanted.tuples.iter().enumerate().filter(|(row, _)| !outside.contains(row)) {
            let Some(hash) = columns.reference(tuple)? else { continue };
            if known.contains(&hash) || own.is_some_and(|own| own.contains(&hash)) {
                continue;
            }
            if let Some(open) = open.get_mut(&hash) {
                open.rows += 1;
                continue;
            }
            let count = waiting.entry(hash).or_default();
            *count += 1;
            if *count == 1 {
                asked.push((hash, row));
                tuples.bytes.extend_from_slice(tuple);
                tuples.ends.push(tuples.bytes.len());
            }
        }
        let rows = Rows { owned: self.owned, tuples: &tuples };
        let answers = self.of.shard.ask(&rows, &Question::NoParent { key, lock: false }).await?;
        let lost: HashSet<usize> = answers.into_iter().map(|answer| answer.row).collect();
        if known.len() > PARENTS_KNOWN_MAX {
            known.clear();
        }
        let parent = self.of.tables.iter().find(|parent| parent.name == key.parent);
        let exact = parent.is_some_and(|parent| is_exact(table, key, parent));
        for (place, (hash, row)) in asked.into_iter().enumerate() {
            if !lost.contains(&place) {
                known.insert(hash);
                continue;
            }
            let named = row_name(table, wanted.batch, wanted.places[row]);
            let target = columns.shown(table, wanted.batch, wanted.places[row]);
            let named = format!("{named} at {target}");
            let rows = waiting.get(&hash).copied().unwrap_or(1);
            open.insert(hash, Open { key: key.clone(), rows, named, exact });
        }
        Ok(())
    }
}

/// Both rows, and whose the live one is.
fn name_taken(owned: &OwnedTable, wanted: &Wanted<'_>, row: usize, live: &LiveRow) -> String {
    let table = &owned.table;
    let own = row_name(table, wanted.batch, wanted.places[row]);
    format!("{own} by {} {}", tuple_name(table, &live.tuple), whose(&live.owners))
}

/// Of which tenants a row is.
pub(super) fn whose(owners: &[TenantId]) -> String {
    let owners: Vec<&str> = owners.iter().map(TenantId::as_str).collect();
    if owners.is_empty() { "of no tenant".to_owned() } else { format!("of tenant {}", owners.join(", ")) }
}
