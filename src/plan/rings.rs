//! Rings: a few tenants first, the hard cases among them, then more, then all others. Pure.
//!
//! ```text
//! tenants in the plan's order ─► canary: covers the hard cases ─► few ─► batch ─► rest
//!                                      greedily, each with a why    the plan's order
//! ```
//!
//! A tenant whose rows point at another's is in no ring before that one: it could not come back there.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::make::listed;
use super::{Plan, ShardPlan, TenantPlan, TenantTable};
use crate::model::{ShardName, TableName, TenantId};

/// Names of the first rings; those after them are numbered.
const NAMES: [&str; 3] = ["canary", "few", "batch"];
/// The name of the last ring, which holds what the others left.
const REST: &str = "rest";
/// Tenants of a canary ring from which on one of them is of middle size: the hard cases alone do not show how long the
/// many small ones take.
const MIDDLE_FROM: usize = 3;
/// What a plan without rings calls its one ring.
const ALL: &str = "all";

/// `[rings]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rings {
    /// Tenants of the first rings; what is left is the last one.
    pub sizes: Vec<usize>,
    /// How much of a ring may fail and the next one begin all the same. In the canary ring nothing may.
    pub failures_percent_max: u8,
}

impl Default for Rings {
    fn default() -> Self {
        Self { sizes: vec![1, 10, 60], failures_percent_max: 2 }
    }
}

impl Rings {
    /// Refuses rings that nobody can mean.
    pub fn check(&self) -> Result<(), String> {
        if self.sizes.is_empty() || self.sizes.contains(&0) {
            return Err("'sizes' names at least one ring, each of at least one tenant".into());
        }
        if self.failures_percent_max > 100 {
            return Err("'failures_percent_max' is at most 100".into());
        }
        Ok(())
    }
}

/// Tenants that are restored before the next ring begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ring {
    /// What it is called.
    pub name: String,
    /// So many of the plan's tenants, after those of the rings before.
    pub tenants: usize,
    /// Why these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
    /// If more of its tenants fail, the run stops.
    pub failures_max: usize,
}

impl Plan {
    /// The tenants ring by ring: its name, and whom it holds. A plan without rings has one.
    pub fn by_ring(&self) -> Vec<(&str, &[TenantPlan])> {
        if self.rings.is_empty() {
            return vec![(ALL, &self.tenants)];
        }
        let mut left = self.tenants.as_slice();
        let mut cut = |ring: &'_ Ring| {
            let here;
            (here, left) = left.split_at(ring.tenants.min(left.len()));
            here
        };
        self.rings.iter().map(|ring| (ring.name.as_str(), cut(ring))).collect()
    }
}

/// Which tenants each tenant waits for: one of every group.
pub(super) type Waits = BTreeMap<TenantId, Vec<Vec<TenantId>>>;

/// Divides tenants, which are in the order they would have without rings.
pub(super) fn divide(
    rings: &Rings,
    tenants: Vec<TenantPlan>,
    shards: &[ShardPlan],
    waits: &Waits,
) -> (Vec<TenantPlan>, Vec<Ring>) {
    let sizes = sizes(&rings.sizes, tenants.len());
    let (picked, why) = canary(&tenants, shards, waits, sizes.first().copied().unwrap_or_default());
    let order = order(&tenants, &picked, waits);
    let last = sizes.len().saturating_sub(1);
    let is_rest = rings.sizes.iter().sum::<usize>() < tenants.len();
    let ring = |(index, size): (usize, &usize)| Ring {
        name: match NAMES.get(index) {
            _ if is_rest && index == last => REST.to_owned(),
            Some(name) => (*name).to_owned(),
            None => format!("ring {}", index + 1),
        },
        tenants: *size,
        why: if index == 0 { why.clone() } else { Vec::new() },
        failures_max: if index == 0 { 0 } else { size * usize::from(rings.failures_percent_max) / 100 },
    };
    let rings = sizes.iter().enumerate().map(ring).collect();
    let mut tenants: Vec<Option<TenantPlan>> = tenants.into_iter().map(Some).collect();
    (order.into_iter().filter_map(|index| tenants[index].take()).collect(), rings)
}

/// How many tenants each ring gets; none is empty.
fn sizes(wanted: &[usize], tenants: usize) -> Vec<usize> {
    let mut left = tenants;
    let take = |size: usize| {
        let taken = size.min(left);
        left -= taken;
        taken
    };
    wanted.iter().copied().chain([usize::MAX]).map(take).filter(|size| *size > 0).collect()
}

