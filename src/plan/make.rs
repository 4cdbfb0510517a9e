//! Facts in, plan out: everything that can stop a restore is said here, before anything is written.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    Course, Findings, PLAN_FORMAT, Plan, Request, RootTable, ShardFindings, ShardPlan, TableDrift,
    TenantPlan, TenantShard, constraints, drift, gate, order, queues, rails, repair, rings, settle,
};
use crate::approval::Rules;
use crate::error::{Error, Result};
use crate::model::{
    Belongs, DatabaseIdentity, OwnedTable, Owners, PlanHash, QueueLink, Rule, ShardName, Table, TableName,
    TenancyError, TenantId,
};
use crate::workflow::Workflow;

/// What the configuration says beside the rules of its tables.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'c> {
    /// Who must approve.
    pub approvals: Option<&'c Rules>,
    /// What belongs to a site beside its rows.
    pub workflow: &'c Workflow,
    /// In what order tenants come back.
    pub course: &'c Course,
    /// Hash of the configuration.
    pub hash: &'c str,
}

/// Most problems that one message lists; the rest is counted.
const LISTED_MAX: usize = 10;

/// Makes the plan, or says why there can be none.
pub fn make(request: &Request, findings: Findings, settings: &Settings<'_>, now: Timestamp) -> Result<Plan> {
    let Settings { approvals, course, .. } = *settings;
    rails::check_list(request, &findings)?;
    rails::check_approvable(request, approvals)?;
    rails::check_deleted(request, &findings)?;
    let places = course.priority.tenants(&findings.priorities)?;
    let waits = settle::waits(&findings);
    let (findings, blocked) = settle::settle(findings);
    let mut shards = Vec::new();
    for found in &findings.shards {
        check_rules(found)?;
        if found.contents.values().all(Vec::is_empty) {
            continue;
        }
        rails::check_target(request, found)?;
        let drift = check_schema(found, request.allow_dropped)?;
        check_obstacles(found)?;
        shards.push(shard_plan(request, found, drift)?);
    }
    // The catalogue comes last: a tenant is listed again only when everything else of it is back.
    shards.sort_by_key(|shard| {
        let name = &shard.name;
        (*name == findings.root_shard, course.priority.shard(name), name.clone())
    });
    let is_blocked = |id: &&TenantId| blocked.iter().any(|tenant| tenant.id == **id);
    let going = request.tenants.iter().filter(|id| !is_blocked(id));
    let mut tenants: Vec<TenantPlan> = going.map(|id| tenant_plan(id.clone(), &findings, &shards)).collect();
    // The urgent ones, those of priority, then the largest first: the long ones must not be left for the end. Before
    // them, unless somebody must come first or a canary ring shows it, the smallest one: it shows at once whether the
    // way is clear.
    let urgent: BTreeMap<&TenantId, usize> = request.urgent.iter().zip(0..).collect();
    tenants.sort_by_cached_key(|tenant| {
        let first = urgent.get(&tenant.id).copied().unwrap_or(usize::MAX);
        (first, places.get(&tenant.id).copied(), std::cmp::Reverse(tenant.bytes()))
    });
    // A repair goes through its tenants in one.
    let rings = course.rings.as_ref().filter(|_| request.repair.is_none());
    if urgent.is_empty() && places.is_empty() && rings.is_none() && !tenants.is_empty() {
        tenants.rotate_right(1);
    }
    settle::require_some(&tenants, &blocked, request.repair.is_some())?;
    let (tenants, rings) = match rings {
        Some(rings) => rings::divide(rings, tenants, &shards, &waits),
        None => (tenants, Vec::new()),
    };
    let mut plan = Plan {
        format: PLAN_FORMAT,
        hash: PlanHash::new(""),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        created_at: now,
        tenants_max: request.tenants_max,
        reason: request.reason.clone(),
        author: request.author.clone(),
        approvals_min: approvals.map_or(0, |rules| rules.required.count(tenants.len())),
        repair: request.repair,
        root: root_table(&findings),
        config: settings.hash.to_owned(),
        // A repair leaves tenants where they are, served.
        workflow: if request.repair.is_some() { Workflow::default() } else { settings.workflow.clone() },
        shards,
        tenants,
        rings,
        blocked,
    };
    gate::check(&plan)?;
    plan.graph()?;
    plan.hash = plan.content_hash()?;
    Ok(plan)
}

