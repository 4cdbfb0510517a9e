//! Questions about rows that are not in the database, as SQL over a relation of the asked rows (`k`) and the live table
//! (`r`).
//!
//! A question is answered in one statement; only live rows that were found are looked up a second time, for their
//! owners. The terms and operators of keys come from the catalog, which spells every name with its schema.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};
use tokio::sync::Mutex;

use super::super::ask::unknown_default;
use super::super::{Answer, LiveRow, Question, Rows};
use super::constraints::points;
use super::queue;
use crate::database::postgres::catalog::Relations;
use crate::database::postgres::error::failure;
use crate::database::postgres::owner;
use crate::database::postgres::relation::{self, PLACE, RowType};
use crate::error::{Error, Result};
use crate::model::{ForeignKey, KeyTerm, Owners, Table, TableName, TenantId, UniqueKey, quote_identifier};

/// Row types of the tables that were asked about: read once, they cannot change while a plan holds.
#[derive(Default)]
pub struct RowTypes(Mutex<BTreeMap<TableName, Arc<RowType>>>);

impl RowTypes {
    /// The row type of a table.
    pub(super) async fn get(
        &self,
        connection: &mut PgConnection,
        relations: &Relations,
        name: &TableName,
    ) -> Result<Arc<RowType>> {
        let mut known = self.0.lock().await;
        if let Some(row_type) = known.get(name) {
            return Ok(Arc::clone(row_type));
        }
        let row_type = Arc::new(relation::row_type(connection, relations, name).await?);
        known.insert(name.clone(), Arc::clone(&row_type));
        Ok(row_type)
    }
}

/// Asks.
pub async fn ask(
    connection: &mut PgConnection,
    relations: &Relations,
    row_types: &RowTypes,
    rows: &Rows<'_>,
    question: &Question<'_>,
) -> Result<Vec<Answer>> {
    let table = &rows.owned.table;
    if rows.tuples.is_empty() {
        return Ok(Vec::new());
    }
    let row_type = row_types.get(connection, relations, &table.name).await?;
    let queue_key;
    let needed = match question {
        Question::Taken(key) => columns_of(key),
        Question::NoParent { key, .. } => {
            if let Some(column) = row_type.unknown_default(table, &key.columns) {
                return Err(unknown_default(&table.name, column, key));
            }
            Some(key.columns.as_slice())
        }
        Question::Fails([]) => return Ok(Vec::new()),
        Question::Detached | Question::Fails(_) => None,
        Question::Referrers { key, .. } => Some(key.parent_columns.as_slice()),
        Question::Queued(link) => {
            queue_key = link.key();
            Some(queue_key.as_slice())
        }
    };
    let unfit = |error| Error::failed(format!("unable to ask about rows of '{}'", table.name)).because(error);
    let unable = |error| failure(format!("unable to ask about rows of '{}'", table.name), error);
    let mut answers = Vec::new();
    let mut places = Vec::new();
    for relation in row_type.relations(table, rows.tuples, needed, "k").map_err(unfit)? {
        let first = relation.first;
        let asked = &relation.from_item;
        let sql = match question {
            Question::Taken(key) => taken(asked, relations, table, key)?,
            Question::NoParent { key, lock } => no_parent(asked, relations, key, *lock)?,
            Question::Detached => detached(asked, relations, rows)?,
            Question::Fails(conditions) => fails(asked, conditions),
            Question::Referrers { child, key, orphaned, .. } => {
                referrers(asked, relations, child, key, *orphaned)?
            }
            Question::Queued(link) => queue::queued(asked, relations, link)?,
        };
        // Safe: quoted identifiers, and expressions that the server itself gave; the rows are bound. A prepared
        // statement: it comes again with every tenant, and looking up its row type would end an unnamed one.
        let query = relation.bound(AssertSqlSafe(sql));
        for row in &query.fetch_all(&mut *connection).await.map_err(unable)? {
            let (mut answer, place) = read(row).map_err(unable)?;
            answer.row += first;
            answers.push(answer);
            places.push(place);
        }
    }
    let of = match question {
        Question::Taken(_) => Some((&table.name, &rows.owned.owners)),
        Question::Referrers { child, owners, .. } => owners.map(|owners| (&child.name, owners)),
        _ => None,
    };
    if let Some((name, owners)) = of.filter(|_| !answers.is_empty()) {
        let owners = self::owners(connection, relations, name, owners, &places).await?;
        for (answer, place) in answers.iter_mut().zip(places) {
            if let Some(live) = &mut answer.live {
                live.owners = owners.get(&place).cloned().unwrap_or_default();
            }
        }
    }
    answers.sort_by_key(|answer| (answer.row, answer.part));
    Ok(answers)
}

