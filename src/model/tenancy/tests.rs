//! How rules become ways, which keys may tie tenants together, and what is refused.

use super::*;
use crate::limits::OWNER_WAYS_MAX;
use crate::model::{Column, ForeignKey, Table, TenantId, TypeKind};

fn name(table: &str) -> TableName {
    TableName::new("s", table)
}

fn table(table: &str, columns: &[&str]) -> Table {
    let column = |text: &&str| {
        let (name, type_name) = text.split_once(' ').unwrap_or((text, "bigint"));
        let kind = if type_name == "text" { TypeKind::Text } else { TypeKind::Int64 };
        Column {
            name: name.to_owned(),
            type_name: type_name.to_owned(),
            kind,
            not_null: false,
            generated: false,
            has_default: false,
            user_type: None,
        }
    };
    Table { columns: columns.iter().map(column).collect(), ..Table::new(name(table)) }
}

fn tables() -> Vec<Table> {
    vec![
        table("sites", &["id"]),
        table("projects", &["id", "site_id"]),
        table("notes", &["id", "site_id", "project_id", "target_type text", "target_id text"]),
        table("replies", &["id", "note_id"]),
        table("users", &["id", "avatar_id"]),
        table("members", &["site_id", "user_id"]),
        table("admins", &["project_id", "user_id"]),
        table("sessions", &["id", "user_id", "site_id"]),
        table("tokens", &["id", "session_id"]),
        table("files", &["id"]),
        table("folders", &["id", "parent_id", "site_id"]),
    ]
}

const RULES: &str = r#"
"s.sites" = { rule = "root", key = "id" }
"s.projects" = { rule = "direct", column = "site_id" }
"s.notes" = { rule = "either", ways = [
  { column = "site_id" },
  { columns = ["project_id"], parent = "s.projects", parent_columns = ["id"] },
  { columns = ["target_id"], parent = "s.sites", parent_columns = ["id"], when = { column = "target_type", equals = "Site" } },
] }
"s.replies" = { rule = "derived", columns = ["note_id"], parent = "s.notes", parent_columns = ["id"] }
"s.users" = { rule = "referenced", by = [{ table = "s.members", columns = ["user_id"], key = ["id"] },
  { table = "s.admins", columns = ["user_id"], key = ["id"] }] }
"s.members" = { rule = "direct", column = "site_id" }
"s.admins" = { rule = "derived", columns = ["project_id"], parent = "s.projects", parent_columns = ["id"] }
"s.sessions" = { rule = "derived", columns = ["user_id"], parent = "s.users", parent_columns = ["id"] }
"s.tokens" = { rule = "derived", columns = ["session_id"], parent = "s.sessions", parent_columns = ["id"] }
"s.files" = { rule = "referenced", by = [{ table = "s.users", columns = ["avatar_id"], key = ["id"] }] }
"s.folders" = { rule = "shared" }
"#;

/// The rules above with some replaced.
fn tenancy(changes: &str) -> Tenancy {
    let mut tenancy: Tenancy = toml::from_str(RULES).expect("rules");
    tenancy.rules.extend(toml::from_str::<Tenancy>(changes).expect("changes").rules);
    tenancy
}

/// `project_id>projects>site_id`: the ways as text, and how they decide.
fn shown(tenancy: &Tenancy, table: &str) -> Result<(Belongs, Vec<String>), TenancyError> {
    let owners = tenancy.owners(&name(table), &tables())?.expect("owned");
    let way = |way: &OwnerPath| {
        let hop = |step: &Step| {
            let arrow = if step.many { "<" } else { ">" };
            let above = if step.climb { "*" } else { "" };
            format!("{}{arrow}{}{above}.", step.columns.join("+"), step.parent.table)
        };
        way.steps.iter().map(hop).collect::<String>() + &way.column
    };
    Ok((owners.belongs, owners.ways.iter().map(way).collect()))
}

