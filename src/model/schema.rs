//! What a table looks like: read from a live catalog, kept in the manifest, compared at plan time.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

use super::{TableName, quote_identifier};

/// First column of every batch: the tenant that owns the row (Utf8, NULL for a shared or unowned row).
pub const TENANT_COLUMN: &str = "reinstate_tenant";
/// Last column of the batches of a live source: hash of the row's wire form as the server sent it
/// (16 bytes). It travels beside the decoded values, so that a lossy decoder is found at read-back.
pub const HASH_COLUMN: &str = "reinstate_hash";
/// Key of the field metadata that carries the database's own type name.
pub const TYPE_METADATA: &str = "reinstate.type";

/// How a column's values travel: the Arrow type, and with it the wire form (see [`super::wire`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TypeKind {
    /// `bool`.
    Bool,
    /// `int2`.
    Int16,
    /// `int4`.
    Int32,
    /// `int8`; SQLite integers.
    Int64,
    /// `float4`.
    Float32,
    /// `float8`; SQLite reals.
    Float64,
    /// Text of any kind, UTF-8.
    Text,
    /// `bytea`; SQLite blobs.
    Bytes,
    /// `date`: Arrow Date32; the infinities are the two ends of i32.
    Date,
    /// `time`: Arrow Time64 (microseconds), 24:00:00 included.
    Time,
    /// `timestamp`: Arrow Timestamp (microseconds); see [`super::wire`] for the infinities.
    Timestamp,
    /// `timestamptz`: Arrow Timestamp (microseconds, UTC).
    TimestampTz,
    /// `uuid`: 16 bytes.
    Uuid,
    /// `jsonb`: its text.
    Jsonb,
    /// Any other type: the database's own binary form, byte for byte.
    Opaque,
    /// A type without a binary form: what its output function prints.
    Printed,
}

impl TypeKind {
    /// The Arrow type of the column.
    pub fn arrow(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Text | Self::Jsonb | Self::Printed => DataType::Utf8,
            Self::Bytes | Self::Opaque => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Uuid => DataType::FixedSizeBinary(16),
        }
    }
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Name, unquoted.
    pub name: String,
    /// The database's own spelling: `format_type()` on PostgreSQL, the declared type on SQLite.
    pub type_name: String,
    /// How its values travel.
    pub kind: TypeKind,
    /// NOT NULL: of the column, of its domain, or by a check.
    pub not_null: bool,
    /// Computed by the database: neither read nor written.
    pub generated: bool,
    /// Whether a row that does not name the column gets a value: a default, an identity.
    #[serde(default)]
    pub has_default: bool,
    /// What a type of the user's own is made of (PostgreSQL only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_type: Option<UserType>,
}

/// A user's own type that narrows a simpler one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum UserType {
    /// An enum, whose binary form is the text of the label.
    Enum {
        /// The labels, in order.
        labels: Vec<String>,
    },
    /// A domain, whose binary form is that of its base type.
    Domain {
        /// The base type as `format_type()` spells it.
        base: String,
        /// Its checks: SQL over `VALUE`.
        checks: Vec<String>,
    },
}

impl Column {
    /// A column that takes NULL and has no default.
    pub fn new(name: impl Into<String>, type_name: impl Into<String>, kind: TypeKind) -> Self {
        Self {
            name: name.into(),
            type_name: type_name.into(),
            kind,
            not_null: false,
            generated: false,
            has_default: false,
            user_type: None,
        }
    }

    /// The type whose binary form its values have: the base of a domain, or the type itself.
    pub fn base_type(&self) -> &str {
        match &self.user_type {
            Some(UserType::Domain { base, .. }) => base,
            _ => &self.type_name,
        }
    }
}