/// Where a live row is: its table, a partition perhaps, and its place there.
type Place = (i64, String);

fn read(row: &PgRow) -> Result<(Answer, Place), sqlx::Error> {
    let number: i64 = row.try_get(0)?;
    let part: i32 = row.try_get(1)?;
    let tuple = relation::tuple_at(row, 2)?;
    let answer = Answer {
        row: usize::try_from(number - 1).unwrap_or_default(),
        part: usize::try_from(part).unwrap_or_default(),
        live: tuple.map(|tuple| LiveRow { owners: Vec::new(), tuple }),
    };
    Ok((answer, (row.try_get(3)?, row.try_get(4)?)))
}

/// The columns that a key needs; all of them for one over expressions or a part of the rows.
fn columns_of(key: &UniqueKey) -> Option<&[String]> {
    (!key.columns.is_empty() && key.predicate.is_none()).then_some(key.columns.as_slice())
}

/// Pairs of asked and live rows that collide in a key. Rows with a NULL in it collide with nothing, or, where NULLs
/// are not distinct, with those that have their NULLs in the same places: these few are looked for on their own, since
/// no index serves them.
fn taken(asked: &str, relations: &Relations, table: &Table, key: &UniqueKey) -> Result<String> {
    if key.terms.is_empty() {
        return Err(Error::bug(format!("key '{}' of '{}' has no terms", key.name, table.name)));
    }
    let terms: Vec<String> = key
        .terms
        .iter()
        .enumerate()
        .map(|(number, term)| format!("({}) AS \"reinstate {number}\"", term.sql))
        .collect();
    let terms = terms.join(", ");
    let holds = key.predicate.as_ref().map_or_else(String::new, |sql| format!(" WHERE ({sql})"));
    let live = relations.from_item(&table.name)?;
    let sent = relation::sent(table, "r");
    let select = format!(
        "SELECT k.{PLACE}::pg_catalog.int8, 0, {sent}, r.tableoid::pg_catalog.int8, r.ctid::pg_catalog.text
         FROM (SELECT {PLACE}, {terms} FROM {asked}{holds}) k
         JOIN (SELECT tableoid, ctid, *, {terms} FROM {live}{holds}) r ON"
    );
    let pairs = |with: fn(usize, &KeyTerm) -> String| {
        let each = key.terms.iter().enumerate().map(|(number, term)| with(number, term));
        each.collect::<Vec<_>>().join(" AND ")
    };
    let mut sql = format!("{select} {}", pairs(collides));
    if key.nulls_not_distinct {
        let nulls: Vec<String> =
            (0..key.terms.len()).map(|number| format!("k.\"reinstate {number}\" IS NULL")).collect();
        let same = pairs(|number, term| {
            let null = format!("k.\"reinstate {number}\" IS NULL AND r.\"reinstate {number}\" IS NULL");
            format!("({} OR {null})", collides(number, term))
        });
        sql = format!("{sql} UNION ALL {select} ({}) AND {same}", nulls.join(" OR "));
    }
    Ok(sql)
}

fn collides(number: usize, term: &KeyTerm) -> String {
    let operator = term.operator.as_deref().unwrap_or("OPERATOR(pg_catalog.=)");
    format!("r.\"reinstate {number}\" {operator} k.\"reinstate {number}\"")
}

