//! Deletion queues: tables in which triggers or the application write down the keys of deleted rows, for a worker that
//! deletes what hung from them. An entry about a row that came back would have it taken apart again.

use serde::{Deserialize, Serialize};

use super::{TableName, When};

/// How entries of a queue name rows of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueLink {
    /// The queue.
    pub queue: TableName,
    /// The table of the deleted rows.
    pub table: TableName,
    /// Columns of the queue, and what they name.
    pub columns: Vec<QueueColumn>,
    /// Which entries are about this table, where the queue serves several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// Whether a restore takes the entries about restored rows out.
    pub clear: bool,
}

/// One column of a queue that names a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueColumn {
    /// The queue's column.
    pub column: String,
    /// The key's column in the table.
    pub key: String,
    /// Whether they are compared as text, since one of them is text and the other is not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub as_text: bool,
}

impl QueueLink {
    /// The columns of the table's key.
    pub fn key(&self) -> Vec<String> {
        self.columns.iter().map(|pair| pair.key.clone()).collect()
    }
}