fn root_table(findings: &Findings) -> Option<RootTable> {
    let root = findings.shards.iter().find(|shard| shard.name == findings.root_shard)?;
    let (table, _) = root.rules.rules.iter().find(|(_, rule)| matches!(rule, Rule::Root { .. }))?;
    Some(RootTable { shard: root.name.clone(), table: table.clone() })
}

/// The rules must cover every live table, and must be those the snapshot was taken with.
fn check_rules(found: &ShardFindings) -> Result<()> {
    let wrong: Vec<TenancyError> = found.rules.check(&found.live_tables);
    let unclassified: Vec<String> = wrong
        .iter()
        .filter_map(|error| match error {
            TenancyError::Unclassified(table) => Some(format!("'{table}'")),
            _ => None,
        })
        .collect();
    if !unclassified.is_empty() {
        return Err(Error::undecided(format!(
            "unable to plan for shard '{}': no rule for {}",
            found.name,
            listed(&unclassified, "table")
        ))
        .hint(
            "say who owns the rows of each in the configuration (root, direct, derived, shared or excluded)",
        )
        .hint("`reinstate why TABLE` shows what the schema tells"));
    }
    if let Some(error) = wrong.first() {
        return Err(Error::undecided(format!("unable to plan for shard '{}': {error}", found.name))
            .hint("correct the rule in the configuration"));
    }
    // Columns may have got other names since, which is no other rule.
    let now = |table: &TableName, column: &str| {
        let renamed = found.renamed.get(table).and_then(|renamed| renamed.get(column));
        renamed.map_or_else(|| column.to_owned(), Clone::clone)
    };
    for (table, rule) in &found.rules.rules {
        let taken = found.taken_rules.rules.get(table).map(|taken| taken.renamed(table, &now));
        let taken = taken.as_ref();
        let is_gone = matches!(rule, Rule::Excluded { .. }) && live_table(found, table).is_none();
        let differs =
            taken.is_some_and(|taken| taken != rule && (taken.is_owned() || rule.is_owned()) && !is_gone);
        if differs {
            return Err(Error::undecided(format!(
                "unable to plan for shard '{}': the rule of table '{table}' is '{}', but snapshot '{}' was taken with '{}'",
                found.name,
                rule.name(),
                found.snapshot,
                taken.map_or("none", Rule::name),
            ))
            .hint("use the rules of the snapshot (`reinstate snapshot show`), or a snapshot taken with the new ones"));
        }
    }
    Ok(())
}

/// Says by which rules the restore copes with a schema that has changed, or refuses it.
fn check_schema(found: &ShardFindings, allow_dropped: bool) -> Result<Vec<String>> {
    let mut covered = Vec::new();
    let mut refused = Vec::new();
    let mut lacks_allowance = false;
    for (table, rows) in &found.gone {
        match found.rules.rules.get(table) {
            Some(Rule::Excluded { reason }) => covered.push(format!(
                "table '{table}' does not exist any more and is excluded ({reason}): {rows} rows stay in the snapshot"
            )),
            _ => refused.push(format!("table '{table}' does not exist any more, and has {rows} rows of the tenants")),
        }
    }
    for name in planned_tables(found) {
        let Some(TableDrift { drift, found }) = found.drift.get(name) else { continue };
        let judged = drift.judge(found, allow_dropped);
        covered.extend(judged.covered);
        refused.extend(judged.refused);
        lacks_allowance |= judged.lacks_allowance;
    }
    if refused.is_empty() {
        return Ok(covered);
    }
    let error = Error::undecided(format!(
        "unable to plan for shard '{}': its schema is not the one of snapshot '{}': {}",
        found.name,
        found.snapshot,
        listed(&refused, "difference")
    ))
    .hint("bring the schema of the target back to the snapshot's, or restore from a snapshot taken since");
    let error = if lacks_allowance { error.hint(drift::HINT_DROPPED) } else { error };
    Err(error.hint(drift::HINT_DECLARE))
}