/// What one tenant has most of.
type Measure = fn(&TenantPlan) -> u64;

/// What makes a tenant a hard case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Aspect<'a> {
    MostBytes,
    MostTables,
    MostShards,
    Changed(&'a ShardName, &'a TableName),
    Live(&'a ShardName, &'a TableName),
    Shared(&'a ShardName, &'a TableName),
    Queued(&'a ShardName, &'a TableName),
}

/// Picks the tenants of the first ring: each time the one that shows most of what was not shown yet, the largest of
/// several; when nothing new is left, or one place, one of middle size; then those of the plan's order. Their indices,
/// and why.
fn canary(
    tenants: &[TenantPlan],
    shards: &[ShardPlan],
    waits: &Waits,
    size: usize,
) -> (Vec<usize>, Vec<String>) {
    let aspects = aspects(tenants, shards);
    let mut open: BTreeSet<Aspect<'_>> = aspects.iter().flatten().copied().collect();
    let (mut picked, mut back, mut why) = (Vec::new(), BTreeSet::new(), Vec::new());
    let mut typical = middle(tenants);
    while picked.len() < size {
        let free = (0..tenants.len()).filter(|index| !picked.contains(index));
        let ready = free.filter(|index| is_ready(&tenants[*index].id, waits, &back));
        let shown = |index: &usize| aspects[*index].intersection(&open).count();
        let rank = |index: &usize| (shown(index), tenants[*index].bytes(), std::cmp::Reverse(*index));
        let Some(hardest) = ready.clone().max_by_key(rank) else { break };
        let is_due = shown(&hardest) == 0 || (size >= MIDDLE_FROM && picked.len() + 1 == size);
        let middle = typical.take_if(|_| is_due).filter(|middle| ready.clone().any(|index| index == *middle));
        let (next, reason) = match (shown(&hardest), middle) {
            (_, Some(middle)) => (middle, "of middle size".to_owned()),
            (0, None) => (ready.min().unwrap_or(hardest), "the next of the plan's order".to_owned()),
            _ => (hardest, reasons(aspects[hardest].intersection(&open), &tenants[hardest])),
        };
        why.push(format!("{}: {reason}", tenants[next].label()));
        open.retain(|aspect| !aspects[next].contains(aspect));
        picked.push(next);
        back.insert(&tenants[next].id);
    }
    if !open.is_empty() {
        let left: Vec<String> = open.iter().map(|aspect| aspect.words()).collect();
        why.push(format!("not in this ring: {}", listed(&left, "hard case")));
    }
    (picked, why)
}

fn aspects<'a>(tenants: &'a [TenantPlan], shards: &'a [ShardPlan]) -> Vec<BTreeSet<Aspect<'a>>> {
    let mut all: Vec<BTreeSet<Aspect<'a>>> =
        tenants.iter().map(|tenant| of_tables(tenant, shards).collect()).collect();
    let most: [(Aspect<'a>, Measure); 3] = [
        (Aspect::MostBytes, TenantPlan::bytes),
        (Aspect::MostTables, |tenant| tenant.shards.iter().map(|shard| shard.tables.len() as u64).sum()),
        (Aspect::MostShards, |tenant| tenant.shards.len() as u64),
    ];
    for (aspect, of) in most {
        let values: Vec<u64> = tenants.iter().map(of).collect();
        let (least, most) = (values.iter().min(), values.iter().max());
        // What all have alike tells nobody apart.
        let special = values.iter().zip(&mut all).filter(|(value, _)| least != most && Some(*value) == most);
        for (_, aspects) in special {
            aspects.insert(aspect);
        }
    }
    all
}

/// The tenant that half of the others are larger than.
fn middle(tenants: &[TenantPlan]) -> Option<usize> {
    let mut by_size: Vec<usize> = (0..tenants.len()).collect();
    by_size.sort_by_cached_key(|index| tenants[*index].bytes());
    by_size.get(by_size.len() / 2).copied()
}

fn of_tables<'a>(tenant: &'a TenantPlan, shards: &'a [ShardPlan]) -> impl Iterator<Item = Aspect<'a>> {
    let tables =
        tenant.shards.iter().flat_map(|part| part.tables.iter().map(move |rows| (&part.shard, rows)));
    tables.flat_map(|(shard, rows): (&ShardName, &TenantTable)| {
        let table = &rows.table;
        let planned = shards.iter().find(|planned| planned.name == *shard);
        let is_changed = planned.is_some_and(|planned| planned.adaptations.contains_key(table));
        let one = |is_so: bool, aspect| is_so.then_some(aspect);
        let single = [
            one(is_changed && rows.rows > 0, Aspect::Changed(shard, table)),
            one(rows.settled.is_some(), Aspect::Live(shard, table)),
            one(rows.left > 0, Aspect::Shared(shard, table)),
        ];
        let queued = rows.queued.iter().filter(|(_, entries)| **entries > 0);
        single.into_iter().flatten().chain(queued.map(move |(queue, _)| Aspect::Queued(shard, queue)))
    })
}

impl Aspect<'_> {
    fn words(&self) -> String {
        match self {
            Self::MostBytes => "the most bytes".into(),
            Self::MostTables => "the most tables".into(),
            Self::MostShards => "the most shards".into(),
            Self::Changed(shard, table) => {
                format!("rows of '{table}' of shard '{shard}', which has changed since")
            }
            Self::Live(shard, table) => {
                format!("rows of '{table}' of shard '{shard}', of which some are live or erased")
            }
            Self::Shared(shard, table) => {
                format!("rows of '{table}' of shard '{shard}' that others point at too")
            }
            Self::Queued(shard, queue) => format!("entries of deletion queue '{queue}' of shard '{shard}'"),
        }
    }
}

