//! One case: from a seed to a verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use fastrand::Rng;
use reinstate::config::Config;
use reinstate::memory::Memory;
use reinstate::model::{TableName, TenantId};
use reinstate::plan::{Request, rails};
use reinstate::progress::Silent;
use reinstate::replay::{Options, TenantOutcome, VerifyAt};
use reinstate::restore;
use reinstate::snapshot::{self, CreateOptions, Store};
use reinstate::source::live;
use reinstate::survey::Pick;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Row as _};

use super::owners::{deleted, is_common, owners};
use super::rows::Filler;
use super::world::{Row, Rule, Table, Way};
use super::{neighbours, schema, sql};

/// What the cases held, so that a generator that has gone lame is seen.
#[derive(Clone, Default)]
pub struct Totals {
    tables: usize,
    rows: usize,
    restored: usize,
    /// Cases that hold each kind of thing.
    with: BTreeMap<&'static str, u64>,
}

impl Totals {
    fn of(tables: &[Table], gone: &[Vec<bool>]) -> Self {
        let rules = || tables.iter().map(|table| &table.rule);
        let links = || tables.iter().flat_map(|table| &table.links);
        let either = |rule: &Rule| matches!(rule, Rule::Ways(ways) if ways.len() > 1);
        let restored = |t: usize| gone[t].iter().any(|gone| *gone);
        let kinds: [(&str, bool); 12] = [
            ("alternative owners", rules().any(either)),
            (
                "referenced rows",
                (0..tables.len()).any(|t| matches!(tables[t].rule, Rule::Referenced(_)) && restored(t)),
            ),
            ("polymorphic links", links().any(|link| link.when.is_some())),
            ("arrays of ids", links().any(|link| link.each)),
            ("composite links", links().any(|link| link.columns.len() > 1)),
            ("partitions", tables.iter().any(|table| table.partitioned_by.is_some())),
            ("equal rows", (0..tables.len()).any(|t| tables[t].keys().is_empty() && restored(t))),
            (
                "cycles",
                tables.iter().enumerate().any(|(t, table)| table.links.iter().any(|link| link.parent >= t)),
            ),
            ("disputed rows left by an owner", left_by_an_owner(tables, gone)),
            ("trees", (0..tables.len()).any(|t| tables[t].up.is_some() && restored(t))),
            (
                "trees of composite keys",
                (0..tables.len()).any(|t| is_composite_tree(&tables[t]) && restored(t)),
            ),
            ("four levels", (0..tables.len()).any(|t| level(tables, t) >= 4)),
        ];
        Self {
            tables: tables.len(),
            rows: gone.iter().map(Vec::len).sum(),
            restored: gone.iter().flatten().filter(|gone| **gone).count(),
            with: kinds.into_iter().map(|(kind, there)| (kind, u64::from(there))).collect(),
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.tables += other.tables;
        self.rows += other.rows;
        self.restored += other.restored;
        for (kind, count) in &other.with {
            *self.with.entry(kind).or_default() += count;
        }
    }

    /// Whether everything occurs, in some twentieth of the cases at least.
    pub fn is_varied(&self, cases: u64) -> bool {
        self.with.values().all(|count| count * 20 >= cases)
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tables, rows, restored, with } = self;
        write!(f, "{tables} tables, {rows} rows, {restored} of them deleted and restored; with {with:?}")
    }
}

/// Whether a row that several claimed has stayed and looks like another's, or like nobody's, meanwhile.
fn left_by_an_owner(tables: &[Table], gone: &[Vec<bool>]) -> bool {
    let (before, after) = (owners(tables), owners(&neighbours::without(tables, gone)));
    let has_changed = |t: &usize| {
        let left = before[*t].iter().zip(&gone[*t]).filter(|(_, gone)| !**gone).map(|(owners, _)| owners);
        left.zip(&after[*t]).any(|(before, after)| before.len() > 1 && after.len() < 2)
    };
    (0..tables.len()).filter(|t| !is_common(tables, *t)).any(|t| has_changed(&t))
}

fn is_composite_tree(table: &Table) -> bool {
    table.up.is_some_and(|up| table.links[up].columns.len() > 1)
}

/// Hops to the root.
fn level(tables: &[Table], t: usize) -> usize {
    let Rule::Ways(ways) = &tables[t].rule else { return 0 };
    let hops = ways.iter().map(|way| match way {
        Way::Direct(_) => 1,
        Way::Link(link) if tables[t].is_up(*link) => 1,
        Way::Link(link) => 1 + level(tables, tables[t].links[*link].parent),
    });
    hops.max().unwrap_or(0)
}

