//! What names tell: a column's word for the table it references, and what kind of thing a table is.
//!
//! Names are compared in one form, lower case with underscores; a table has its own name and its singular.

/// `AccountId`, `accountId` and `ACCOUNT_ID` are `account_id`.
pub fn plain(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let mut before = '_';
    for c in name.chars() {
        let starts_word = c.is_uppercase() && (before.is_lowercase() || before.is_ascii_digit());
        if starts_word {
            out.push('_');
        }
        out.extend(c.to_lowercase());
        before = c;
    }
    out
}

/// `companies` is `company`, `boxes` is `box`, `statuses` is `status`; the last word alone counts.
pub fn singular(name: &str) -> String {
    if let Some(stem) = name.strip_suffix("ies").filter(|stem| stem.len() > 1) {
        return format!("{stem}y");
    }
    for ending in ["sses", "xes", "ches", "shes", "uses"] {
        if name.ends_with(ending) {
            return name[..name.len() - 2].to_owned();
        }
    }
    match name.strip_suffix('s') {
        Some(stem) if !stem.is_empty() && !stem.ends_with('s') && !stem.ends_with('u') => stem.to_owned(),
        _ => name.to_owned(),
    }
}

/// The forms under which columns and type names speak of a table: its plain name and the singular.
pub fn forms(table: &str) -> Vec<String> {
    let name = plain(table);
    let one = singular(&name);
    if one == name { vec![name] } else { vec![name, one] }
}

/// Endings of a column that holds the id of another row.
const ID_ENDINGS: [&str; 7] = ["_id", "_uuid", "_guid", "_fk", "_ref", "_key", "id"];

/// What a column may call the row that it references by `key`: `account` for `account_id`, and for `account_code`
/// where the key is `code`.
pub fn stem(column: &str, key: &str) -> Option<String> {
    let (column, key) = (plain(column), plain(key));
    let of_key = column.strip_suffix(&format!("_{key}"));
    let generic = || ID_ENDINGS.iter().find_map(|ending| column.strip_suffix(ending));
    of_key.or_else(generic).map(|stem| stem.trim_end_matches('_').to_owned()).filter(|stem| !stem.is_empty())
}

/// The word of a column that holds several ids: `label` for `label_ids`.
pub fn stem_of_many(column: &str) -> Option<String> {
    let column = plain(column);
    let stem = ["_ids", "_uuids", "_guids"].iter().find_map(|ending| column.strip_suffix(ending))?;
    (!stem.is_empty()).then(|| stem.to_owned())
}

/// The table's word in the name of a class or a table: `issue` for `App\Models\Issue`, `Tracker::Issue`, `issues`.
pub fn class_word(value: &str) -> String {
    let last = value.rsplit(['\\', ':', '.', '/']).next().unwrap_or(value);
    plain(last.trim())
}

fn has_word(table: &str, words: &[&str]) -> bool {
    let name = plain(table);
    name.split('_').any(|part| words.contains(&part) || words.contains(&singular(part).as_str()))
}

/// Rows about people: many tables mention them (who wrote it) without belonging to them.
pub fn is_people(table: &str) -> bool {
    let name = singular(&plain(table));
    let last = name.rsplit('_').next().unwrap_or(&name);
    ["user", "people", "person", "member", "employee", "author", "profile", "actor", "principal"]
        .contains(&last)
}

/// Rows that are nobody's by themselves but were made for whoever points at them: people and stored files.
pub fn is_referenced_thing(table: &str) -> bool {
    const THINGS: [&str; 18] = [
        "credential",
        "identity",
        "file",
        "blob",
        "upload",
        "attachment",
        "document",
        "media",
        "image",
        "asset",
        "object",
        "contact",
        "address",
        "avatar",
        "photo",
        "video",
        "secret",
        "person",
    ];
    let name = singular(&plain(table));
    let last = name.rsplit('_').next().unwrap_or(&name);
    is_people(table) || THINGS.contains(&last)
}

/// Rows that describe the installation rather than a tenant, by the last word of the name.
pub fn is_catalogue(table: &str) -> bool {
    const CATALOGUES: [&str; 15] = [
        "type",
        "kind",
        "status",
        "plan",
        "currency",
        "country",
        "language",
        "locale",
        "timezone",
        "region",
        "permission",
        "level",
        "unit",
        "feature",
        "format",
    ];
    let name = singular(&plain(table));
    CATALOGUES.contains(&name.rsplit('_').next().unwrap_or(&name))
}

/// State of the installation that happens to name tenants' rows: replication, search indexing, queues.
pub fn is_local_state(schema: &str, table: &str) -> bool {
    const STATE: [&str; 24] = [
        "geo",
        "replication",
        "replica",
        "search",
        "elastic",
        "elasticsearch",
        "index",
        "indexing",
        "queue",
        "queued",
        "outbox",
        "inbox",
        "cache",
        "cached",
        "lock",
        "migration",
        "sync",
        "cursor",
        "watermark",
        "checkpoint",
        "temp",
        "tmp",
        "staging",
        "backup",
    ];
    has_word(table, &STATE) || has_word(schema, &STATE) || plain(schema) == "local"
}

/// Tables in which frameworks and extensions keep their own books.
pub fn is_framework(table: &str) -> bool {
    const TABLES: [&str; 13] = [
        "schema_migrations",
        "ar_internal_metadata",
        "django_migrations",
        "django_content_type",
        "flyway_schema_history",
        "spatial_ref_sys",
        "_prisma_migrations",
        "__ef_migrations_history",
        "alembic_version",
        "databasechangelog",
        "databasechangeloglock",
        "knex_migrations",
        "goose_db_version",
    ];
    TABLES.contains(&plain(table).as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_in_one_form() {
        for (name, form, one) in [
            ("Companies", "companies", "company"),
            ("mailBoxes", "mail_boxes", "mail_box"),
            ("statuses", "statuses", "status"),
            ("status", "status", "status"),
            ("addresses", "addresses", "address"),
            ("IssueLabels", "issue_labels", "issue_label"),
            ("user", "user", "user"),
        ] {
            assert_eq!(plain(name), form, "{name}");
            assert_eq!(singular(&plain(name)), one, "{name}");
        }
    }

    #[test]
    fn a_column_says_what_it_references() {
        for (column, key, word) in [
            ("account_id", "id", Some("account")),
            ("accountId", "id", Some("account")),
            ("account_uuid", "id", Some("account")),
            ("country_code", "code", Some("country")),
            ("siteid", "id", Some("site")),
            ("id", "id", None),
            ("amount", "id", None),
        ] {
            assert_eq!(stem(column, key).as_deref(), word, "{column}");
        }
        assert_eq!(stem_of_many("label_ids").as_deref(), Some("label"));
        for value in ["Issue", "issue", "App\\Models\\Issue", "Tracker::Issue", "app.Issue"] {
            assert_eq!(class_word(value), "issue", "{value}");
        }
    }

    #[test]
    fn kinds_of_tables_are_told_by_their_names() {
        assert!(is_local_state("public", "geo_nodes") && is_local_state("search", "documents"));
        assert!(!is_local_state("ci", "jobs") && !is_local_state("public", "lockers"));
        assert!(is_people("users") && is_people("team_members") && !is_people("user_settings"));
        assert!(is_referenced_thing("stored_files") && !is_referenced_thing("file_types"));
        assert!(is_catalogue("issue_types") && !is_catalogue("issues"));
    }
}
