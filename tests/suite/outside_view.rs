//! What people outside are shown: status by contact, the report with what did not come back. Names are an attacker's.

use serde_json::Value;

use crate::world::{Kind, World, on_both, tenants};

const SCRIPT: &str = "<script>alert(\"1\")</script>";
const FORMULA: &str = "=cmd|'/C calc'!A1";

on_both! {
    sqlite_the_report_tells_what_came_back_and_what_did_not, postgres_the_report_tells_what_came_back_and_what_did_not
        => the_report_tells_what_came_back_and_what_did_not;
}

/// Four tenants gone: one with markup for a name, one with a formula, one that a live row blocks. Planned in rings.
async fn world(kind: Kind) -> World {
    let world = World::new(kind).await;
    for (id, name) in [(tenants()[0], SCRIPT), (tenants()[1], FORMULA)] {
        let name = name.replace('\'', "''");
        world.sql("catalogue", &format!("UPDATE sites SET name = '{name}' WHERE id = {id}")).await;
    }
    world.init();
    let config = world.read("reinstate.toml");
    let effects =
        "version = 1\nside_effects = [\"revoke the sessions of {tenant}\", \"rebuild the <search> index\"]\n";
    let config = config.replacen("version = 1\n", effects, 1);
    world.write("reinstate.toml", &format!("{config}\n[rings]\nsizes = [1, 1]\n"));
    world.run(&["snapshot", "create"]).exits(0);
    world.delete(&tenants()[..4]).await;
    let blocked = tenants()[3];
    world.sql("product", &format!("INSERT INTO settings VALUES ({blocked}, 'theme', 'light')")).await;
    world.plan(&tenants()[..4]).exits(6);
    let contacts = format!(
        "tenant,contact,phone\n{},Ann <ann@example.net>,1\n{},@ben,2\n{blocked},Ann <ann@example.net>,1\n",
        tenants()[0],
        tenants()[1],
    );
    world.write("contacts.csv", &contacts);
    world
}

fn status(world: &World, format: &str) -> String {
    world.run(&["status", "plan.json", "--format", format, "--contacts", "contacts.csv"]).exits(0).stdout
}

/// The rows of a CSV status: contact, tenant, name, status, and whether a time is expected.
fn sheet(world: &World) -> Vec<[String; 5]> {
    let text = status(world, "csv");
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let head: Vec<String> = rows.headers().expect("a head").iter().map(str::to_owned).collect();
    assert_eq!(head[..4], ["contact", "tenant", "name", "status"]);
    let expected = head.iter().position(|name| name == "expected_at").expect("a column");
    let row = |row: csv::StringRecord| {
        let cell = |at: usize| row[at].to_owned();
        [cell(0), cell(1), cell(2), cell(3), (!row[expected].is_empty()).to_string()]
    };
    rows.records().map(|record| row(record.expect("a row"))).collect()
}

fn report(world: &World, file: &str) -> (String, Value) {
    let args = ["report", "plan.json", "--json", "--contacts", "contacts.csv", "--html", file];
    let value = world.run(&args).exits(0).json();
    (world.read(file), value)
}

fn texts(list: &Value, field: &str) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|it| it[field].as_str().expect("text").to_owned()).collect()
}

/// One file that loads and runs nothing, whatever the names are.
fn assert_inert(html: &str, blocked: &str) {
    for markup in ["<script", "<b>", "<search>", "<ann@", "src=", "href=", "url(", "@import"] {
        assert!(!html.to_lowercase().contains(markup), "{markup}");
    }
    for shown in
        ["&lt;script&gt;alert", FORMULA, "&lt;b&gt;call&lt;/b&gt;", "Content-Security-Policy", blocked]
    {
        assert!(html.contains(shown), "{shown}");
    }
}

