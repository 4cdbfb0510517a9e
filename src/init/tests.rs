//! What is inferred from small schemas.

use std::collections::HashMap;

use super::*;
use crate::model::{Check, Column, ForeignKey, TypeKind, UniqueKey};

const INT: TypeKind = TypeKind::Int64;
const ID: &str = "id!";

/// A table of integers: `name!` is NOT NULL, `name=parent` references the parent's `id`, `name!:kind` has a type.
/// The first column is the primary key.
fn table(name: &str, columns: &[&str]) -> Table {
    let mut table = Table::new(TableName::new("public", name));
    for text in columns {
        let (text, parent) =
            text.split_once('=').map_or((*text, None), |(text, parent)| (text, Some(parent)));
        let (text, kind) = text.split_once(':').map_or((text, "int"), |(text, kind)| (text, kind));
        let kind = match kind {
            "int" => INT,
            "text" => TypeKind::Text,
            _ => TypeKind::Opaque,
        };
        let column = text.trim_end_matches('!');
        table.columns.push(Column {
            name: column.into(),
            type_name: match kind {
                TypeKind::Opaque => "bigint[]".into(),
                TypeKind::Text => "text".into(),
                _ => "bigint".into(),
            },
            kind,
            not_null: text.ends_with('!'),
            generated: false,
            has_default: false,
            user_type: None,
        });
        if let Some(parent) = parent {
            key(&mut table, &[column], parent, &["id"]);
        }
    }
    table.primary_key = vec![table.columns[0].name.clone()];
    table
}

fn key(table: &mut Table, columns: &[&str], parent: &str, parent_columns: &[&str]) {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    table.foreign_keys.push(ForeignKey {
        name: format!("{}_{}_fkey", table.name.table, columns.join("_")),
        columns: owned(columns),
        parent: TableName::new("public", parent),
        parent_columns: owned(parent_columns),
        deferrable: false,
        validated: true,
        match_full: false,
        operators: vec![],
    });
}

fn check_of(mut table: Table, expression: &str, columns: &[&str]) -> Table {
    table.checks.push(Check {
        name: "one_owner".into(),
        expression: expression.into(),
        columns: columns.iter().map(|name| (*name).to_owned()).collect(),
        validated: true,
    });
    table
}

fn spec() -> RootSpec {
    RootSpec { shard: None, table: TableName::new("public", "sites"), key: None }
}

/// The inference of one shard in which every guess has these hits, and columns of kinds these values.
fn inferred_with(
    tables: Vec<Table>,
    declared: &Declarations,
    kinds: &[(&str, &str, &[&str])],
    hits: impl Fn(&Guess) -> Option<Hits>,
) -> ShardInference {
    let mut schema = Schema::new(ShardName::new("shop"), tables);
    let root = Root::find(std::slice::from_ref(&schema), &spec()).expect("root");
    let kinds: HashMap<_, _> = kinds
        .iter()
        .map(|(table, column, values)| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            ((TableName::new("public", *table), (*column).to_owned()), values)
        })
        .collect();
    schema.guesses = guesses(&schema, &root, declared, &kinds);
    for guess in &mut schema.guesses {
        guess.hits = hits(guess);
    }
    infer(&[schema], &spec(), declared).expect("inference").remove(0)
}

fn inferred(tables: Vec<Table>) -> ShardInference {
    inferred_with(tables, &Declarations::default(), &[], |_| None)
}

/// The rule of a table in short, with `?` where it is doubtful.
fn short(found: &ShardInference, name: &str) -> String {
    let inferred = &found.tables[&TableName::new("public", name)];
    let columns = |columns: &[String]| columns.join("+");
    let link = |link: &Link| {
        let when = link.when.as_ref().map(|when| format!("[{}]", when.equals)).unwrap_or_default();
        format!("{}>{}{when}", columns(&link.columns), link.parent.table)
    };
    let rule = match &inferred.rule {
        None => return "open".into(),
        Some(Rule::Root { key, .. }) => format!("root {key}"),
        Some(Rule::Direct { column }) => format!("direct {column}"),
        Some(Rule::Derived(one)) => format!("derived {}", link(one)),
        Some(Rule::Either { ways }) => {
            let ways = ways.iter().map(|way| match way {
                crate::model::Way::Direct(tenant) => tenant.column.clone(),
                crate::model::Way::Derived(one) => link(one),
            });
            format!("either {}", ways.collect::<Vec<_>>().join(" "))
        }
        Some(Rule::Referenced { by }) => {
            let by: Vec<String> =
                by.iter().map(|one| format!("{}.{}", one.table.table, columns(&one.columns))).collect();
            format!("referenced {}", by.join(" "))
        }
        Some(rule) => rule.name().to_owned(),
    };
    if inferred.is_doubtful() { format!("{rule}?") } else { rule }
}