fn check_obstacles(found: &ShardFindings) -> Result<()> {
    let planned = planned_tables(found);
    // One obstacle often stands before many tables; it is said once.
    let mut tables_by_obstacle: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (table, obstacles) in found.obstacles.iter().filter(|(table, _)| planned.contains(table)) {
        for obstacle in obstacles {
            tables_by_obstacle.entry(obstacle).or_default().push(format!("'{table}'"));
        }
    }
    let obstacles: Vec<String> = tables_by_obstacle
        .into_iter()
        .map(|(obstacle, tables)| format!("table {}: {obstacle}", tables.join(", ")))
        .collect();
    if obstacles.is_empty() {
        return Ok(());
    }
    Err(Error::refused(format!(
        "unable to restore into shard '{}': {}",
        found.name,
        listed(&obstacles, "obstacle")
    ))
    .hint("a restore needs SELECT and INSERT on every table it writes, and must see all rows"))
}

/// Tables that hold rows of the requested tenants.
fn planned_tables(found: &ShardFindings) -> BTreeSet<&TableName> {
    found.contents.values().flatten().map(|table| &table.table).collect()
}

fn live_table<'a>(found: &'a ShardFindings, name: &TableName) -> Option<&'a Table> {
    found.live_tables.iter().find(|table| table.name == *name)
}

fn shard_plan(request: &Request, found: &ShardFindings, drift: Vec<String>) -> Result<ShardPlan> {
    let planned = planned_tables(found);
    let mut live: Vec<Table> = planned.iter().filter_map(|name| live_table(found, name)).cloned().collect();
    let constraints = constraints::choose(request.constraints, found, &live)?;
    let mut warnings = found.warnings.clone();
    warnings.extend(constraints::warnings(&constraints, found, &live));
    warnings.extend(repair::warnings(&constraints, found, &live));
    if matches!(found.live, DatabaseIdentity::Sqlite { .. }) || constraints.by_engine() {
        // `PRAGMA defer_foreign_keys` defers every key of SQLite; with triggers off none is checked on the way.
        live.iter_mut().flat_map(|table| &mut table.foreign_keys).for_each(|key| key.deferrable = true);
    }
    let owners = planned_owners(found, &planned)?;
    let ordered =
        order::parents_first(&live.iter().collect::<Vec<_>>(), &links(&owners)).map_err(|cycle| {
            let names: Vec<String> = cycle.0.iter().map(|name| format!("'{name}'")).collect();
            Error::undecided(format!(
                "unable to plan for shard '{}': the foreign keys of {} form a cycle",
                found.name,
                listed(&names, "table")
            ))
            .hint("plan with --constraints=engine: with triggers off, keys may run in circles (docs/privileges.md)")
            .hint("or make one of the keys DEFERRABLE, so that it can be checked at commit")
        })?;
    let tables = ordered.iter().map(|name| owned_table(found, name)).collect::<Result<Vec<_>>>()?;
    let others = other_tables(found, &planned)?;
    let links: Vec<QueueLink> =
        found.queues.iter().filter(|link| planned.contains(&link.table)).cloned().collect();
    queues::check_privileges(found, &links)?;
    let involved = ordered.iter().chain(others.iter().map(|owned| &owned.table.name));
    let schema = drift::schema_hash(&found.live_tables, involved.chain(links.iter().map(|link| &link.queue)));
    let adapted = |name: &TableName| Some((name.clone(), found.drift.get(name)?.drift.adaptation.clone()?));
    let adaptations = ordered.iter().filter_map(adapted).collect();
    Ok(ShardPlan {
        name: found.name.clone(),
        store: found.store.clone(),
        snapshot: found.snapshot.clone(),
        manifest: found.manifest.clone(),
        taken_at: found.taken_at,
        target: found.live.clone(),
        schema,
        tables,
        others,
        drift,
        adaptations,
        queues: links,
        constraints,
        warnings,
    })
}

