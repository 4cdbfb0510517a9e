//! TPC-C on real PostgreSQL: the tenant is the warehouse, every key is composite, and order lines name the stock of
//! other warehouses.
//!
//! The tables follow clause 1.3 of the specification. A warehouse whose stock the order lines of others name
//! cannot be deleted before those lines; so the victim is one whose stock nobody else names, while its own order
//! lines name the stock of others.

use crate::cluster::{Cluster, psql};
use crate::world::{command, output};

const SCHEMA: &str = "
CREATE TABLE warehouse (w_id int PRIMARY KEY, w_name varchar(10), w_tax numeric(4,4), w_ytd numeric(12,2));
CREATE TABLE district (d_id int, d_w_id int REFERENCES warehouse, d_name varchar(10), d_tax numeric(4,4),
    d_ytd numeric(12,2), d_next_o_id int, PRIMARY KEY (d_w_id, d_id));
CREATE TABLE customer (c_id int, c_d_id int, c_w_id int, c_last varchar(16), c_since timestamptz,
    c_credit char(2), c_discount numeric(4,4), c_balance numeric(12,2), c_data varchar(500),
    PRIMARY KEY (c_w_id, c_d_id, c_id), FOREIGN KEY (c_w_id, c_d_id) REFERENCES district (d_w_id, d_id));
CREATE TABLE history (h_c_id int NOT NULL, h_c_d_id int NOT NULL, h_c_w_id int NOT NULL, h_d_id int NOT NULL,
    h_w_id int NOT NULL, h_date timestamp, h_amount numeric(6,2), h_data varchar(24),
    FOREIGN KEY (h_c_w_id, h_c_d_id, h_c_id) REFERENCES customer (c_w_id, c_d_id, c_id),
    FOREIGN KEY (h_w_id, h_d_id) REFERENCES district (d_w_id, d_id));
CREATE TABLE orders (o_id int, o_d_id int, o_w_id int, o_c_id int NOT NULL, o_entry_d timestamp,
    o_carrier_id int, o_ol_cnt numeric(2), o_all_local numeric(1), PRIMARY KEY (o_w_id, o_d_id, o_id),
    FOREIGN KEY (o_w_id, o_d_id, o_c_id) REFERENCES customer (c_w_id, c_d_id, c_id));
CREATE TABLE new_order (no_o_id int, no_d_id int, no_w_id int, PRIMARY KEY (no_w_id, no_d_id, no_o_id),
    FOREIGN KEY (no_w_id, no_d_id, no_o_id) REFERENCES orders (o_w_id, o_d_id, o_id));
CREATE TABLE item (i_id int PRIMARY KEY, i_im_id int, i_name varchar(24), i_price numeric(5,2));
CREATE TABLE stock (s_i_id int REFERENCES item, s_w_id int REFERENCES warehouse, s_quantity numeric(4),
    s_dist_01 char(24), s_ytd numeric(8), s_data varchar(50), PRIMARY KEY (s_w_id, s_i_id));
CREATE TABLE order_line (ol_o_id int, ol_d_id int, ol_w_id int, ol_number int, ol_i_id int NOT NULL,
    ol_supply_w_id int NOT NULL, ol_delivery_d timestamp, ol_quantity numeric(2), ol_amount numeric(6,2),
    ol_dist_info char(24), PRIMARY KEY (ol_w_id, ol_d_id, ol_o_id, ol_number),
    FOREIGN KEY (ol_w_id, ol_d_id, ol_o_id) REFERENCES orders (o_w_id, o_d_id, o_id),
    FOREIGN KEY (ol_supply_w_id, ol_i_id) REFERENCES stock (s_w_id, s_i_id));
";

/// Three warehouses of three districts. Order lines of 1 come from 2, those of 2 from 3 and of 3 from 2, each
/// third one: nobody but 1 itself needs the stock of 1. Each history row comes twice, and customers of 1 also pay
/// in districts of 1 that are not their own.
const ROWS: &str = "
INSERT INTO item SELECT i, i * 7, 'item ' || i, i + 0.99 FROM generate_series(1, 50) i;
INSERT INTO warehouse SELECT w, 'W' || w, 0.0500 + w * 0.01, 300000.00 FROM generate_series(1, 3) w;
INSERT INTO district SELECT d, w, 'D' || d, 0.1, 30000, 11 FROM generate_series(1, 3) w, generate_series(1, 3) d;
INSERT INTO customer SELECT c, d, w, 'BARBAR ' || c, '2026-11-01 10:00+00', CASE c % 2 WHEN 0 THEN 'GC' ELSE 'BC' END,
    0.05, -10.00, repeat('x', c) FROM generate_series(1, 3) w, generate_series(1, 3) d, generate_series(1, 10) c;
INSERT INTO history SELECT c, d, w, 1 + (d + n) % 3, w, '2026-11-01', 10, NULL
    FROM generate_series(1, 3) w, generate_series(1, 3) d, generate_series(1, 10) c, generate_series(1, 4) n;