fn check_rules(found: &ShardInference, expected: &[(&str, &str)]) {
    for (table, rule) in expected {
        let evidence = &found.tables[&TableName::new("public", *table)].evidence;
        assert_eq!(short(found, table), *rule, "{table}: {evidence}");
    }
}

#[test]
fn foreign_keys_are_followed_over_every_shape() {
    let mut lines = table("order_lines", &["order_id!=orders", "number!", "stock_id!=stock"]);
    lines.primary_key = vec!["order_id".into(), "number".into()];
    let mut line_notes = table("line_notes", &[ID, "line_order!", "line_number!"]);
    key(&mut line_notes, &["line_order", "line_number"], "order_lines", &["order_id", "number"]);
    let mut shelves = table("shelves", &[ID, "site_id!", "code!"]);
    key(&mut shelves, &["site_id"], "sites", &["id"]);
    let shelf_key = ["site_id".to_owned(), "code".to_owned()].to_vec();
    shelves.unique_keys.push(UniqueKey { name: "shelf".into(), columns: shelf_key, ..UniqueKey::default() });
    let mut boxes = table("boxes", &[ID, "site_id!", "shelf_code!", "rack_code!"]);
    key(&mut boxes, &["site_id", "shelf_code"], "shelves", &["site_id", "code"]);
    key(&mut boxes, &["site_id", "rack_code"], "shelves", &["site_id", "code"]);
    let found = inferred(vec![
        table("sites", &[ID, "host!:text"]),
        table("stock", &[ID, "site_id!=sites"]),
        table("customers", &[ID, "site_id!=sites"]),
        table("orders", &[ID, "customer_id!=customers"]),
        lines,
        line_notes,
        table("note_marks", &[ID, "line_note_id!=line_notes"]),
        table("mark_colours", &[ID, "note_mark_id!=note_marks"]),
        shelves,
        boxes,
        table("comments", &[ID, "parent_id=comments", "order_id!=orders"]),
        table("roles", &[ID, "site_id=sites"]),
        table("templates", &[ID, "given_by=sites"]),
        table("drafts", &[ID, "order_id=orders"]),
        table("labels", &[ID]),
        table("label_uses", &[ID, "order_id!=orders", "label_id=labels"]),
        table("jobs", &[ID]),
    ]);
    check_rules(
        &found,
        &[
            ("sites", "root id"),
            ("stock", "direct site_id"),
            ("orders", "derived customer_id>customers"),
            ("order_lines", "derived order_id>orders"),
            ("mark_colours", "derived note_mark_id>note_marks"),
            ("shelves", "direct site_id"),
            ("boxes", "direct site_id"),
            ("comments", "derived order_id>orders"),
            ("roles", "direct site_id"),
            ("templates", "direct given_by?"),
            ("drafts", "derived order_id>orders?"),
            ("labels", "shared?"),
            ("label_uses", "derived order_id>orders"),
            ("jobs", "open"),
        ],
    );
}

#[test]
fn alternative_owners_are_followed_whichever_is_set() {
    let ways = ["id!", "site_id=sites", "project_id=projects", "user_id"];
    let found = inferred(vec![
        table("sites", &[ID]),
        table("projects", &[ID, "site_id!=sites"]),
        check_of(
            table("notes", &ways),
            "(num_nonnulls(site_id, project_id) = 1)",
            &["site_id", "project_id"],
        ),
        check_of(
            table("marks", &ways),
            "((site_id IS NULL) <> (project_id IS NULL))",
            &["site_id", "project_id"],
        ),
        check_of(
            table("pins", &ways),
            "(num_nonnulls(site_id, project_id, user_id) = 1)",
            &["site_id", "project_id", "user_id"],
        ),
        check_of(table("amounts", &ways), "(site_id > project_id)", &["site_id", "project_id"]),
        table("transfers", &[ID, "from_project!=projects", "to_project!=projects"]),
        table("folders", &[ID, "site_id=sites", "parent_id=folders"]),
    ]);
    check_rules(
        &found,
        &[
            ("notes", "either site_id project_id>projects"),
            ("marks", "either site_id project_id>projects"),
            ("pins", "either site_id project_id>projects?"),
            ("amounts", "either site_id project_id>projects?"),
            ("transfers", "either from_project>projects to_project>projects?"),
            ("folders", "direct site_id?"),
        ],
    );
}