/// Which of the rows point at one of the others, neither of which need be live.
pub async fn pointing(
    connection: &mut PgConnection,
    relations: &Relations,
    row_types: &RowTypes,
    rows: &Rows<'_>,
    key: &ForeignKey,
    parents: &Rows<'_>,
) -> Result<Vec<usize>> {
    let (child, parent) = (&rows.owned.table, &parents.owned.table);
    if rows.tuples.is_empty() || parents.tuples.is_empty() {
        return Ok(Vec::new());
    }
    let unfit = |error| Error::failed(format!("unable to ask about rows of '{}'", child.name)).because(error);
    let unable = |error| failure(format!("unable to ask about rows of '{}'", child.name), error);
    let own = row_types.get(connection, relations, &child.name).await?;
    let theirs = row_types.get(connection, relations, &parent.name).await?;
    let mut found = BTreeSet::new();
    let asked = own.relations(child, rows.tuples, Some(&key.columns), "k").map_err(unfit)?;
    for asked in asked {
        let with = theirs.relations_after(
            asked.parameters(),
            parent,
            parents.tuples,
            Some(&key.parent_columns),
            "p",
        );
        for with in with.map_err(unfit)? {
            // Safe: quoted identifiers, and operators of the catalog; the rows are bound.
            let sql = AssertSqlSafe(format!(
                "SELECT k.{PLACE}::pg_catalog.int8 - 1 FROM {} WHERE EXISTS (SELECT FROM {} WHERE {})",
                asked.from_item,
                with.from_item,
                points(key, "p", "k")
            ));
            let query = with.bound_to(asked.clone().bound(sql));
            for row in &query.fetch_all(&mut *connection).await.map_err(unable)? {
                let place: i64 = row.try_get(0).map_err(unable)?;
                found.insert(asked.first + usize::try_from(place).unwrap_or_default());
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// The value of a key in each row, as the server prints it; `None` where the key does not speak of the row, or where
/// it is NULL, and NULLs are distinct.
pub async fn key_values(
    connection: &mut PgConnection,
    relations: &Relations,
    row_types: &RowTypes,
    rows: &Rows<'_>,
    key: &UniqueKey,
) -> Result<Vec<Option<String>>> {
    let table = &rows.owned.table;
    let unfit = |error| Error::failed(format!("unable to ask about rows of '{}'", table.name)).because(error);
    let unable = |error| failure(format!("unable to ask about rows of '{}'", table.name), error);
    let mut values = vec![None; rows.tuples.len()];
    if rows.tuples.is_empty() {
        return Ok(values);
    }
    let terms: Vec<String> = key.terms.iter().map(|term| format!("({})", term.sql)).collect();
    let mut conditions: Vec<String> = key.predicate.iter().map(|sql| format!("({sql})")).collect();
    if !key.nulls_not_distinct {
        conditions.extend(terms.iter().map(|term| format!("{term} IS NOT NULL")));
    }
    let only = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") };
    let row_type = row_types.get(connection, relations, &table.name).await?;
    for relation in row_type.relations(table, rows.tuples, columns_of(key), "k").map_err(unfit)? {
        let first = relation.first;
        let sql = format!(
            "SELECT {PLACE}::pg_catalog.int8 - 1, ROW({})::pg_catalog.text FROM {} WHERE {only}",
            terms.join(", "),
            relation.from_item
        );
        // Safe: as above.
        for row in &relation.bound(AssertSqlSafe(sql)).fetch_all(&mut *connection).await.map_err(unable)? {
            let place: i64 = row.try_get(0).map_err(unable)?;
            let place = first + usize::try_from(place).unwrap_or_default();
            if let Some(value) = values.get_mut(place) {
                *value = Some(row.try_get(1).map_err(unable)?);
            }
        }
    }
    Ok(values)
}

fn no_parent(asked: &str, relations: &Relations, key: &ForeignKey, lock: bool) -> Result<String> {
    let parent = relations.from_item(&key.parent)?;
    let quoted = |columns: &[String]| columns.iter().map(|name| quote_identifier(name)).collect::<Vec<_>>();
    let own = quoted(&key.columns);
    let set: Vec<String> = own.iter().map(|column| format!("k.{column} IS NOT NULL")).collect();
    let lock = if lock { " FOR KEY SHARE OF p" } else { "" };
    Ok(format!(
        "SELECT k.{PLACE}::pg_catalog.int8, 0, NULL::pg_catalog.bytea, 0::pg_catalog.int8, ''::pg_catalog.text
         FROM {asked} WHERE {} AND NOT EXISTS (SELECT FROM {parent} p WHERE {}{lock})",
        set.join(" AND "),
        points(key, "p", "k")
    ))
}

fn referrers(
    asked: &str,
    relations: &Relations,
    child: &Table,
    key: &ForeignKey,
    orphaned: bool,
) -> Result<String> {
    let (live, parent) = (relations.from_item(&child.name)?, relations.from_item(&key.parent)?);
    let orphaned = match orphaned {
        true => format!(" WHERE NOT EXISTS (SELECT FROM {parent} p WHERE {})", points(key, "p", "r")),
        false => String::new(),
    };
    Ok(format!(
        "SELECT k.{PLACE}::pg_catalog.int8, 0, {}, r.tableoid::pg_catalog.int8, r.ctid::pg_catalog.text
         FROM {asked} JOIN {live} r ON {}{orphaned}",
        relation::sent(child, "r"),
        points(key, "k", "r")
    ))
}

fn detached(asked: &str, relations: &Relations, rows: &Rows<'_>) -> Result<String> {
    let detached = owner::detached(relations, &rows.owned.owners, "k")?;
    Ok(format!(
        "SELECT k.{PLACE}::pg_catalog.int8, 0, NULL::pg_catalog.bytea, 0::pg_catalog.int8, ''::pg_catalog.text
         FROM {asked} WHERE {detached}"
    ))
}

fn fails(asked: &str, conditions: &[String]) -> String {
    let each: Vec<String> = conditions
        .iter()
        .enumerate()
        .map(|(number, condition)| {
            format!(
                "SELECT {PLACE}::pg_catalog.int8, {number}, NULL::pg_catalog.bytea, 0::pg_catalog.int8,
                        ''::pg_catalog.text
                 FROM asked WHERE NOT ({condition})"
            )
        })
        .collect();
    format!("WITH asked AS MATERIALIZED (SELECT * FROM {asked}) {}", each.join(" UNION ALL "))
}

/// The owners of live rows by their places.
async fn owners(
    connection: &mut PgConnection,
    relations: &Relations,
    name: &TableName,
    owners: &Owners,
    places: &[Place],
) -> Result<HashMap<Place, Vec<TenantId>>> {
    let owner::Scanned { from, owner, .. } = owner::looked_up(relations, name, owners, "r")?;
    let mut by_table: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
    for (table, place) in places {
        by_table.entry(*table).or_default().push(place);
    }
    let mut found: HashMap<Place, Vec<TenantId>> = HashMap::new();
    for (table, places) in by_table {
        let sql = format!(
            "SELECT r.ctid::pg_catalog.text, {owner} FROM {from}
             WHERE r.tableoid OPERATOR(pg_catalog.=) $1::pg_catalog.oid
               AND r.ctid OPERATOR(pg_catalog.=) ANY ($2::pg_catalog.text[]::pg_catalog.tid[])"
        );
        // Safe: quoted identifiers; the places are bound.
        let query = sqlx::query_as(AssertSqlSafe(sql)).bind(table).bind(&places).persistent(false);
        let owned: Vec<(String, Option<String>)> =
            query.fetch_all(&mut *connection).await.map_err(|error| {
                failure(format!("unable to learn the owners of live rows of '{name}'"), error)
            })?;
        for (place, owner) in owned {
            let owners = found.entry((table, place)).or_default();
            owners.extend(owner.map(TenantId::new));
        }
    }
    Ok(found)
}