async fn the_report_tells_what_came_back_and_what_did_not(kind: Kind) {
    let world = world(kind).await;
    let [scripted, formula, plain, blocked] = [0, 1, 2, 3].map(|at| tenants()[at].to_string());
    // Before anything is back: everybody waits, and a time is expected.
    let rows = sheet(&world);
    let row = |contact: &str, id: &str, name: &str, status: &str, expected: &str| {
        [contact, id, name, status, expected].map(str::to_owned)
    };
    let (ann, looked_at) = ("Ann <ann@example.net>", "not in this restore: a person looks at it");
    let (waits, site) = ("waiting for its turn", format!("Site {plain}"));
    let blocked_site = format!("Site {blocked}");
    let mut wanted = vec![
        row("'@ben", &formula, &format!("'{FORMULA}"), waits, "true"),
        row(ann, &scripted, SCRIPT, waits, "true"),
        row(ann, &blocked, &blocked_site, looked_at, "false"),
        row("no contact known", &plain, &site, waits, "true"),
    ];
    assert_eq!(rows, wanted);
    let markdown = status(&world, "markdown");
    assert!(
        !markdown.contains('<') && markdown.contains("## Ann &lt;ann\\@example\\.net&gt;\n"),
        "{markdown}"
    );

    world.run(&["note", "plan.json", "held: <b>call</b> support at 14:00"]).exits(0);
    world.apply(3).exits(0);
    world.run(&["signoff", "accept", "plan.json", &scripted, "--by", "ann", "--note", "thanks"]).exits(0);

    let back = |mut row: [String; 5]| {
        if row[3] == waits {
            (row[3], row[4]) = ("back".to_owned(), "false".to_owned());
        }
        row
    };
    wanted = wanted.into_iter().map(back).collect();
    let found: Vec<[String; 5]> = sheet(&world)
        .into_iter()
        .map(|mut row| {
            row[3] = row[3].replace("back and accepted", "back");
            row
        })
        .collect();
    assert_eq!(found, wanted);
    let value: Value = serde_json::from_str(&status(&world, "json")).expect("JSON");
    assert_eq!(value["contacts"][1]["contact"], ann);
    assert_eq!(value["tenants"], 3);

    let (html, value) = report(&world, "report.html");
    assert_eq!(texts(&value["rings"], "name"), ["canary", "few", "rest"]);
    assert!(value["rings"].as_array().expect("rings").iter().all(|ring| ring["back"] == ring["tenants"]));
    assert_eq!(value["rest"], Value::Null);
    let foreseen = value["foreseen"].as_array().expect("estimates");
    assert!(!foreseen.is_empty() && foreseen.iter().all(|it| it["actual_ms"].is_u64()), "{foreseen:?}");
    assert!(foreseen.iter().any(|it| it["of"] == "few"), "{foreseen:?}");
    let written: u64 = value["tenants"]
        .as_array()
        .expect("tenants")
        .iter()
        .flat_map(|tenant| tenant["certificate"].as_array().expect("parts"))
        .map(|part| part["rows"].as_u64().expect("rows"))
        .sum();
    assert_eq!(value["rows"], written);
    let lost = texts(&value["lost"], "what");
    let of_shards = lost.iter().filter(|what| what.contains("before the deletion: no snapshot has it"));
    assert_eq!(of_shards.count(), 2, "{lost:?}");
    let live = "nothing of this tenant was restored, a person must decide: ";
    assert!(lost.iter().any(|what| what.starts_with(live)), "{lost:?}");
    let effects = texts(&value["side_effects"], "text");
    assert_eq!(effects.len(), 4, "one for each tenant that is back, and one for all: {effects:?}");
    assert!(effects.contains(&format!("revoke the sessions of {plain}")));
    assert_eq!(texts(&value["notes"], "text"), ["held: <b>call</b> support at 14:00"]);
    let timeline = texts(&value["timeline"], "text");
    assert_eq!(timeline[0], "planned");
    assert!(timeline.iter().filter(|text| *text == "back").count() == 3, "{timeline:?}");

    assert_inert(&html, &blocked);
    let again = world.run(&["report", "plan.json", "--html", "report.html"]).exits(2);
    assert!(again.error().contains("it exists already"));
    let shown = world.run(&["report", "plan.json"]).exits(0).stdout;
    assert!(
        shown.contains("what did not come back:") && shown.contains("notes for the next shift:"),
        "{shown}"
    );
}

#[tokio::test]
async fn doubtful_contacts_are_refused() {
    let world = world(Kind::Sqlite).await;
    world.write("contacts.csv", "7,ann\n8\n");
    let args = ["status", "plan.json", "--format", "text", "--contacts", "contacts.csv"];
    assert_eq!(
        world.run(&args).exits(2).error(),
        "error: unable to read the contacts in line 2\nhint: each line is: tenant,contact"
    );
    world.write("contacts.csv", "7,ann\n");
    let shown = world.run(&args).exits(0).stdout;
    assert!(shown.starts_with("CONTACT"), "{shown}");
}