/// `folders` with an owner, a row above, and what their rows say.
fn tree_with(columns: &[&str], climbs: Option<Climbs>) -> ShardInference {
    let tables =
        vec![table("sites", &[ID]), table("projects", &[ID, "site_id!=sites"]), table("folders", columns)];
    let mut schema = Schema::new(ShardName::new("shop"), tables);
    let name = TableName::new("public", "folders");
    let asked = infer(&[schema.clone()], &spec(), &Declarations::default()).expect("inference").remove(0);
    let asked = trees(&schema, &asked);
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!((&asked[0].table, asked[0].link.columns.as_slice()), (&name, &["parent_id".to_owned()][..]));
    schema.climbs = climbs.map(|climbs| ((name, vec!["parent_id".into()]), climbs)).into_iter().collect();
    infer(&[schema], &spec(), &Declarations::default()).expect("inference").remove(0)
}

#[test]
fn rows_below_others_are_asked_whose_they_are() {
    let said = |rows, below, reach, apart| Some(Climbs { rows, below, reach, apart });
    let by_site = &[ID, "site_id=sites", "parent_id=folders"][..];
    let by_project = &[ID, "project_id=projects", "parent_id=folders"][..];
    let by_both = &[ID, "site_id=sites", "project_id=projects", "parent_id=folders"][..];
    for (columns, climbs, rule) in [
        (by_site, None, "direct site_id?"),
        (by_site, said(100, 90, 90, 0), "either site_id parent_id>folders"),
        (by_site, said(100, 90, 80, 0), "either site_id parent_id>folders?"),
        (by_site, said(100, 9, 9, 0), "either site_id parent_id>folders?"),
        (by_site, said(100, 90, 90, 1), "direct site_id?"),
        (by_site, said(100, 90, 0, 1), "direct site_id"),
        (by_site, said(100, 9, 0, 0), "direct site_id?"),
        (by_site, said(100, 0, 0, 0), "direct site_id"),
        (by_site, said(5, 0, 0, 0), "direct site_id?"),
        (by_project, None, "derived project_id>projects?"),
        (by_project, said(100, 90, 90, 0), "either project_id>projects parent_id>folders"),
        (by_project, said(100, 0, 0, 0), "derived project_id>projects?"),
        (by_both, said(100, 90, 90, 0), "either site_id project_id>projects parent_id>folders?"),
    ] {
        let found = tree_with(columns, climbs);
        let evidence = &found.tables[&TableName::new("public", "folders")].evidence;
        assert_eq!(short(&found, "folders"), rule, "{climbs:?}: {evidence}");
    }
}

#[test]
fn a_check_may_say_that_either_the_owner_or_the_row_above_is_set() {
    let folders = table("folders", &[ID, "site_id=sites", "parent_id=folders"]);
    let checked = check_of(folders, "(num_nonnulls(site_id, parent_id) = 1)", &["site_id", "parent_id"]);
    let found = inferred(vec![table("sites", &[ID]), checked]);
    check_rules(&found, &[("folders", "either site_id parent_id>folders")]);
}

#[test]
fn ways_that_weigh_the_same_are_marked_whatever_they_are() {
    let found = inferred(vec![
        table("sites", &[ID]),
        table("users", &[ID, "site_id!=sites"]),
        table("projects", &[ID, "site_id!=sites"]),
        // Every row has a user, and some name a tenant.
        table("tokens", &[ID, "site_id=sites", "user_id!=users"]),
        table("events", &[ID, "site_id!=sites", "user_id!=users"]),
    ]);
    check_rules(&found, &[("tokens", "direct site_id?"), ("events", "direct site_id")]);
    let tokens = &found.tables[&TableName::new("public", "tokens")];
    assert!(tokens.evidence.ends_with("; it could also be by user_id"), "{}", tokens.evidence);
    assert!(tokens.ways[1].why.ends_with("not taken, though it could be meant as well"), "{:?}", tokens.ways);
}