/// A database for one case after the other.
pub struct Bench {
    url: String,
    connection: PgConnection,
}

impl Bench {
    pub async fn open(url: &str) -> Self {
        let connection = PgConnection::connect(url).await.expect("a connection");
        Self { url: url.to_owned(), connection }
    }

    /// Runs a case; the error says all that is needed to understand it.
    pub async fn run(&mut self, seed: u64) -> Result<Totals, String> {
        let rng = &mut Rng::with_seed(seed);
        let tables = schema::schema(rng);
        let mut filler = Filler::new(rng, tables);
        filler.fill();
        let root: Vec<String> = filler.tables[0].rows.iter().filter_map(|row| row[0].clone()).collect();
        let count = filler.rng.usize(1..root.len());
        let mut victims: BTreeSet<String> = filler.rng.choose_multiple(root, count).into_iter().collect();
        filler.remove_the_impossible(&mut victims);
        if victims.is_empty() {
            return Ok(Totals::default());
        }
        let folder = tempfile::tempdir().expect("temp dir");
        let store = format!("file://{}", folder.path().join("store").display());
        let described = sql::ddl(&filler.tables);
        let rules = sql::configuration(&filler.tables, &self.url, &store);
        let result = self.check(&mut filler, &victims, &rules).await;
        result.map_err(|error| format!("{error}\n\nvictims {victims:?}\n\n{rules}\n{described}"))
    }

    async fn check(
        &mut self,
        filler: &mut Filler<'_>,
        victims: &BTreeSet<String>,
        rules: &str,
    ) -> Result<Totals, String> {
        let all: String = filler
            .tables
            .iter()
            .map(|table| sql::insert(table, &table.rows.iter().collect::<Vec<_>>()))
            .collect();
        let reset = "DROP SCHEMA IF EXISTS app CASCADE; DROP SCHEMA IF EXISTS \"Billing\" CASCADE;
                     DROP SCHEMA IF EXISTS reinstate CASCADE;";
        self.sql(&format!("{reset} {}", sql::ddl(&filler.tables))).await?;
        // As a replica: links back name rows that are not there yet.
        self.sql_as_replica(&all).await?;
        let config =
            Config::parse(rules, Path::new("reinstate.toml"), |_| None).map_err(|error| error.chain())?;
        take_snapshot(&config).await.map_err(|error| format!("snapshot: {}", error.chain()))?;

        let mut gone = deleted(&filler.tables, &owners(&filler.tables), victims);
        let totals = Totals::of(&filler.tables, &gone);
        let deletes: String = filler
            .tables
            .iter()
            .zip(&gone)
            .map(|(table, gone)| {
                let rows = table.rows.iter().zip(gone).filter(|(_, gone)| **gone);
                sql::delete(table, &rows.map(|(row, _)| row).collect::<Vec<_>>())
            })
            .collect();
        self.sql_as_replica(&deletes).await?;
        for write in neighbours::write(filler, &mut gone, victims) {
            self.sql(&write).await?;
        }
        let left = neighbours::without(&filler.tables, &gone);
        self.compare(&left).await.map_err(|error| format!("before the restore: {error}"))?;

        let planned = bring_back(&config, victims).await?;
        self.compare(&filler.tables).await?;
        let expected = rows_of_one(&filler.tables, victims);
        let common: Vec<String> = (0..filler.tables.len())
            .filter(|t| is_common(&filler.tables, *t))
            .map(|t| name_of(&filler.tables[t]))
            .collect();
        let planned: RowCounts =
            planned.into_iter().filter(|((_, table), _)| !common.contains(table)).collect();
        if planned == expected {
            Ok(totals)
        } else {
            Err(format!("planned {planned:?}, expected {expected:?}"))
        }
    }