fn reasons<'a>(aspects: impl Iterator<Item = &'a Aspect<'a>>, tenant: &TenantPlan) -> String {
    let words = aspects.map(|aspect| match aspect {
        Aspect::MostBytes => format!("{} ({})", aspect.words(), tenant.bytes()),
        _ => aspect.words(),
    });
    listed(&words.collect::<Vec<_>>(), "hard case")
}

/// The canary's tenants, then all others in their order; one that waits comes right after what it waits for.
fn order(tenants: &[TenantPlan], picked: &[usize], waits: &Waits) -> Vec<usize> {
    let mut back: BTreeSet<&TenantId> = picked.iter().map(|index| &tenants[*index].id).collect();
    let mut order = picked.to_vec();
    let is_picked: BTreeSet<usize> = picked.iter().copied().collect();
    let mut waiting: Vec<usize> = Vec::new();
    for index in (0..tenants.len()).filter(|index| !is_picked.contains(index)) {
        waiting.push(index);
        while let Some(place) = waiting.iter().position(|at| is_ready(&tenants[*at].id, waits, &back)) {
            let next = waiting.remove(place);
            order.push(next);
            back.insert(&tenants[next].id);
        }
    }
    // Who waits for nobody of the plan would have been left out of it.
    order.extend(waiting);
    order
}

