//! Live databases as sources: what `snapshot create` reads.

use super::Source;
use crate::error::Result;
use crate::model::{DatabaseUrl, ShardName, Tenancy};

mod postgres;
mod sqlite;

/// Opens a consistent view of a live database, kept until the source is dropped. `connections_max` bounds the
/// parallel readers. Rows of owned tables carry their tenant, resolved by the rules of `tenancy`.
pub async fn open(
    name: &ShardName,
    url: &DatabaseUrl,
    tenancy: &Tenancy,
    connections_max: usize,
) -> Result<Box<dyn Source>> {
    if url.is_postgres() {
        postgres::open(name, url, tenancy, connections_max).await
    } else {
        sqlite::open(name, url, tenancy, connections_max).await
    }
}