#[test]
fn join_tables_and_mentions_are_weighed() {
    let mut links = table("project_groups", &["project_id!=projects", "group_id!=groups"]);
    links.primary_key = vec!["project_id".into(), "group_id".into()];
    let mut pairs = table("pairs", &["project_id!=projects", "group_id!=groups"]);
    pairs.primary_key = vec!["project_id".into(), "group_id".into()];
    let found = inferred(vec![
        table("sites", &[ID]),
        table("projects", &[ID, "site_id!=sites"]),
        table("groups", &[ID, "site_id!=sites"]),
        table("users", &[ID, "site_id!=sites"]),
        links,
        pairs,
        table("comments", &[ID, "project_id!=projects", "user_id!=users"]),
        table("topics", &[ID, "created_by=users"]),
        table("tokens", &[ID, "user_id=users"]),
        table("search_queue", &[ID, "project_id!=projects"]),
        table("schema_migrations", &["version!"]),
    ]);
    check_rules(
        &found,
        &[
            ("project_groups", "derived project_id>projects?"),
            ("pairs", "either project_id>projects group_id>groups?"),
            ("comments", "derived project_id>projects"),
            ("topics", "open"),
            ("tokens", "derived user_id>users?"),
            ("search_queue", "derived project_id>projects?"),
            ("schema_migrations", "excluded"),
        ],
    );
    let comments = &found.tables[&TableName::new("public", "comments")];
    assert_eq!(comments.ignored, ["user_id"]);
    assert!(comments.ways[1].why.ends_with("not taken: another way is better"), "{:?}", comments.ways);
}

#[test]
fn cycles_are_cut_towards_the_tenant() {
    let found = inferred(vec![
        table("sites", &[ID]),
        table("projects", &[ID, "site_id=sites", "main_board_id!=boards"]),
        table("boards", &[ID, "project_id!=projects", "first_list_id!=lists"]),
        table("lists", &[ID, "board_id!=boards"]),
        table("loose_a", &[ID, "b_id!=loose_b"]),
        table("loose_b", &[ID, "a_id!=loose_a"]),
    ]);
    check_rules(
        &found,
        &[
            ("projects", "direct site_id"),
            ("boards", "derived project_id>projects"),
            ("lists", "derived board_id>boards"),
            ("loose_a", "open"),
        ],
    );
}

#[test]
fn people_and_files_belong_to_whoever_points_at_them() {
    let found = inferred(vec![
        table("sites", &[ID]),
        table("projects", &[ID, "site_id!=sites"]),
        table("members", &[ID, "project_id!=projects", "user_id!=users"]),
        table("uploads", &[ID, "project_id!=projects", "file_id=stored_files"]),
        table("users", &[ID, "email:text"]),
        table("stored_files", &[ID, "uploader_id=users"]),
        table("sessions", &[ID, "user_id!=users"]),
        table("session_marks", &[ID, "session_id!=sessions"]),
        table("plan_types", &[ID]),
        table("subscriptions", &[ID, "project_id!=projects", "plan_type_id!=plan_types"]),
    ]);
    check_rules(
        &found,
        &[
            ("members", "derived project_id>projects"),
            ("users", "referenced members.user_id?"),
            ("stored_files", "referenced uploads.file_id?"),
            ("sessions", "derived user_id>users?"),
            ("session_marks", "derived session_id>sessions?"),
            ("plan_types", "shared"),
        ],
    );
}

fn loose_schema() -> Vec<Table> {
    vec![
        table("sites", &[ID]),
        table("projects", &[ID, "site_id!"]),
        table("issues", &[ID, "project_id!"]),
        table("issue_votes", &[ID, "issue_id!:text"]),
        table("invoices", &[ID, "billing_project_id!"]),
        table("boards", &[ID, "issue_ids!:array"]),
        table("events", &[ID, "target_type!:text", "target_id!"]),
        table("payments", &[ID, "payment_method_type!:text", "payment_method_id!"]),
        table("payment_methods", &[ID]),
        table("empties", &[ID, "project_id!"]),
        table("misfits", &[ID, "project_id!"]),
    ]
}

const KINDS: [(&str, &str, &[&str]); 2] = [
    ("events", "target_type", &["Issue", "App\\Models\\Project"]),
    ("payments", "payment_method_type", &["card", "iban"]),
];