fn is_ready(tenant: &TenantId, waits: &Waits, back: &BTreeSet<&TenantId>) -> bool {
    let groups = waits.get(tenant).map(Vec::as_slice).unwrap_or_default();
    groups.iter().all(|any| any.iter().any(|other| back.contains(other)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Fingerprint;
    use crate::plan::{Policy, Settled, TenantShard};

    fn rows(table: &str, bytes: u64) -> TenantTable {
        let fingerprint = Fingerprint { rows: 1, sum: 1 };
        let table = TableName::new("public", table);
        let (queued, settled) = (BTreeMap::new(), None);
        TenantTable {
            table,
            rows: 1,
            bytes,
            fingerprint,
            adapted: None,
            live_rows: 0,
            left: 0,
            settled,
            queued,
        }
    }

    /// A tenant with rows in these tables of one shard.
    fn tenant(id: &str, tables: Vec<TenantTable>) -> TenantPlan {
        let shards = vec![TenantShard { shard: ShardName::new("shop"), tables }];
        TenantPlan { id: TenantId::new(id), name: None, shards }
    }

    /// Tenants 0, 1, 2, … of falling size.
    fn fleet(count: u64) -> Vec<TenantPlan> {
        (0..count).map(|number| tenant(&number.to_string(), vec![rows("issues", 1_000 - number)])).collect()
    }

    fn divided(rings: &Rings, tenants: Vec<TenantPlan>, waits: &Waits) -> (String, Vec<Ring>) {
        let (tenants, rings) = divide(rings, tenants, &[], waits);
        (tenants.iter().map(|tenant| tenant.id.as_str()).collect::<Vec<_>>().join(" "), rings)
    }

    fn of(sizes: &[usize]) -> Rings {
        Rings { sizes: sizes.to_vec(), ..Rings::default() }
    }

    #[test]
    fn rings_take_their_sizes_and_the_rest_is_the_last() {
        let shape = |sizes: &[usize], tenants| {
            let (_, rings) = divided(&of(sizes), fleet(tenants), &Waits::new());
            let of = |ring: &Ring| format!("{} {} {}", ring.name, ring.tenants, ring.failures_max);
            rings.iter().map(of).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(shape(&[1, 10, 60], 883), "canary 1 0, few 10 0, batch 60 1, rest 812 16");
        assert_eq!(shape(&[1, 10, 60], 11), "canary 1 0, few 10 0");
        assert_eq!(shape(&[1, 10, 60], 5), "canary 1 0, few 4 0");
        assert_eq!(shape(&[5], 3), "canary 3 0");
        assert_eq!(shape(&[1, 1, 1, 2], 50), "canary 1 0, few 1 0, batch 1 0, ring 4 2 0, rest 45 0");
        assert!(of(&[]).check().is_err() && of(&[1, 0]).check().is_err() && of(&[1]).check().is_ok());
    }

    #[test]
    fn the_canary_ring_covers_the_hard_cases_and_says_why() {
        let mut tenants = fleet(6);
        tenants[3].shards[0].tables.extend([rows("notes", 1), rows("tags", 1)]);
        tenants[4].shards[0].tables[0].queued.insert(TableName::new("public", "gone"), 3);
        let settled = Settled {
            policy: Policy::KeepLive,
            identical: 1,
            different: 0,
            ghosts: 0,
            erased: Vec::new(),
            inserted: Fingerprint::default(),
            bytes: 995,
            expected: Fingerprint::default(),
            repaired: None,
        };
        tenants[4].shards[0].tables[0].settled = Some(settled);
        let (order, rings) = divided(&of(&[4]), tenants.clone(), &Waits::new());
        assert_eq!(order, "4 0 3 1 2 5", "who shows most, the largest first, then the order there was");
        assert_eq!(
            rings[0].why,
            [
                "4: rows of 'public.issues' of shard 'shop', of which some are live or erased; \
                 entries of deletion queue 'public.gone' of shard 'shop'",
                "0: the most bytes (1000)",
                "3: the most tables",
                "1: of middle size",
            ]
        );
        assert_eq!(rings[1].why, Vec::<String>::new());
        let (order, rings) = divided(&of(&[1, 1]), tenants, &Waits::new());
        assert!(order.starts_with("4 0 1"), "{order}");
        assert_eq!(rings[0].why[1], "not in this ring: the most bytes; the most tables");
        let (order, rings) = divided(&of(&[3]), fleet(4), &Waits::new());
        assert_eq!(order, "0 1 2 3");
        assert_eq!(
            rings[0].why,
            ["0: the most bytes (1000)", "1: of middle size", "2: the next of the plan's order"]
        );
    }

    #[test]
    fn who_waits_for_another_is_in_no_ring_before() {
        let id = |id: u64| TenantId::new(id.to_string());
        // The largest waits for the smallest, or for the one before it, which waits for the one in the middle.
        let waits = Waits::from([(id(0), vec![vec![id(5), id(4)]]), (id(4), vec![vec![id(2)]])]);
        let (order, _) = divided(&of(&[1, 2]), fleet(6), &waits);
        assert_eq!(order, "2 1 3 4 0 5");
    }

    #[test]
    fn a_plan_is_read_ring_by_ring() {
        let (tenants, rings) = divide(&of(&[1, 2]), fleet(5), &[], &Waits::new());
        let mut plan = Plan {
            format: crate::plan::PLAN_FORMAT,
            hash: crate::model::PlanHash::new(""),
            tool_version: String::new(),
            created_at: jiff::Timestamp::UNIX_EPOCH,
            tenants_max: 10,
            reason: None,
            author: None,
            approvals_min: 0,
            repair: None,
            root: None,
            config: String::new(),
            workflow: Default::default(),
            shards: Vec::new(),
            tenants,
            rings,
            blocked: Vec::new(),
        };
        let shape: Vec<_> = plan.by_ring().into_iter().map(|(name, here)| (name, here.len())).collect();
        assert_eq!(shape, [("canary", 1), ("few", 2), ("rest", 2)]);
        plan.rings.clear();
        assert_eq!(plan.by_ring(), [("all", plan.tenants.as_slice())]);
    }
}