#[test]
fn every_rule_becomes_ways() {
    for (table, belongs, ways) in [
        ("sites", Belongs::ToOne, &["id"][..]),
        ("projects", Belongs::ToOne, &["site_id"]),
        ("notes", Belongs::ToOne, &["site_id", "project_id>projects.site_id", "target_id>sites.id"]),
        (
            "replies",
            Belongs::ToOne,
            &[
                "note_id>notes.site_id",
                "note_id>notes.project_id>projects.site_id",
                "note_id>notes.target_id>sites.id",
            ],
        ),
        ("users", Belongs::ToReferrers, &["id<members.site_id", "id<admins.project_id>projects.site_id"]),
        (
            "sessions",
            Belongs::WithParent,
            &["user_id>users.id<members.site_id", "user_id>users.id<admins.project_id>projects.site_id"],
        ),
        (
            "tokens",
            Belongs::WithParent,
            &[
                "session_id>sessions.user_id>users.id<members.site_id",
                "session_id>sessions.user_id>users.id<admins.project_id>projects.site_id",
            ],
        ),
        (
            "files",
            Belongs::ToReferrers,
            &["id<users.id<members.site_id", "id<users.id<admins.project_id>projects.site_id"],
        ),
    ] {
        let ways = ways.iter().map(|way| (*way).to_owned()).collect();
        assert_eq!(shown(&tenancy(""), table), Ok((belongs, ways)), "{table}");
    }
    assert_eq!(tenancy("").owners(&name("folders"), &tables()), Ok(None));
    assert_eq!(tenancy("").check(&tables()), []);
}

#[test]
fn a_tree_is_climbed_wherever_a_way_leads_into_it() {
    let changes = r#""s.folders" = { rule = "either", ways = [
        { columns = ["parent_id"], parent = "s.folders", parent_columns = ["id"] },
        { column = "site_id" },
        { columns = ["id"], parent = "s.projects", parent_columns = ["id"] },
    ] }
    "s.replies" = { rule = "derived", columns = ["note_id"], parent = "s.folders", parent_columns = ["id"] }"#;
    let folders = [
        "site_id",
        "id>projects.site_id",
        "parent_id>folders*.site_id",
        "parent_id>folders*.id>projects.site_id",
    ];
    let replies = folders.map(|way| format!("note_id>folders.{way}"));
    assert_eq!(
        shown(&tenancy(changes), "folders"),
        Ok((Belongs::ToOne, folders.map(str::to_owned).to_vec()))
    );
    assert_eq!(shown(&tenancy(changes), "replies"), Ok((Belongs::ToOne, replies.to_vec())));
}

#[test]
fn a_link_between_types_without_an_operator_is_compared_as_text() {
    let owners = tenancy("").owners(&name("notes"), &tables()).expect("rule").expect("owned");
    let as_text = |way: usize| owners.ways[way].steps[0].as_text.clone();
    assert_eq!(as_text(1), []);
    assert_eq!(as_text(2), [AsText { column: "target_id".into(), from: "text".into(), to: "bigint".into() }]);
}

