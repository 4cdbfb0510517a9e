//! A database as the generator holds it in memory: tables, their links, their rows. Values are the text that
//! PostgreSQL prints for them, so that nothing here decodes, compares or hashes as the engine does.

/// A value as text; `None` is NULL.
pub type Value = Option<String>;
/// The values of a row, in the order of the columns.
pub type Row = Vec<Value>;

/// The type of a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Int4,
    Int8,
    Text,
    Varchar,
    Uuid,
    /// An array of one of the others.
    Int8s,
    Texts,
    Uuids,
}

impl Kind {
    pub fn sql(self) -> &'static str {
        match self {
            Self::Int4 => "int",
            Self::Int8 => "bigint",
            Self::Text => "text",
            Self::Varchar => "varchar(80)",
            Self::Uuid => "uuid",
            Self::Int8s => "bigint[]",
            Self::Texts => "text[]",
            Self::Uuids => "uuid[]",
        }
    }

    /// The array type whose elements can point at this type.
    pub fn array(self) -> Self {
        match self {
            Self::Uuid => Self::Uuids,
            Self::Text | Self::Varchar => Self::Texts,
            _ => Self::Int8s,
        }
    }
}

/// How a new row gets the column's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fill {
    /// The tenant's id.
    Tenant,
    /// By a link.
    Link,
    /// What a polymorphic reference points at.
    Discriminator,
    /// A value that no row of any table has.
    Serial,
    /// 1, 2 or 3.
    Small,
    /// Any text, or NULL.
    Payload,
    /// Twice this column: computed by the server.
    Twice(usize),
}

#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
    pub not_null: bool,
    pub identity: bool,
    pub fill: Fill,
}

/// Whether the database checks a link, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Enforced {
    No,
    AtOnce,
    AtCommit,
}

/// Columns that hold the key of a row of another table, or of this one.
#[derive(Clone, Debug)]
pub struct Link {
    pub columns: Vec<usize>,
    pub parent: usize,
    pub parent_columns: Vec<usize>,
    /// Only where this column holds this word.
    pub when: Option<(usize, String)>,
    /// The one column is an array of keys.
    pub each: bool,
    pub enforced: Enforced,
}

/// One way to a row's tenant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    Direct(usize),
    /// By the link of this number.
    Link(usize),
}

/// Who owns the rows of a table.
#[derive(Clone, Debug)]
pub enum Rule {
    Root,
    Ways(Vec<Way>),
    /// Owned by whoever points at them: (table, its link).
    Referenced(Vec<(usize, usize)>),
    Shared,
    Excluded,
}

#[derive(Clone, Debug)]
pub struct Table {
    pub schema: &'static str,
    pub name: String,
    pub columns: Vec<Column>,
    pub primary_key: Vec<usize>,
    pub uniques: Vec<Vec<usize>>,
    pub links: Vec<Link>,
    pub rule: Rule,
    /// The link to the row above, of whose tenant a row is as well.
    pub up: Option<usize>,
    /// Alternatives of which exactly one is set, by a check.
    pub one_of: Vec<usize>,
    /// The column by which the table is partitioned, twice where there are sub-partitions.
    pub partitioned_by: Option<(usize, bool)>,
    pub rows: Vec<Row>,
}

impl Table {
    pub fn new(schema: &'static str, name: String) -> Self {
        Self {
            schema,
            name,
            columns: Vec::new(),
            primary_key: Vec::new(),
            uniques: Vec::new(),
            links: Vec::new(),
            rule: Rule::Shared,
            up: None,
            one_of: Vec::new(),
            partitioned_by: None,
            rows: Vec::new(),
        }
    }

    pub fn add(&mut self, name: &str, kind: Kind, not_null: bool, fill: Fill) -> usize {
        let clash = |name: &str| self.columns.iter().any(|column| column.name == name);
        let mut unused = name.to_owned();
        while clash(&unused) {
            unused.push('x');
        }
        self.columns.push(Column { name: unused, kind, not_null, identity: false, fill });
        self.columns.len() - 1
    }

    /// The keys that a row of another table can name a row of this one by.
    pub fn keys(&self) -> Vec<Vec<usize>> {
        let primary = (!self.primary_key.is_empty()).then(|| self.primary_key.clone());
        primary.into_iter().chain(self.uniques.iter().cloned()).collect()
    }

    /// Whether a link leads to a row above, in a tree that says whose its rows are.
    pub fn is_up(&self, link: usize) -> bool {
        self.up == Some(link)
    }

    pub fn is_owned(&self) -> bool {
        matches!(self.rule, Rule::Root | Rule::Ways(_))
    }

    /// Columns that an INSERT names.
    pub fn written(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.columns.iter().enumerate().filter(|(_, column)| !matches!(column.fill, Fill::Twice(_)))
    }
}

/// The elements of an array as PostgreSQL prints it; none of ours needs quotes.
pub fn elements(array: &str) -> impl Iterator<Item = &str> {
    array.trim_matches(['{', '}']).split(',').filter(|element| !element.is_empty())
}

/// The rows of the parent that a row's link names: compared value by value, one row after the other.
pub fn named_by(tables: &[Table], link: &Link, row: &Row) -> Vec<usize> {
    if let Some((column, word)) = &link.when
        && row[*column].as_ref() != Some(word)
    {
        return Vec::new();
    }
    let parents = tables[link.parent].rows.iter().enumerate();
    let names = |parent: &Row| {
        let mut pairs = link.columns.iter().zip(&link.parent_columns);
        pairs.all(|(column, key)| match (&row[*column], &parent[*key]) {
            (Some(array), Some(key)) if link.each => elements(array).any(|element| element == key),
            (Some(value), Some(key)) => value == key,
            _ => false,
        })
    };
    parents.filter(|(_, parent)| names(parent)).map(|(index, _)| index).collect()
}