INSERT INTO stock SELECT i, w, 10 + i, repeat('s', 24), 0, NULL FROM generate_series(1, 3) w, generate_series(1, 50) i;
INSERT INTO orders SELECT o, d, w, 1 + o % 10, '2026-11-02', CASE WHEN o < 8 THEN o END, 5, 0
    FROM generate_series(1, 3) w, generate_series(1, 3) d, generate_series(1, 10) o;
INSERT INTO new_order SELECT o_id, o_d_id, o_w_id FROM orders WHERE o_id > 7;
INSERT INTO order_line SELECT o_id, o_d_id, o_w_id, n, 1 + (o_id * 5 + n) % 50,
    CASE WHEN n % 3 > 0 THEN o_w_id WHEN o_w_id = 2 THEN 3 ELSE 2 END,
    CASE WHEN o_id < 8 THEN timestamp '2026-11-03' END, 5, n * 1.5, repeat('d', 24)
    FROM orders, generate_series(1, 5) n;
";

/// The tables with the column that names their warehouse, children first.
const TABLES: [(&str, &str); 9] = [
    ("order_line", "ol_w_id"),
    ("new_order", "no_w_id"),
    ("orders", "o_w_id"),
    ("history", "h_w_id"),
    ("stock", "s_w_id"),
    ("customer", "c_w_id"),
    ("district", "d_w_id"),
    ("warehouse", "w_id"),
    ("item", ""),
];

/// What `init` must find: nothing but the keys says it.
const RULES: [&str; 9] = [
    r#""public.warehouse" = { rule = "root", key = "w_id" }"#,
    r#""public.district" = { rule = "direct", column = "d_w_id" }"#,
    r#""public.stock" = { rule = "direct", column = "s_w_id" }"#,
    r#""public.customer" = { rule = "derived", columns = ["c_w_id", "c_d_id"], parent = "public.district", parent_columns = ["d_w_id", "d_id"] }"#,
    r#""public.history" = { rule = "derived", columns = ["h_w_id", "h_d_id"], parent = "public.district", parent_columns = ["d_w_id", "d_id"] }"#,
    concat!(
        r#""public.orders" = { rule = "derived", columns = ["o_w_id", "o_d_id", "o_c_id"], "#,
        r#"parent = "public.customer", parent_columns = ["c_w_id", "c_d_id", "c_id"] }"#
    ),
    concat!(
        r#""public.new_order" = { rule = "derived", columns = ["no_w_id", "no_d_id", "no_o_id"], "#,
        r#"parent = "public.orders", parent_columns = ["o_w_id", "o_d_id", "o_id"] }"#
    ),
    concat!(
        r#""public.order_line" = { rule = "derived", columns = ["ol_w_id", "ol_d_id", "ol_o_id"], "#,
        r#"parent = "public.orders", parent_columns = ["o_w_id", "o_d_id", "o_id"] }"#
    ),
    r#""public.item" = { rule = "shared" }"#,
];

fn dump(url: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for (table, _) in TABLES {
        let text = psql(url, &format!("SELECT '{table} ' || t::text FROM {table} t"));
        lines.extend(text.lines().map(str::to_owned));
    }
    lines.sort();
    lines
}

#[test]
fn a_warehouse_with_remote_order_lines_comes_back_without_any_declaration() {
    let url = Cluster::start().new_database();
    psql(&url, &format!("{SCHEMA} {ROWS}"));
    let folder = tempfile::tempdir().expect("temp dir");
    let run = |args: &[&str]| output(command(folder.path(), args)).exits(0);
    let store = format!("file://{}", folder.path().join("store").display());
    let shard = format!("tpcc={url}");
    run(&["init", "--shard", &shard, "--root", "public.warehouse", "--store", &store]);
    let config = std::fs::read_to_string(folder.path().join("reinstate.toml")).expect("configuration");
    for rule in RULES {
        assert!(config.contains(rule), "{rule}\nin\n{config}");
    }
    run(&["snapshot", "create"]);

    let before = dump(&url);
    let remote = psql(&url, "SELECT count(*) FROM order_line WHERE ol_w_id = 1 AND ol_supply_w_id <> 1");
    assert_eq!(remote.trim(), "30", "the victim's order lines name the stock of others");
    for (table, column) in TABLES.iter().filter(|(table, _)| *table != "item") {
        psql(&url, &format!("DELETE FROM {table} WHERE {column} = 1"));
    }
    assert!(dump(&url).len() < before.len());
    std::fs::write(folder.path().join("warehouses.txt"), "1\n").expect("list");
    run(&["plan", "--tenants", "warehouses.txt", "-o", "plan.json"]);
    run(&["apply", "plan.json", "--confirm", "1"]);
    assert_eq!(dump(&url), before, "every row of every table is as before");
    run(&["verify", "plan.json"]);
}