/// The owners of the planned tables; those whose rows are looked up one by one must have a key for it.
fn planned_owners<'a>(
    found: &ShardFindings,
    planned: &BTreeSet<&'a TableName>,
) -> Result<Vec<(&'a TableName, Owners)>> {
    let mut all = Vec::with_capacity(planned.len());
    for name in planned {
        let Some(owners) = owners(found, name)? else { continue };
        if owners.belongs != Belongs::ToOne
            && live_table(found, name).is_some_and(|live| live.primary_key.is_empty())
        {
            return Err(Error::undecided(format!(
                "unable to plan for shard '{}': table '{name}' has no primary key, and its rows belong to whoever points at them",
                found.name
            ))
            .hint("such rows are looked up one by one, and restored where they are missing")
            .hint("give the table a primary key, or another rule"));
        }
        all.push((*name, owners));
    }
    Ok(all)
}

/// Which tables the rows of a table are found by.
fn links<'a>(owners: &'a [(&TableName, Owners)]) -> Vec<order::Link<'a>> {
    let of = |(child, owners): &'a (&TableName, Owners)| {
        let must = owners.belongs == Belongs::WithParent;
        let first = owners.ways.iter().filter_map(|way| way.steps.first()).filter(|step| !step.many);
        first.map(move |step| order::Link { child, parent: &step.parent, must })
    };
    owners.iter().flat_map(of).collect()
}

/// Live tables that tenants own rows of, but none of this plan's in the snapshot; tables made since are among them.
fn other_tables(found: &ShardFindings, planned: &BTreeSet<&TableName>) -> Result<Vec<OwnedTable>> {
    let mut others = Vec::new();
    for table in found.live_tables.iter().filter(|table| !planned.contains(&table.name)) {
        // Rows that belong to whoever points at them are no tenant's alone, so that none of them is out of place.
        if let Some(owners) = owners(found, &table.name)?.filter(|owners| owners.belongs == Belongs::ToOne) {
            others.push(OwnedTable { table: table.clone(), owners });
        }
    }
    Ok(others)
}

fn owners(found: &ShardFindings, name: &TableName) -> Result<Option<Owners>> {
    found
        .rules
        .owners(name, &found.live_tables)
        .map_err(|error| Error::undecided(format!("unable to plan for shard '{}': {error}", found.name)))
}

fn owned_table(found: &ShardFindings, name: &TableName) -> Result<OwnedTable> {
    let unable =
        || Error::bug(format!("table '{name}' of shard '{}' has rows of a tenant but no owner", found.name));
    let owners = owners(found, name)?.ok_or_else(unable)?;
    // Keys, triggers and sequences are those of the live table; the columns are those that are written.
    let live = live_table(found, name).ok_or_else(unable)?;
    let drift = &found.drift.get(name).ok_or_else(unable)?.drift;
    Ok(OwnedTable { table: drift.written(live), owners })
}

fn tenant_plan(id: TenantId, findings: &Findings, shards: &[ShardPlan]) -> TenantPlan {
    let contents: BTreeMap<&ShardName, &ShardFindings> =
        findings.shards.iter().map(|found| (&found.name, found)).collect();
    let shards = shards
        .iter()
        .filter_map(|shard| {
            let rows = contents.get(&shard.name)?.contents.get(&id)?;
            // In the order of writing.
            let tables: Vec<_> = shard
                .tables
                .iter()
                .filter_map(|owned| rows.iter().find(|row| row.table == owned.table.name).cloned())
                .collect();
            (!tables.is_empty()).then(|| TenantShard { shard: shard.name.clone(), tables })
        })
        .collect();
    TenantPlan { name: findings.names.get(&id).cloned().flatten(), id, shards }
}

/// `a; b; c and 4 more things`.
pub(super) fn listed(items: &[String], what: &str) -> String {
    let mut text = items.iter().take(LISTED_MAX).cloned().collect::<Vec<_>>().join("; ");
    if let Some(more) = items.len().checked_sub(LISTED_MAX).filter(|more| *more > 0) {
        text.push_str(&format!("; and {more} more {what}s"));
    }
    text
}
