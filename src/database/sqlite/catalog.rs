//! Tables as `sqlite_schema` and the table-valued pragmas tell them, in six queries whatever their number.
//!
//! Left out: `sqlite_*`, the engine's own journal, views, virtual tables and the shadow tables that hold
//! their contents ([`virtual_tables`] names them). A table without a declared primary key has none here
//! either: its rowid is SQLite's own and is not kept. Kinds are those of the declared types;
//! [`super::kinds::observe`] looks at the values.

use std::collections::BTreeMap;

use sqlx::AssertSqlSafe;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{FromRow, Row};

use super::kinds::declared_kind;
use super::sql_text::{bare_words, index_parts};
use crate::model::{Column, ForeignKey, KeyTerm, Table, TableName, Trigger, UniqueKey, quote_identifier};

/// The one schema of a SQLite file.
pub const SCHEMA: &str = "main";
/// The engine's own tables, which are no user's: journal, events, what the gates held.
pub const OWN_TABLES: [&str; 3] = ["reinstate_journal", "reinstate_event", "reinstate_gate"];

/// The user tables, as a common table expression for the queries below.
const USER_TABLES: &str = "WITH t(name, wr) AS MATERIALIZED (
    SELECT name, wr FROM pragma_table_list
    WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
      AND lower(name) NOT IN ('reinstate_journal', 'reinstate_event', 'reinstate_gate'))";

/// Reads all user tables.
pub async fn tables(connection: &mut SqliteConnection) -> Result<Vec<Table>, sqlx::Error> {
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    let mut keys: BTreeMap<String, BTreeMap<i64, String>> = BTreeMap::new();
    for row in rows::<ColumnRow>(connection, COLUMNS).await? {
        if row.key_position > 0 {
            keys.entry(row.table.clone()).or_default().insert(row.key_position, row.name.clone());
        }
        let table = tables.entry(row.table).or_insert_with_key(|name| empty_table(name));
        table.columns.push(Column {
            kind: declared_kind(&row.type_name),
            name: row.name,
            type_name: row.type_name,
            not_null: row.not_null,
            generated: row.hidden >= 2,
            has_default: row.has_default,
            user_type: None,
        });
    }
    for (table, key) in keys {
        if let Some(table) = tables.get_mut(&table) {
            table.primary_key = key.into_values().collect();
        }
    }
    add_unique_keys(&mut tables, rows(connection, UNIQUE_KEYS).await?);
    add_foreign_keys(&mut tables, rows(connection, FOREIGN_KEYS).await?);
    for row in rows::<TriggerRow>(connection, TRIGGERS).await? {
        if let Some(table) = find_mut(&mut tables, &row.table) {
            let fires_on = |event| self::event(&row.sql) == Some(event);
            let (on_insert, on_update, on_delete) =
                (fires_on("insert"), fires_on("update"), fires_on("delete"));
            table.triggers.push(Trigger {
                name: row.name,
                on_insert,
                on_update,
                on_delete,
                ..Trigger::default()
            });
        }
    }
    Ok(tables.into_values().collect())
}

/// Names of virtual tables, which cannot be restored: their rows are kept in shadow tables of their module.
pub async fn virtual_tables(connection: &mut SqliteConnection) -> Result<Vec<String>, sqlx::Error> {
    let sql = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'virtual' ORDER BY name";
    sqlx::query_scalar(sql).fetch_all(connection).await
}

/// Names of WITHOUT ROWID tables, whose changes SQLite's update hook does not tell.
pub async fn tables_without_rowid(connection: &mut SqliteConnection) -> Result<Vec<String>, sqlx::Error> {
    let sql = format!("{USER_TABLES} SELECT name FROM t WHERE wr");
    // Safe: both parts are constants.
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(connection).await
}

fn empty_table(name: &str) -> Table {
    // Without sequences: AUTOINCREMENT follows the ids that are inserted by itself, there is nothing to move.
    Table::new(TableName::new(SCHEMA, name))
}

async fn rows<R>(connection: &mut SqliteConnection, select: &str) -> Result<Vec<R>, sqlx::Error>
where
    R: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
{
    // Safe: both parts are constants.
    sqlx::query_as(AssertSqlSafe(format!("{USER_TABLES} {select}"))).fetch_all(connection).await
}