#[test]
fn names_are_believed_when_the_rows_agree() {
    let hits = |guess: &Guess| {
        let (rows, found) = match guess.table.table.as_str() {
            "empties" => (0, 0),
            "misfits" => (1_000, 950),
            "invoices" => (5, 5),
            _ => (1_000, 995),
        };
        Some(Hits { rows, found })
    };
    let found = inferred_with(loose_schema(), &Declarations::default(), &KINDS, hits);
    check_rules(
        &found,
        &[
            ("projects", "direct site_id"),
            ("issues", "derived project_id>projects"),
            ("invoices", "derived billing_project_id>projects?"),
            ("boards", "derived issue_ids>issues"),
            ("events", "either target_id>projects[App\\Models\\Project] target_id>issues[Issue]"),
            ("payments", "open"),
            ("empties", "open"),
            ("misfits", "open"),
        ],
    );
    let evidence = |name: &str| found.tables[&TableName::new("public", name)].evidence.clone();
    assert_eq!(
        evidence("issues"),
        "column project_id is named like a reference to public.projects; 995 of 1000 values are found there (0.995)"
    );
    assert!(evidence("misfits").ends_with("(0.950), but fewer than 0.99 of the values resolve"));
    assert!(evidence("empties").ends_with("but no row holds a value, and the name alone does not decide"));
    let misfits = &found.tables[&TableName::new("public", "misfits")];
    assert!(matches!(misfits.suggestion, Some(Rule::Derived(_))));
    assert_eq!(misfits.ways[0].hit_rate, Some(0.95));
}

#[test]
fn without_the_rows_only_the_tenants_own_name_is_believed() {
    let found = inferred_with(loose_schema(), &Declarations::default(), &KINDS, |_| None);
    check_rules(&found, &[("projects", "direct site_id"), ("issues", "open"), ("events", "open")]);
    let refuted = |_: &Guess| Some(Hits { rows: 100, found: 50 });
    let found = inferred_with(loose_schema(), &Declarations::default(), &[], refuted);
    check_rules(&found, &[("projects", "open")]);
}

#[test]
fn one_kind_that_does_not_resolve_makes_the_pair_no_reference() {
    let hits = |guess: &Guess| {
        let wrong = guess.link.when.as_ref().is_some_and(|when| when.equals == "Issue");
        Some(Hits { rows: 100, found: if wrong { 3 } else { 100 } })
    };
    let found = inferred_with(loose_schema(), &Declarations::default(), &KINDS, hits);
    check_rules(&found, &[("events", "open")]);
}

#[test]
fn a_kind_that_names_no_table_is_a_question_with_a_beginning() {
    let kinds: [(&str, &str, &[&str]); 1] = [("events", "target_type", &["Issue", "Project", "Robot"])];
    let hits = |_: &Guess| Some(Hits { rows: 100, found: 100 });
    let found = inferred_with(loose_schema(), &Declarations::default(), &kinds, hits);
    let events = &found.tables[&TableName::new("public", "events")];
    assert!(events.evidence.ends_with("but target_type also says 'Robot', which names no table"));
    assert!(matches!(&events.suggestion, Some(Rule::Either { ways }) if ways.len() == 2), "{events:?}");
}

#[test]
fn a_link_that_carries_the_tenant_column_is_no_other_way() {
    let mut metrics = table("metrics", &[ID, "site_id!=sites"]);
    let key_columns = vec!["site_id".to_owned(), "id".to_owned()];
    metrics.unique_keys.push(UniqueKey { name: "k".into(), columns: key_columns, ..UniqueKey::default() });
    let mut notes = table("metric_notes", &[ID, "site_id", "metric_id"]);
    key(&mut notes, &["site_id", "metric_id"], "metrics", &["site_id", "id"]);
    let hits = |_: &Guess| Some(Hits { rows: 100, found: 100 });
    let tables = vec![table("sites", &[ID]), metrics, notes];
    let found = inferred_with(tables, &Declarations::default(), &[], hits);
    check_rules(&found, &[("metric_notes", "direct site_id")]);
}

#[test]
fn what_a_person_declares_wins() {
    let declared: Declarations = toml::from_str(
        r#"names = { belongs_to = "public.projects.id", org = "public.sites.id" }
           exclude = ["public.geo_*"]
           links = [{ table = "public.odd", columns = ["about"], parent = "public.projects", parent_columns = ["id"] }]"#,
    )
    .expect("declarations");
    let tables = vec![
        table("sites", &[ID]),
        table("projects", &[ID, "org!"]),
        table("issues", &[ID, "belongs_to!"]),
        table("odd", &[ID, "about!", "site_id!=sites"]),
        table("geo_nodes", &[ID, "site_id!=sites"]),
    ];
    let found = inferred_with(tables, &declared, &[], |_| None);
    check_rules(
        &found,
        &[
            ("projects", "direct org"),
            ("issues", "derived belongs_to>projects"),
            ("odd", "derived about>projects"),
            ("geo_nodes", "excluded"),
        ],
    );
}