/// A foreign key of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignKey {
    /// Constraint name (made up on SQLite, where they have none).
    pub name: String,
    /// Referencing columns, in order.
    pub columns: Vec<String>,
    /// Referenced table.
    pub parent: TableName,
    /// Referenced columns, in the same order.
    pub parent_columns: Vec<String>,
    /// Whether the check can wait for the commit.
    pub deferrable: bool,
    /// Whether every row is known to keep it: false for `NOT VALID`.
    #[serde(default = "yes")]
    pub validated: bool,
    /// `MATCH FULL`: a key that is NULL in some columns only is broken, instead of no reference.
    #[serde(default)]
    pub match_full: bool,
    /// `ON UPDATE CASCADE` and the like: where the parent's key changes, rows that point at it change with it.
    #[serde(default)]
    pub follows: bool,
    /// What "equal" means, one a column, to stand between parent and child: `OPERATOR(pg_catalog.=)`.
    #[serde(default)]
    pub operators: Vec<String>,
}

/// A foreign key that only one partition of a table has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionKey {
    /// The foreign key.
    pub key: ForeignKey,
    /// The rows of the partition: SQL over the table's columns.
    pub rows: String,
}

/// A unique or exclusion constraint, or a unique index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UniqueKey {
    /// Index name.
    pub name: String,
    /// Key columns; empty unless the columns alone decide: for an index on expressions, on some of the rows, and
    /// for an exclusion constraint.
    pub columns: Vec<String>,
    /// What is compared, in order; empty where the database does not tell (SQLite's indexes on expressions).
    #[serde(default)]
    pub terms: Vec<KeyTerm>,
    /// Only rows for which this holds are in the index: SQL over the table's columns.
    #[serde(default)]
    pub predicate: Option<String>,
    /// `NULLS NOT DISTINCT`: NULLs are equal to each other.
    #[serde(default)]
    pub nulls_not_distinct: bool,
    /// Whether the check can wait for the commit; then it is not made at all where triggers are off.
    #[serde(default)]
    pub deferrable: bool,
    /// `EXCLUDE`: no two rows for which all operators hold.
    #[serde(default)]
    pub exclusion: bool,
}

/// One column or expression of a [`UniqueKey`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyTerm {
    /// SQL over the table's columns, unqualified: `"host"`, `lower(email)`.
    pub sql: String,
    /// The operator under which two rows collide, to stand between two terms: `OPERATOR(pg_catalog.=)`. SQLite
    /// has but one.
    #[serde(default)]
    pub operator: Option<String>,
}

/// A CHECK constraint of a table. A domain's own are left out: no value of the domain can break them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Constraint name.
    pub name: String,
    /// SQL over the table's columns; a row is refused where it is false, not where it is NULL.
    pub expression: String,
    /// The columns it names.
    pub columns: Vec<String>,
    /// Whether every row is known to keep it: false for `NOT VALID`.
    pub validated: bool,
}

/// In which sessions a trigger fires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Firing {
    /// In ordinary ones, as triggers do by default.
    #[default]
    Ordinary,
    /// Only where `session_replication_role` is `replica`.
    Replica,
    /// In both.
    Always,
}

/// A user's trigger on a table; one that is disabled is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// Trigger name.
    pub name: String,
    /// Whether INSERT fires it.
    pub on_insert: bool,
    /// Whether UPDATE fires it.
    #[serde(default)]
    pub on_update: bool,
    /// Whether DELETE fires it.
    #[serde(default)]
    pub on_delete: bool,
    /// In which sessions.
    #[serde(default)]
    pub firing: Firing,
    /// Its function, where it has one.
    #[serde(default)]
    pub function: Option<TableName>,
    /// Tables that its function seems to write: those that its text names behind INSERT INTO, UPDATE or DELETE
    /// FROM. A function in another language than SQL or PL/pgSQL, or with a statement put together at run time,
    /// may write others.
    #[serde(default)]
    pub writes: Vec<TableName>,
    /// Those that it names behind INSERT INTO: where it fires on DELETE, a queue of what was deleted perhaps.
    #[serde(default)]
    pub inserts: Vec<TableName>,
}

impl Trigger {
    /// Whether it fires on INSERT in a session with triggers on, or in one with triggers off (`replica`).
    pub fn fires_on_insert(&self, replica: bool) -> bool {
        self.on_insert && self.fires(replica)
    }

    /// Whether it fires at all there.
    pub fn fires(&self, replica: bool) -> bool {
        self.firing != if replica { Firing::Ordinary } else { Firing::Replica }
    }
}