    async fn sql(&mut self, sql: &str) -> Result<(), String> {
        let result = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connection).await;
        result.map(|_| ()).map_err(|error| format!("the test's own SQL: {error}\n{sql}"))
    }

    async fn sql_as_replica(&mut self, sql: &str) -> Result<(), String> {
        self.sql(&format!("SET session_replication_role = replica; {sql} RESET session_replication_role"))
            .await
    }

    /// Every row of the database against every row in memory.
    async fn compare(&mut self, tables: &[Table]) -> Result<(), String> {
        let mut wrong = Vec::new();
        for table in tables {
            let live = self.rows(table).await?;
            let mut counts: BTreeMap<&Row, i64> = BTreeMap::new();
            live.iter().for_each(|row| *counts.entry(row).or_default() += 1);
            table.rows.iter().for_each(|row| *counts.entry(row).or_default() -= 1);
            for (row, count) in counts.into_iter().filter(|(_, count)| *count != 0) {
                let what = if count < 0 { "missing" } else { "extra" };
                wrong.push(format!("{}: {what} {} times: {row:?}", sql::full_name(table), count.abs()));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    async fn rows(&mut self, table: &Table) -> Result<Vec<Row>, String> {
        let columns: Vec<String> =
            table.columns.iter().map(|column| format!("{}::text", sql::quoted(&column.name))).collect();
        let query = format!("SELECT ARRAY[{}] FROM {}", columns.join(", "), sql::full_name(table));
        let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(&mut self.connection).await;
        let rows = rows.map_err(|error| format!("unable to read {}: {error}", sql::full_name(table)))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

/// Rows by tenant and table.
type RowCounts = BTreeMap<(String, String), u64>;

/// The victims' rows that have one owner.
fn rows_of_one(tables: &[Table], victims: &BTreeSet<String>) -> RowCounts {
    let mut counts = RowCounts::new();
    let owners = owners(tables);
    for t in (0..tables.len()).filter(|t| !is_common(tables, *t)) {
        for tenants in owners[t].iter().filter(|tenants| tenants.len() == 1) {
            for tenant in tenants.intersection(victims) {
                *counts.entry((tenant.clone(), name_of(&tables[t]))).or_default() += 1;
            }
        }
    }
    counts
}

fn name_of(table: &Table) -> String {
    TableName::new(table.schema, &table.name).to_string()
}

async fn take_snapshot(config: &Config) -> reinstate::Result<()> {
    let store = Store::open(config.store.as_deref().expect("a store"))?;
    let (name, shard) = config.shards.iter().next().expect("a shard");
    let source = live::open(name, &shard.url, &shard.tenancy, 1).await?;
    let options = CreateOptions { memory_bytes: 64 << 20, retain_days: 1, ..CreateOptions::default() };
    snapshot::create(&store, name, source.as_ref(), &shard.tenancy, &options, &Silent).await?;
    Ok(())
}

/// Plans, restores and verifies; what was planned.
async fn bring_back(config: &Config, victims: &BTreeSet<String>) -> Result<RowCounts, String> {
    let store = Store::open(config.store.as_deref().expect("a store")).map_err(|error| error.chain())?;
    let request = Request {
        tenants: victims.iter().map(TenantId::new).collect(),
        tenants_max: 10,
        ..Request::default()
    };
    let plan = restore::dry_run(config, &store, &Pick::At(None), &request, &Silent).await;
    let plan = plan.map_err(|error| format!("plan: {} {:?}", error.chain(), error.hints()))?;
    if !plan.blocked.is_empty() {
        return Err(format!("plan: {:?}", plan.blocked));
    }
    let approved =
        rails::approve(plan, Some(victims.len()), &Default::default()).map_err(|error| error.chain())?;
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    let options = Options {
        jobs: 2,
        memory: Memory::default(),
        verify: VerifyAt::BeforeCommit,
        stop: stopped,
        dropped: PathBuf::new(),
        who: "the property test".to_owned(),
        hold_after: None,
    };
    let outcome = restore::restore(config, &approved, &options, Arc::new(Silent)).await;
    let outcome = outcome.map_err(|error| format!("apply: {}", error.chain()))?;
    if outcome.back() != victims.len() {
        let lines: Vec<String> = outcome.tenants.iter().map(TenantOutcome::line).collect();
        return Err(format!("apply: {}", lines.join("; ")));
    }
    let certificates = restore::prove(config, approved.plan(), |_| true, 2, Memory::default(), &Silent).await;
    let certificates = certificates.map_err(|error| format!("verify: {}", error.chain()))?;
    let unequal: Vec<_> = certificates.iter().filter(|certificate| !certificate.equal).collect();
    if !unequal.is_empty() {
        return Err(format!("verify: {unequal:#?}"));
    }
    let tenants = approved.plan().tenants.iter();
    let tables = tenants.flat_map(|tenant| {
        tenant.shards.iter().flat_map(move |shard| shard.tables.iter().map(move |table| (tenant, table)))
    });
    Ok(tables.map(|(tenant, table)| ((tenant.id.to_string(), table.table.to_string()), table.rows)).collect())
}
