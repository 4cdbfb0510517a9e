//! Entries of deletion queues about rows that come back.
//!
//! Values are compared byte by byte, whatever a column's collation says: an entry is about one row, and not about those
//! that are called alike.

use sqlx::sqlite::SqliteConnection;

use super::super::Rows;
use super::ask::{self, PLACE};
use crate::database::sqlite::error::explain;
use crate::database::sqlite::owner::literal;
use crate::error::Result;
use crate::model::{QueueLink, quote_identifier};

/// Deletes them; returns how many.
pub async fn delete(connection: &mut SqliteConnection, rows: &Rows<'_>, link: &QueueLink) -> Result<u64> {
    let sql = format!(
        "DELETE FROM {} AS q WHERE EXISTS (SELECT 1 FROM k WHERE {})",
        link.queue.quoted(),
        names(link)
    );
    let unable = |error| explain(format!("unable to clear deletion queue '{}'", link.queue), error);
    let mut deleted = 0;
    for query in ask::over(rows, &sql)? {
        deleted += query.execute(&mut *connection).await.map_err(unable)?.rows_affected();
    }
    Ok(deleted)
}

/// The rows of `k` that an entry names, one result an entry.
pub fn queued(link: &QueueLink) -> String {
    format!("SELECT k.{PLACE}, 0, NULL FROM k JOIN {} AS q ON {}", link.queue.quoted(), names(link))
}

/// Whether the entry `q` names the row `k`.
fn names(link: &QueueLink) -> String {
    let pairs = link.columns.iter().map(|pair| {
        let (own, key) = (quote_identifier(&pair.column), quote_identifier(&pair.key));
        // The text's affinity is then applied to the other side.
        let entry = if pair.as_text { format!("CAST(q.{own} AS TEXT)") } else { format!("q.{own}") };
        format!("{entry} COLLATE BINARY = k.{key}")
    });
    let when = link.when.iter().map(|when| {
        let (column, value) = (quote_identifier(&when.column), literal(&when.equals));
        format!("CAST(q.{column} AS TEXT) COLLATE BINARY = {value}")
    });
    pairs.chain(when).collect::<Vec<_>>().join(" AND ")
}