/// A sequence that feeds a column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequence {
    /// Sequence name.
    pub name: TableName,
    /// The column it feeds.
    pub column: String,
    /// Step; negative for a descending sequence.
    pub increment: i64,
}

/// A table: columns in physical order, keys, and what hangs on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Name.
    pub name: TableName,
    /// Columns, dropped ones left out.
    pub columns: Vec<Column>,
    /// Columns of the primary key; empty if there is none.
    pub primary_key: Vec<String>,
    /// The index of the primary key.
    #[serde(default)]
    pub primary_index: Option<UniqueKey>,
    /// Other unique keys, exclusion constraints among them.
    pub unique_keys: Vec<UniqueKey>,
    /// Columns that no UPDATE can set (`GENERATED ALWAYS AS IDENTITY`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fixed_columns: Vec<String>,
    /// Foreign keys.
    pub foreign_keys: Vec<ForeignKey>,
    /// Foreign keys of single partitions.
    #[serde(default)]
    pub partition_keys: Vec<PartitionKey>,
    /// CHECK constraints.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// What a row of a partitioned table must meet to have a partition to go to: SQL over the table's columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_bound: Option<String>,
    /// Columns whose values named large objects when the snapshot was taken; not asked of a live shard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub large_objects: Vec<String>,
    /// The user's triggers.
    pub triggers: Vec<Trigger>,
    /// Sequences that feed its columns.
    pub sequences: Vec<Sequence>,
}

fn yes() -> bool {
    true
}

impl Table {
    /// A table without anything.
    pub fn new(name: TableName) -> Self {
        Self {
            name,
            columns: vec![],
            primary_key: vec![],
            primary_index: None,
            unique_keys: vec![],
            fixed_columns: vec![],
            foreign_keys: vec![],
            partition_keys: vec![],
            checks: vec![],
            partition_bound: None,
            large_objects: vec![],
            triggers: vec![],
            sequences: vec![],
        }
    }

    /// The primary key's index and all other unique keys.
    pub fn keys(&self) -> impl Iterator<Item = &UniqueKey> {
        self.primary_index.iter().chain(&self.unique_keys)
    }

    /// The primary key as a unique key; SQLite's may have no index of its own.
    pub fn primary(&self) -> Option<UniqueKey> {
        if self.primary_index.is_some() || self.primary_key.is_empty() {
            return self.primary_index.clone();
        }
        let term = |name: &String| KeyTerm { sql: quote_identifier(name), operator: None };
        Some(UniqueKey {
            name: "primary key".into(),
            columns: self.primary_key.clone(),
            terms: self.primary_key.iter().map(term).collect(),
            ..UniqueKey::default()
        })
    }

    /// The foreign keys, those of single partitions among them.
    pub fn all_foreign_keys(&self) -> impl Iterator<Item = &ForeignKey> {
        self.foreign_keys.iter().chain(self.partition_keys.iter().map(|part| &part.key))
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The columns whose values are kept: all but the generated ones. Their order is the order of the wire form.
    pub fn stored_columns(&self) -> impl Iterator<Item = &Column> + Clone {
        self.columns.iter().filter(|column| !column.generated)
    }

    /// The Arrow schema of this table's batches: [`TENANT_COLUMN`], then the stored columns.
    pub fn arrow_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.fields()))
    }

    /// [`Table::arrow_schema`] with [`HASH_COLUMN`] at the end.
    pub fn arrow_schema_hashed(&self) -> SchemaRef {
        let mut fields = self.fields();
        fields.push(Field::new(HASH_COLUMN, DataType::FixedSizeBinary(16), false));
        Arc::new(Schema::new(fields))
    }

    fn fields(&self) -> Vec<Field> {
        let tenant = Field::new(TENANT_COLUMN, DataType::Utf8, true);
        let columns = self.stored_columns().map(|column| {
            // Always nullable: the database's constraints are not the file's to enforce.
            Field::new(&column.name, column.kind.arrow(), true)
                .with_metadata(HashMap::from([(TYPE_METADATA.to_owned(), column.type_name.clone())]))
        });
        std::iter::once(tenant).chain(columns).collect()
    }
}
