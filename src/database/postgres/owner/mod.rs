//! From [`Owners`] to SQL: who owns each row (for scans), and which rows are one tenant's (for everything else).
//!
//! ```text
//! one way    scan     SELECT p2."site"::text, r."id", … FROM ONLY "s"."comments" r
//!                     LEFT JOIN ONLY "s"."issues" … LEFT JOIN ONLY "s"."projects" …
//!            tenant   … WHERE EXISTS (SELECT FROM ONLY "s"."issues" … WHERE … = ID::bigint)
//! several    scan     all ways joined; the owner is what the ways that are set agree on
//!            tenant   … WHERE (r.tableoid, r.ctid) = ANY (1st way = ID, no other <> ID UNION ALL 2nd way …)
//! trees      scan     joined to WITH RECURSIVE (key of a row, each tenant of it and of the rows above)
//!            tenant   the same, beginning at the tenant's own rows; upwards from a row that is known
//! referenced scan     joined to the distinct pairs (place of the row, tenant): once for each tenant
//! ```
//!
//! So each way can begin at the tenant and use its own indexes. A tenant id is data: it arrives as a parameter or
//! through `current_setting('reinstate.tenant')`, never in the text. Operators are `pg_catalog`'s, so that no operator
//! of a user can change what equal means. An id must be the canonical text of its value (`7`, not `007`): what a cast
//! would cut off or round can then never hit another tenant.

pub mod doubts;
mod scan;
mod tenant;
mod types;
mod way;

use super::catalog::Relations;
use super::relation::travelling;
use crate::error::{Error, Result};
use crate::model::{Belongs, OwnerPath, Owners, Step, Table, TableName, quote_identifier};

pub use scan::{Scanned, looked_up, scanned};
pub use tenant::{belongs_to, detached, live_counts};
pub use types::type_name;
pub use way::literal;

/// The row itself in every query made here.
pub const ROW: &str = "r";
/// The setting that carries the tenant's id where a statement takes no parameters.
pub const TENANT_SETTING: &str = "reinstate.tenant";
/// The value of [`TENANT_SETTING`], as an SQL expression.
pub const TENANT_FROM_SETTING: &str = "pg_catalog.current_setting('reinstate.tenant')";

/// A qualified column.
fn column(alias: &str, name: &str) -> String {
    format!("{alias}.{}", quote_identifier(name))
}

/// The stored columns of a table as they travel, separated by commas: `r."a", r."b"`.
pub fn stored_columns(table: &Table) -> String {
    let columns: Vec<String> = table.stored_columns().map(|stored| travelling(ROW, stored)).collect();
    columns.join(", ")
}

/// A table as [`ROW`] behind FROM.
pub fn rows(relations: &Relations, table: &TableName) -> Result<String> {
    Ok(format!("{} {ROW}", relations.from_item(table)?))
}

/// The only way of a table whose rows lead to one tenant at most.
fn plain(owners: &Owners) -> Option<&OwnerPath> {
    owners.only().filter(|way| !way.steps.iter().any(Step::forks))
}

/// Each hop of a row that has one owner must lead to one row at most, or the owner would be a guess.
pub fn require_unique_hops(table: &TableName, owners: &Owners, tables: &[Table]) -> Result<()> {
    for step in owners.ways.iter().flat_map(|way| &way.steps).filter(|step| !step.many) {
        let parent = tables.iter().find(|parent| parent.name == step.parent);
        let unique = parent.is_some_and(|parent| {
            let keys = parent.unique_keys.iter().map(|key| &key.columns).chain([&parent.primary_key]);
            let mut keys = keys.filter(|columns| !columns.is_empty());
            keys.any(|columns| columns.iter().all(|column| step.parent_columns.contains(column)))
        });
        if !unique {
            return Err(Error::undecided(format!(
                "unable to decide who owns the rows of '{table}': ({}) is not unique in '{}'",
                step.parent_columns.join(", "),
                step.parent
            ))
            .hint("derive the owner through a primary key or a unique key"));
        }
    }
    Ok(())
}