#[test]
fn what_leads_nowhere_is_named() {
    let broken =
        |changes: &str, table: &str| shown(&tenancy(changes), table).expect_err("an error").to_string();
    let circle = r#""s.folders" = { rule = "derived", columns = ["parent_id"], parent = "s.folders", parent_columns = ["id"] }"#;
    assert_eq!(broken(circle, "folders"), "table 's.folders' derives its owner from itself");
    let above = r#"{ columns = ["parent_id"], parent = "s.folders", parent_columns = ["id"] }"#;
    let circle = format!(r#""s.folders" = {{ rule = "either", ways = [{above}] }}"#);
    assert_eq!(broken(&circle, "folders"), "table 's.folders' derives its owner from itself");
    let several = format!(
        r#""s.folders" = {{ rule = "either", ways = [{{ column = "site_id" }}, {above}, {above}] }}"#
    );
    assert!(broken(&several, "folders").contains("several references to itself"));
    let array = above.replace(" }", ", each = true }");
    let array = format!(r#""s.folders" = {{ rule = "either", ways = [{{ column = "site_id" }}, {array}] }}"#);
    assert!(broken(&array, "folders").contains("an array of references to itself"));
    let circle = r#""s.members" = { rule = "derived", columns = ["user_id"], parent = "s.users", parent_columns = ["id"] }"#;
    assert_eq!(
        broken(circle, "users"),
        "table 's.users' derives its owner from itself by way of 's.members'"
    );
    let mixed = r#""s.sessions" = { rule = "either", ways = [{ column = "site_id" },
        { columns = ["user_id"], parent = "s.users", parent_columns = ["id"] }] }"#;
    assert!(broken(mixed, "sessions").contains("only one can be meant"));
    let ownerless = r#""s.replies" = { rule = "derived", columns = ["note_id"], parent = "s.folders", parent_columns = ["id"] }"#;
    assert_eq!(
        broken(ownerless, "replies"),
        "table 's.replies' derives its owner from 's.folders', whose rule is 'shared'"
    );
    assert_eq!(
        broken(r#""s.notes" = { rule = "either", ways = [] }"#, "notes"),
        "the rule of table 's.notes' names no way to an owner"
    );
    assert_eq!(
        broken(r#""s.notes" = { rule = "direct", column = "nobody" }"#, "notes"),
        "table 's.notes' has no column 'nobody'"
    );
    let uneven = r#""s.notes" = { rule = "derived", columns = ["id", "site_id"], parent = "s.sites", parent_columns = ["id"] }"#;
    assert_eq!(
        broken(uneven, "notes"),
        "table 's.notes' links a different number of columns on the two sides"
    );
    let many = vec![r#"{ column = "site_id" }"#; OWNER_WAYS_MAX + 1].join(", ");
    let many = format!("\"s.notes\" = {{ rule = \"either\", ways = [{many}] }}");
    assert_eq!(
        broken(&many, "notes"),
        format!("table 's.notes' has more than {OWNER_WAYS_MAX} ways to an owner")
    );
}

#[test]
fn only_keys_that_may_leave_a_tenant_can_tie() {
    let key = |columns: &[&str], parent: &str, parent_columns: &[&str]| ForeignKey {
        name: format!("to_{parent}"),
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        parent: name(parent),
        parent_columns: parent_columns.iter().map(|column| (*column).to_owned()).collect(),
        deferrable: false,
        validated: true,
        match_full: false,
        follows: false,
        operators: vec![],
    };
    let mut all = tables();
    let mut add = |table: &str, foreign: ForeignKey| {
        let found = all.iter_mut().find(|other| other.name == name(table)).expect("table");
        found.foreign_keys.push(foreign);
    };
    add("projects", key(&["site_id"], "sites", &["id"]));
    add("notes", key(&["project_id"], "projects", &["id"]));
    add("replies", key(&["id"], "projects", &["id"]));
    add("replies", key(&["note_id"], "notes", &["id"]));
    add("sessions", key(&["user_id"], "users", &["id"]));
    add("replies", key(&["id"], "folders", &["id"]));
    add("projects", key(&["id", "site_id"], "projects", &["id", "site_id"]));
    let tenancy = tenancy("");
    let found = tenancy.keys_between_tenants(&all);
    let shown: Vec<_> =
        found.iter().map(|(table, key)| (table.name.table.as_str(), key.name.as_str())).collect();
    assert_eq!(shown, [("replies", "to_projects")]);
}

#[test]
fn ties_are_told_to_those_they_concern() {
    let between = |tenant: &str, other: &str| Between {
        tenant: TenantId::new(tenant),
        other: TenantId::new(other),
        rows: 2,
    };
    let ties = Ties {
        table: name("links"),
        key: "k".into(),
        parent: name("issues"),
        rows: 4,
        between: vec![between("7", "8"), between("8", "9")],
    };
    let lines: Vec<String> = ties.lines(&[TenantId::new("9")]).collect();
    assert_eq!(
        lines,
        ["2 rows of tenant '8' in 's.links' pointed (by k) at rows of tenant '9' in 's.issues'"]
    );
}
