//! Plain data: ids, schemas, tenancy, and the wire form of rows. No I/O, no policy.

pub mod adapt;
mod chunk;
mod document;
mod file_name;
mod fingerprint;
mod gate;
mod ids;
mod queue;
mod row_name;
mod schema;
mod tenancy;
pub mod wire;

pub use chunk::{Chunk, ChunkStream};
pub use document::document_hash;
pub use file_name::file_name;
pub use fingerprint::{Fingerprint, row_hash};
pub use gate::Gate;
pub use ids::{
    DatabaseIdentity, DatabaseUrl, PlanHash, ShardName, SnapshotId, TableName, TenantId, quote_identifier,
};
pub use queue::{QueueColumn, QueueLink};
pub use row_name::{row_name, tuple_name};
pub use schema::{
    Check, Column, Firing, ForeignKey, HASH_COLUMN, KeyTerm, PartitionKey, Sequence, TENANT_COLUMN,
    TYPE_METADATA, Table, Trigger, TypeKind, UniqueKey, UserType,
};
pub use tenancy::{
    AsText, Belongs, Between, Disputed, Doubts, Link, OwnedTable, OwnerPath, Owners, Reference, Rule, Step,
    Tenancy, TenancyError, TenantColumn, Ties, Way, When,
};