/// SQLite compares names without case; the table that is meant, in its own spelling.
fn find_mut<'a>(tables: &'a mut BTreeMap<String, Table>, name: &str) -> Option<&'a mut Table> {
    tables.iter_mut().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, table)| table)
}

// --- columns -----------------------------------------------------------------------------------------

const COLUMNS: &str = "SELECT t.name, x.name, x.type, x.\"notnull\", x.pk, x.hidden, x.dflt_value IS NOT NULL
    FROM t, pragma_table_xinfo(t.name, 'main') AS x WHERE x.hidden <> 1 ORDER BY t.name, x.cid";

struct ColumnRow {
    table: String,
    name: String,
    type_name: String,
    not_null: bool,
    key_position: i64,
    /// 2 and 3 are generated columns, virtual and stored.
    hidden: i64,
    has_default: bool,
}

impl FromRow<'_, SqliteRow> for ColumnRow {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            table: row.try_get(0)?,
            name: row.try_get(1)?,
            type_name: row.try_get(2)?,
            not_null: row.try_get(3)?,
            key_position: row.try_get(4)?,
            hidden: row.try_get(5)?,
            has_default: row.try_get(6)?,
        })
    }
}

// --- keys --------------------------------------------------------------------------------------------

const UNIQUE_KEYS: &str = "SELECT t.name, i.name, i.origin = 'pk', i.partial, c.name, c.coll, s.sql
    FROM t, pragma_index_list(t.name, 'main') AS i, pragma_index_xinfo(i.name, 'main') AS c
    LEFT JOIN main.sqlite_schema AS s ON s.type = 'index' AND s.name = i.name
    WHERE i.\"unique\" AND c.\"key\" ORDER BY t.name, i.seq, c.seqno";

struct UniqueKeyRow {
    table: String,
    index: String,
    primary: bool,
    partial: bool,
    /// Absent for an expression.
    column: Option<String>,
    collation: String,
    /// Absent for an index that belongs to a constraint.
    sql: Option<String>,
}

impl FromRow<'_, SqliteRow> for UniqueKeyRow {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            table: row.try_get(0)?,
            index: row.try_get(1)?,
            primary: row.try_get(2)?,
            partial: row.try_get(3)?,
            column: row.try_get(4)?,
            collation: row.try_get(5)?,
            sql: row.try_get(6)?,
        })
    }
}

/// Keys with what is compared, under which collation. One on expressions or on some of the rows has no columns.
fn add_unique_keys(tables: &mut BTreeMap<String, Table>, rows: Vec<UniqueKeyRow>) {
    for group in rows.chunk_by(|a, b| a.table == b.table && a.index == b.index) {
        let first = &group[0];
        let parts = first.sql.as_deref().map(index_parts);
        let term = |(number, row): (usize, &UniqueKeyRow)| {
            let written = || parts.as_ref()?.terms.get(number).map(|term| (*term).to_owned());
            let sql = row.column.as_ref().map(|name| quote_identifier(name)).or_else(written)?;
            Some(KeyTerm { sql, operator: Some(format!("COLLATE {} =", quote_identifier(&row.collation))) })
        };
        let columns: Option<Vec<String>> = group.iter().map(|row| row.column.clone()).collect();
        let terms: Option<Vec<KeyTerm>> = group.iter().enumerate().map(term).collect();
        let key = UniqueKey {
            name: if first.primary { "primary key".to_owned() } else { first.index.clone() },
            columns: columns.filter(|_| !first.partial).unwrap_or_default(),
            terms: terms.unwrap_or_default(),
            predicate: parts.as_ref().and_then(|parts| parts.predicate).map(str::to_owned),
            ..UniqueKey::default()
        };
        match tables.get_mut(&first.table) {
            Some(table) if first.primary => table.primary_index = Some(key),
            Some(table) => table.unique_keys.push(key),
            None => {}
        }
    }
}

const FOREIGN_KEYS: &str = "SELECT t.name, f.id, f.\"table\", f.\"from\", f.\"to\", f.on_update
    FROM t, pragma_foreign_key_list(t.name, 'main') AS f ORDER BY t.name, f.id DESC, f.seq";

struct ForeignKeyRow {
    table: String,
    id: i64,
    parent: String,
    from: String,
    /// Absent where the parent's primary key is meant.
    to: Option<String>,
    on_update: String,
}