#[test]
fn names_reach_over_shards_and_kept_rules_stay() {
    let catalogue = Schema::new(ShardName::new("catalogue"), vec![table("sites", &[ID, "host!:text"])]);
    let mut product = Schema::new(
        ShardName::new("product"),
        vec![
            table("projects", &[ID, "site_id!"]),
            table("issues", &[ID, "project_id!=projects"]),
            table("plans", &[ID, "project_id!=projects"]),
        ],
    );
    let plans = TableName::new("public", "plans");
    product.kept.insert(plans.clone(), Rule::Shared);
    let mut shards = [catalogue, product];
    let root = Root::find(&shards, &spec()).expect("root");
    let declared = Declarations::default();
    shards[1].guesses = guesses(&shards[1], &root, &declared, &HashMap::new());
    let found = infer(&shards, &spec(), &declared).expect("inference");
    check_rules(&found[1], &[("projects", "direct site_id"), ("issues", "derived project_id>projects")]);
    assert_eq!(found[1].tables[&plans].rule, Some(Rule::Shared));
    let rule = found[0].tables[&spec().table].rule.clone();
    assert_eq!(rule, Some(Rule::Root { key: "id".into(), name: Some("host".into()) }));
}

#[test]
fn children_of_inheritance_have_their_parents_rule() {
    let mut schema = Schema::new(
        ShardName::new("shop"),
        vec![
            table("sites", &[ID]),
            table("events", &[ID, "owner!=sites"]),
            table("events_old", &[ID, "owner!"]),
        ],
    );
    let parents = vec![TableName::new("public", "events")];
    schema.statistics.inherits.insert(TableName::new("public", "events_old"), parents);
    let found = infer(&[schema], &spec(), &Declarations::default()).expect("inference").remove(0);
    check_rules(&found, &[("events_old", "direct owner")]);

    // Two parents with two rules.
    let tables = vec![
        table("sites", &[ID]),
        table("a", &[ID, "owner!=sites"]),
        table("b", &[ID, "payer!=sites"]),
        table("both", &[ID, "owner!", "payer!"]),
    ];
    let mut schema = Schema::new(ShardName::new("shop"), tables);
    let parents = ["a", "b"].map(|parent| TableName::new("public", parent)).to_vec();
    schema.statistics.inherits.insert(TableName::new("public", "both"), parents);
    let found = infer(&[schema], &spec(), &Declarations::default()).expect("inference").remove(0);
    check_rules(&found, &[("both", "direct owner?")]);
}

#[test]
fn a_new_owner_column_is_unclassified_until_somebody_ignores_it() {
    let tables = vec![
        table("sites", &[ID]),
        table("users", &[ID]),
        table("projects", &[ID, "site_id!=sites", "owner_site=sites", "user_id=users"]),
        table("plans", &[ID, "site_id"]),
    ];
    let schema = Schema::new(ShardName::new("shop"), tables.clone());
    let root = Root::find(&[schema], &spec()).expect("root");
    let name = |table: &str| TableName::new("public", table);
    let rules: BTreeMap<TableName, Rule> = [
        (name("sites"), Rule::Root { key: "id".into(), name: None }),
        (name("users"), Rule::Referenced { by: vec![] }),
        (name("projects"), Rule::Direct { column: "site_id".into() }),
        (name("plans"), Rule::Shared),
    ]
    .into();
    let shown = |ignored| {
        let found = unclassified(&root.shard, &tables, &rules, &ignored, &root);
        found.iter().map(|one| format!("{} {}", one.table.table, one.columns.join("+"))).collect::<Vec<_>>()
    };
    assert_eq!(shown(BTreeMap::new()), ["projects owner_site", "projects user_id", "plans site_id"]);
    let ignored = [(name("projects"), ["owner_site".to_owned(), "user_id".to_owned()].into())];
    assert_eq!(shown(ignored.into()), ["plans site_id"]);
}

#[test]
fn an_unclear_root_is_refused() {
    let shard = |name: &str| Schema::new(ShardName::new(name), vec![table("sites", &[ID])]);
    let refused = |shards: &[Schema], root: &str| {
        let spec = RootSpec { shard: None, table: TableName::new("public", root), key: None };
        infer(shards, &spec, &Declarations::default()).expect_err("refused").chain()
    };
    assert_eq!(
        refused(&[shard("a"), shard("b")], "sites"),
        "unable to choose the root table: shards 'a' and 'b' both have 'public.sites'"
    );
    assert_eq!(refused(&[shard("a")], "tenants"), "unable to find root table 'public.tenants'");
}
