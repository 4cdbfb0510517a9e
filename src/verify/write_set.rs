//! The neighbours' proof: a transaction may have written its own rows and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::model::{OwnedTable, TableName};
use crate::shard::{TableWrites, WriteSet};

/// Compares what a transaction wrote with the rows it was to write, table by table. Anything else (a trigger's
/// update, a cascade, a rule's insert) is an error that names the table and the triggers that may have done it:
/// with `triggers_off`, those that fire all the same.
pub fn check_write_set(
    expected: &BTreeMap<TableName, TableWrites>,
    written: &WriteSet,
    tables: &[OwnedTable],
    triggers_off: bool,
) -> Result<()> {
    let names: BTreeSet<&TableName> = expected.keys().chain(written.tables.keys()).collect();
    let mut wrong = Vec::new();
    for name in names {
        let planned = expected.get(name).copied().unwrap_or_default();
        let found = written.tables.get(name).copied().unwrap_or_default();
        if found != planned {
            let TableWrites { inserted, updated, deleted } = planned;
            let more = match (updated, deleted) {
                (0, 0) => String::new(),
                (0, _) => format!(" and {deleted} deleted"),
                _ => format!(", {updated} updated and {deleted} deleted"),
            };
            wrong.push(format!(
                "table '{name}': {} inserted, {} updated, {} deleted, where {inserted} were to be inserted{more}",
                found.inserted, found.updated, found.deleted
            ));
        }
    }
    if written.unattributed > 0 {
        wrong.push(format!(
            "{} rows were written in tables that the database does not name",
            written.unattributed
        ));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let error =
        Error::failed(format!("the transaction wrote more than the tenant's rows: {}", wrong.join("; ")));
    Err(error.hint(cause(tables, triggers_off)))
}

fn cause(tables: &[OwnedTable], triggers_off: bool) -> String {
    let triggers: Vec<String> = tables
        .iter()
        .flat_map(|owned| {
            let firing = owned.table.triggers.iter().filter(|trigger| trigger.fires_on_insert(triggers_off));
            firing.map(|trigger| format!("'{}' on '{}'", trigger.name, owned.table.name))
        })
        .collect();
    if triggers.is_empty() {
        "no trigger is known on the tenant's tables; look for rules and for triggers on the tables named above".into()
    } else {
        format!(
            "triggers that fire on INSERT: {}; disable them for the restore, or restore without their tables",
            triggers.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(table: &str) -> TableName {
        TableName::new("public", table)
    }

    fn written(tables: &[(&str, u64, u64, u64)], unattributed: u64) -> WriteSet {
        let tables = tables.iter().map(|&(table, inserted, updated, deleted)| {
            (name(table), TableWrites { inserted, updated, deleted })
        });
        WriteSet { tables: tables.collect(), unattributed }
    }

    #[test]
    fn only_the_expected_inserts_pass() {
        let inserted = |inserted| TableWrites { inserted, ..TableWrites::default() };
        let expected = BTreeMap::from([(name("issues"), inserted(2)), (name("empty"), inserted(0))]);
        let check =
            |set: WriteSet| check_write_set(&expected, &set, &[], false).map_err(|error| error.chain());
        assert_eq!(check(written(&[("issues", 2, 0, 0)], 0)), Ok(()));
        for wrong in [
            written(&[("issues", 1, 0, 0)], 0),
            written(&[("issues", 3, 0, 0)], 0),
            written(&[("issues", 2, 1, 0)], 0),
            written(&[("issues", 2, 0, 1)], 0),
            written(&[("issues", 2, 0, 0), ("audit", 1, 0, 0)], 0),
            written(&[("issues", 2, 0, 0)], 1),
            written(&[], 0),
        ] {
            assert!(check(wrong.clone()).is_err(), "{wrong:?}");
        }
        assert_eq!(
            check(written(&[("issues", 2, 0, 0), ("tellers", 0, 1, 0)], 0)),
            Err("the transaction wrote more than the tenant's rows: table 'public.tellers': 0 inserted, 1 updated, \
                 0 deleted, where 0 were to be inserted"
                .into())
        );
    }

    #[test]
    fn exactly_the_cleared_entries_may_go() {
        let deleted = TableWrites { deleted: 2, ..TableWrites::default() };
        let expected = BTreeMap::from([(name("queue"), deleted)]);
        let passes = |set: WriteSet| check_write_set(&expected, &set, &[], false).is_ok();
        assert!(passes(written(&[("queue", 0, 0, 2)], 0)));
        for wrong in [
            written(&[("queue", 0, 0, 1)], 0),
            written(&[("queue", 0, 0, 3)], 0),
            written(&[("queue", 1, 0, 2)], 0),
            written(&[("queue", 0, 0, 2), ("other", 0, 0, 1)], 0),
        ] {
            assert!(!passes(wrong.clone()), "{wrong:?}");
        }
    }
}
