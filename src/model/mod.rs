//! Plain data: ids, schemas, tenancy, and the wire form of rows. No I/O, no policy.

mod chunk;
mod document;
mod fingerprint;
mod ids;
mod schema;
mod tenancy;
pub mod wire;

pub use chunk::{Chunk, ChunkStream};
pub use document::document_hash;
pub use fingerprint::{Fingerprint, row_hash};
pub use ids::{
    DatabaseIdentity, DatabaseUrl, PlanHash, ShardName, SnapshotId, TableName, TenantId, quote_identifier,
};
pub use schema::{
    Check, Column, Firing, ForeignKey, HASH_COLUMN, KeyTerm, PartitionKey, Sequence, TENANT_COLUMN,
    TYPE_METADATA, Table, Trigger, TypeKind, UniqueKey,
};
pub use tenancy::{
    Belongs, Link, OwnedTable, OwnerPath, Owners, Reference, Rule, Step, Tenancy, TenancyError, TenantColumn,
    Way, When,
};
