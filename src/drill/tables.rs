//! The tables of the fleet, and where they are: services with one shard each, and products whose tenants are spread
//! over several.

/// A service of the fleet: its tables are the same in each of its shards.
pub struct Service {
    /// Its name.
    pub name: &'static str,
    /// Its shards; a tenant lives in one of them.
    pub shards: &'static [&'static str],
    /// Its schema on PostgreSQL.
    pub postgres: &'static str,
    /// Its schema on SQLite.
    pub sqlite: &'static str,
}

/// All services.
pub const SERVICES: [Service; 4] = [
    Service {
        name: "catalogue",
        shards: &["catalogue"],
        postgres: include_str!("../../fixtures/schemas/catalogue.postgres.sql"),
        sqlite: include_str!("../../fixtures/schemas/catalogue.sqlite.sql"),
    },
    Service {
        name: "identity",
        shards: &["identity"],
        postgres: include_str!("../../fixtures/schemas/identity.postgres.sql"),
        sqlite: include_str!("../../fixtures/schemas/identity.sqlite.sql"),
    },
    Service {
        name: "issues",
        shards: &["issues-1", "issues-2"],
        postgres: include_str!("../../fixtures/schemas/issues.postgres.sql"),
        sqlite: include_str!("../../fixtures/schemas/issues.sqlite.sql"),
    },
    Service {
        name: "docs",
        shards: &["docs-1", "docs-2"],
        postgres: include_str!("../../fixtures/schemas/docs.postgres.sql"),
        sqlite: include_str!("../../fixtures/schemas/docs.sqlite.sql"),
    },
];

/// All shards, in the order of building.
pub const SHARDS: [&str; 6] = ["catalogue", "identity", "issues-1", "issues-2", "docs-1", "docs-2"];

/// A table of the fleet.
pub struct TableSpec {
    /// The service it is of.
    pub service: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its columns.
    pub columns: &'static [&'static str],
    /// Which rows belong to the tenants `{tenants}` (a sub-select); `None` for shared tables.
    pub owned: Option<&'static str>,
    /// Rows at scale 1.
    pub rows: usize,
}

impl TableSpec {
    /// The shards that hold the table.
    pub fn shards(&self) -> &'static [&'static str] {
        SERVICES.iter().find(|service| service.name == self.service).map_or(&[], |service| service.shards)
    }

    /// Each shard's table, by the name people know it by.
    pub fn places(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.shards().iter().map(|shard| (*shard, format!("{shard}.{}", self.name)))
    }
}

const OF_SITE: Option<&str> = Some("site_id IN {tenants}");
const OF_GROUP: Option<&str> = Some("group_id IN (SELECT id FROM groups WHERE site_id IN {tenants})");
const OF_PROJECT: Option<&str> = Some("project_id IN (SELECT id FROM projects WHERE site_id IN {tenants})");
const OF_ISSUE: Option<&str> = Some(
    "issue_id IN (SELECT id FROM issues WHERE project_id IN (SELECT id FROM projects WHERE site_id IN {tenants}))",
);
const OF_CHANGE: Option<&str> = Some(
    "group_id IN (SELECT id FROM change_groups WHERE issue_id IN (SELECT id FROM issues \
     WHERE project_id IN (SELECT id FROM projects WHERE site_id IN {tenants})))",
);
const OF_SPACE: Option<&str> = Some("space_id IN (SELECT id FROM spaces WHERE site_id IN {tenants})");
const OF_PAGE: Option<&str> = Some(
    "page_id IN (SELECT id FROM pages WHERE space_id IN (SELECT id FROM spaces WHERE site_id IN {tenants}))",
);

const fn table(
    service: &'static str,
    name: &'static str,
    columns: &'static [&'static str],
    owned: Option<&'static str>,
    rows: usize,
) -> TableSpec {
    TableSpec { service, name, columns, owned, rows }
}

/// All tables, parents first. `rows` of sites is the number of tenants.
pub const TABLES: [TableSpec; 18] = [
    table(
        "catalogue",
        "sites",
        &["id", "name", "host", "plan", "state", "created_at"],
        Some("id IN {tenants}"),
        0,
    ),
    table("identity", "users", &["id", "site_id", "email", "name", "active", "created_at"], OF_SITE, 8_000),
    table("identity", "groups", &["id", "site_id", "name"], OF_SITE, 2_000),
    table("identity", "group_members", &["group_id", "user_id"], OF_GROUP, 14_000),
    table("identity", "permissions", &["id", "group_id", "product", "may"], OF_GROUP, 6_000),
    table("identity", "sign_ins", &["site_id", "user_id", "day"], OF_SITE, 10_000),
    table("issues", "projects", &["id", "site_id", "key", "name"], OF_SITE, 2_000),
    table(
        "issues",
        "issues",
        &[
            "id",
            "project_id",
            "reporter_id",
            "summary",
            "status",
            "estimate",
            "fields",
            "created_at",
            "updated_at",
        ],
        OF_PROJECT,
        28_000,
    ),
    table(
        "issues",
        "comments",
        &["id", "issue_id", "parent_id", "author_id", "body", "created_at"],
        OF_ISSUE,
        45_000,
    ),
    table("issues", "attachments", &["id", "issue_id", "name", "size", "digest"], OF_ISSUE, 12_000),
    table("issues", "change_groups", &["id", "issue_id", "author_id", "created_at"], OF_ISSUE, 25_000),
    table(
        "issues",
        "change_items",
        &["id", "group_id", "field", "old_value", "new_value"],
        OF_CHANGE,
        38_000,
    ),
    table("issues", "labels", &["id", "name"], None, 40),
    table("issues", "issue_labels", &["issue_id", "label_id"], OF_ISSUE, 15_000),
    table("docs", "spaces", &["id", "site_id", "key", "name"], OF_SITE, 1_500),
    table(
        "docs",
        "pages",
        &["id", "space_id", "parent_id", "title", "author_id", "created_at"],
        OF_SPACE,
        16_000,
    ),
    table("docs", "page_versions", &["page_id", "number", "body", "created_at"], OF_PAGE, 24_000),
    table("docs", "page_comments", &["id", "page_id", "author_id", "body"], OF_PAGE, 14_000),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_is_some_services_and_every_table_has_its_place() {
        let shards: Vec<&str> = SERVICES.iter().flat_map(|service| service.shards).copied().collect();
        assert_eq!(shards, SHARDS);
        assert!(TABLES.iter().all(|table| !table.shards().is_empty()));
    }
}
