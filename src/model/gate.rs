//! The column that keeps a tenant off until it is whole.

use serde::{Deserialize, Serialize};

/// A column of the root table that says whether a tenant is served. The tenant's own row holds `restoring` from the
/// commit that brings it back until all else of it is back too; then it gets its original value again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// The column.
    pub column: String,
    /// What it holds meanwhile, as text.
    pub restoring: String,
}
