//! Rows on trial: written where nobody sees them, to learn what the live table would say.

use async_trait::async_trait;

use super::{LiveRow, Rows};
use crate::error::Result;

/// A row that its table would not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Position of the row among those that were tried.
    pub row: usize,
    /// Why.
    pub why: Refusal,
}

/// Why a row is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The database's own words.
    Unfit(String),
    /// A live row has its key.
    Taken {
        /// The key.
        key: String,
        /// The live row.
        live: LiveRow,
    },
}

/// Copies of tables that hold tried rows only.
#[async_trait]
pub trait Trial: Send {
    /// What speaks against these rows beside what [`super::Question`]s tell. Where they are kept, those that follow
    /// are also compared with them.
    async fn try_rows(&mut self, rows: &Rows<'_>, keep: bool) -> Result<Vec<Refused>>;
}