impl FromRow<'_, SqliteRow> for ForeignKeyRow {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            table: row.try_get(0)?,
            id: row.try_get(1)?,
            parent: row.try_get(2)?,
            from: row.try_get(3)?,
            to: row.try_get(4)?,
            on_update: row.try_get(5)?,
        })
    }
}

/// Foreign keys in the order of their declaration (SQLite numbers them from the last one). They have no
/// names, so `fk_<table>_<n>` stands for the n-th. All can wait for the commit: `PRAGMA defer_foreign_keys`.
/// A key to a table that does not exist keeps its parent's name as it is written; one that names neither
/// columns nor a parent with a primary key is left out, SQLite itself refuses every row of such a table.
fn add_foreign_keys(tables: &mut BTreeMap<String, Table>, rows: Vec<ForeignKeyRow>) {
    for group in rows.chunk_by(|a, b| a.table == b.table && a.id == b.id) {
        let first = &group[0];
        let parent = find_mut(tables, &first.parent).map(|table| table.clone());
        let named: Option<Vec<String>> = group.iter().map(|row| row.to.clone()).collect();
        let parent_columns = match (&parent, named) {
            (Some(parent), Some(named)) => named.iter().map(|name| spelling(parent, name)).collect(),
            (None, Some(named)) => named,
            (Some(parent), None) => parent.primary_key.clone(),
            (None, None) => Vec::new(),
        };
        let Some(table) = tables.get_mut(&first.table) else { continue };
        if parent_columns.len() != group.len() {
            continue;
        }
        let number = table.foreign_keys.len() + 1;
        table.foreign_keys.push(ForeignKey {
            name: format!("fk_{}_{number}", first.table),
            columns: group.iter().map(|row| spelling(table, &row.from)).collect(),
            parent: parent.map_or_else(|| TableName::new(SCHEMA, &first.parent), |parent| parent.name),
            parent_columns,
            deferrable: true,
            validated: true,
            match_full: false,
            follows: ["CASCADE", "SET NULL", "SET DEFAULT"].contains(&first.on_update.as_str()),
            operators: vec![],
        });
    }
}

/// A column's name in its own spelling.
fn spelling(table: &Table, name: &str) -> String {
    let found = table.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
    found.map_or(name, |column| &column.name).to_owned()
}

// --- triggers ----------------------------------------------------------------------------------------

const TRIGGERS: &str = "SELECT s.tbl_name, s.name, s.sql FROM main.sqlite_schema AS s
    WHERE s.type = 'trigger' ORDER BY s.tbl_name, s.name";

struct TriggerRow {
    table: String,
    name: String,
    sql: String,
}

impl FromRow<'_, SqliteRow> for TriggerRow {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self { table: row.try_get(0)?, name: row.try_get(1)?, sql: row.try_get(2)? })
    }
}

/// The event of a trigger: the first of these three words outside quotes and comments; none of them can be a name
/// without quotes.
fn event(sql: &str) -> Option<&'static str> {
    let named = |word: &str| {
        ["insert", "update", "delete"].into_iter().find(|event| word.eq_ignore_ascii_case(event))
    };
    bare_words(sql).find_map(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_of_a_trigger_is_found_behind_odd_names() {
        for sql in [
            "CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; END",
            "create trigger if not exists main.t insert on a begin select 1; end",
            "CREATE TRIGGER \"x delete \"\" update\" BEFORE /* delete */ INSERT -- update\n ON a BEGIN SELECT 1",
            "CREATE TRIGGER [on delete] INSTEAD OF INSERT ON v BEGIN SELECT 1; END",
            "CREATE TRIGGER `delete` INSERT ON v BEGIN SELECT 1; END",
            "CREATE TRIGGER updates AFTER INSERT ON v BEGIN SELECT 1; END",
        ] {
            assert_eq!(event(sql), Some("insert"), "{sql}");
        }
        for (sql, expected) in [
            ("CREATE TRIGGER t AFTER DELETE ON a BEGIN INSERT INTO b VALUES (1); END", Some("delete")),
            ("CREATE TRIGGER 'insert' UPDATE OF x ON a BEGIN INSERT INTO b VALUES (1); END", Some("update")),
            ("CREATE TRIGGER \"unterminated insert", None),
        ] {
            assert_eq!(event(sql), expected, "{sql}");
        }
    }
}
