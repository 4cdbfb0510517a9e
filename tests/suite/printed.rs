//! Types without a binary form (`aclitem`, a user's own without SEND and RECEIVE): carried as what they print, through
//! the whole life of a restore. The oracle hashes every row of the database as text; what text could lose, COPY BINARY
//! compares.

use crate::cluster::Cluster;
use crate::fidelity::Shop;
use crate::oracle::{Rows, TableHashes, differences, table_hashes_pg};
use crate::world::Run;

/// All columns of `app.printed` that have a binary form.
const EXACT: &str = "select k, site_id, oa, ob, oc, od, oe, of, og, oh, oi, oj, ok, ol, om, on1, oo, op, oq, or1, os, ot, ou, ov, \
        ow, ox, oy, oz, pb, j, m::text, d is null, h is null from app.printed order by k";

const GONE: &str = "delete from app.printed where site_id = 1; delete from app.counts where site_id = 1;
    delete from app.counted where site_id = 1; delete from app.keyless where site_id = 1;
    delete from app.parted where site_id = 1; delete from app.computed where site_id = 1; delete from sites where id = 1;";

struct Printed {
    shop: Shop,
    before: (TableHashes, Vec<u8>),
}

impl Printed {
    async fn new() -> Self {
        // Roles are the server's: tests share them.
        let sql = include_str!("fidelity/printed.sql").replace(
            "create role \"a role\";",
            "do $$ begin create role \"a role\"; exception when duplicate_object or unique_violation then end $$;",
        );
        let shop = Shop::with_snapshot(&sql);
        let before = whole(&shop).await;
        assert!(before.0["app.printed"].rows > 2000, "{before:?}");
        Self { shop, before }
    }

    async fn assert_whole(&self) {
        let now = whole(&self.shop).await;
        assert_eq!(differences(&self.before.0, &now.0), Vec::<String>::new());
        assert!(self.before.1 == now.1, "columns with a binary form differ");
    }

    fn repair(&self, more: &[&str]) -> Run {
        std::fs::write(self.shop.dir.path().join("tenants.txt"), "1\n").expect("write");
        let _ = std::fs::remove_file(self.shop.dir.path().join("repair.json"));
        self.shop.run(&[&["repair", "plan", "--tenants", "tenants.txt", "-o", "repair.json"], more].concat())
    }
}

async fn whole(shop: &Shop) -> (TableHashes, Vec<u8>) {
    (table_hashes_pg(&shop.url, &[], Rows::All).await, shop.binary(EXACT))
}

#[tokio::test]
async fn types_without_a_binary_form_come_back_as_they_were() {
    let printed = Printed::new().await;
    let shop = &printed.shop;
    for constraints in ["--constraints=engine", "--constraints=server"] {
        let diff = shop.run(&["diff"]);
        assert!(diff.stdout.contains("0 tenants deleted, 0 with rows that differ"), "{}", diff.stdout);
        shop.sql(GONE);
        let diff = shop.run(&["diff"]);
        assert!(diff.stdout.contains("1 tenant deleted, 0 with rows that differ"), "{}", diff.stdout);
        shop.plan_with(&[constraints]).exits(0);
        shop.apply().exits(0);
        printed.assert_whole().await;
        shop.run(&["verify", "plan.json"]).exits(0);
    }
}

#[tokio::test]
async fn damaged_rows_are_found_and_repaired() {
    let printed = Printed::new().await;
    let shop = &printed.shop;
    shop.sql(
        "update app.printed set a = '=w/postgres', g = '7' where site_id = 1 and k % 2 = 0;
         update app.printed set d = row('', null, null, null, null, null, null) where k = 3;
         delete from app.printed where site_id = 1 and k > 1500;
         update app.counted set acl = '=w/postgres' where t::text = 'a tally' and site_id = 1;
         delete from app.counts where k = 4;
         update app.parted set acls = null where site_id = 1;
         delete from app.keyless where ctid = (select min(ctid) from app.keyless where site_id = 1);
         insert into app.keyless values (1, '=w/postgres', 'new'), (1, '=r/postgres', 'twice'), (1, null, 'twice');
         insert into app.parted values (1, 99, '{}'); update app.computed set m = '{[7,9)}' where k = 1;",
    );
    let diff = shop.run(&["diff"]);
    assert!(diff.stdout.contains("0 tenants deleted, 1 with rows that differ"), "{}", diff.stdout);
    printed.repair(&["--delete-extra"]).exits(0);
    shop.run(&["repair", "apply", "repair.json", "--confirm", "1"]).exits(0);
    printed.assert_whole().await;
    shop.run(&["verify", "repair.json"]).exits(0);
}

#[tokio::test]
async fn keys_of_such_a_type_are_compared_by_the_server() {
    let printed = Printed::new().await;
    let shop = &printed.shop;
    shop.sql(GONE);
    shop.sql("insert into app.counted values ('1', 2, null, null)");
    let plan = shop.plan().exits(6);
    assert!(plan.error().contains("t=1 by t=1 of tenant 2"), "{}", plan.error());
    shop.sql("update app.counted set t = '5', other = '10' where t operator(app.=) '1'");
    let plan = shop.plan().exits(6);
    assert!(plan.error().contains("t=1 by t=5 of tenant 2"), "{}", plan.error());
    // A parent that belongs to a neighbour is gone. Whether the tenant brings an equal one the server alone can tell.
    shop.sql(
        "delete from app.counted where t operator(app.=) '5'; delete from app.counts where k = 3;
              delete from app.counted where t operator(app.=) '2'",
    );
    let plan = shop.plan().exits(6);
    assert!(plan.error().contains("point ('counts_t_fkey') at rows of 'app.counted'"), "{}", plan.error());
    assert_eq!(shop.sql("select count(*) from app.printed where site_id = 1"), "0");
    shop.sql(
        "insert into app.counted values ('2', 2, null, '20'); insert into app.counts values (3, 2, '2')",
    );
    shop.plan().exits(0);
    shop.apply().exits(0);
    printed.assert_whole().await;
}

#[test]
fn a_value_that_is_no_longer_read_is_refused_by_name_when_the_plan_is_made() {
    let shop = Shop::new(
        "create role \"fired employee\";
         create table grants (k int primary key, site_id int not null references sites, acl aclitem[]);
         insert into grants values (1, 1, '{=r/postgres}'), (2, 1, array[makeaclitem(0, '\"fired employee\"'::regrole, 'SELECT', false)]),
                                   (3, 2, null);",
    );
    shop.init();
    shop.run(&["snapshot", "create"]).exits(0);
    shop.sql(
        "delete from grants where site_id = 1; delete from sites where id = 1; drop role \"fired employee\"",
    );
    let plan = shop.plan().exits(6);
    let said = "column 'acl' of table 'public.grants' was carried as text, since aclitem[] has no binary form, and the \
                database does not read it as it was written: k=2";
    assert!(plan.error().contains(said), "{}", plan.error());
    shop.sql("create role \"fired employee\"");
    shop.plan().exits(0);
    shop.apply().exits(0);
    assert_eq!(shop.sql("select acl from grants where k = 2"), "{\"=r/\\\"fired employee\\\"\"}");
    shop.sql("drop role \"fired employee\"");
}

#[test]
fn a_rule_on_insert_is_refused_by_name_when_the_plan_is_made() {
    let shop = Shop::with_snapshot(
        "create table grants (k int primary key, site_id int not null references sites, acl aclitem);
         create table plain (k int primary key, site_id int not null references sites);
         create rule away as on insert to plain do instead nothing;
         insert into grants values (1, 1, '=r/postgres');",
    );
    shop.sql("delete from grants where site_id = 1; delete from sites where id = 1");
    shop.plan().exits(0);
    shop.sql("create rule away as on insert to grants do instead nothing");
    let plan = shop.plan();
    assert_ne!(plan.code, 0);
    let said = "a column's type has no binary form, so that rows need INSERT, which rule 'away' rewrites";
    assert!(plan.error().contains(said), "{}", plan.error());
}

#[test]
fn no_more_privileges_are_needed() {
    let shop = Shop::with_snapshot(
        "create table grants (k int generated always as identity primary key, site_id int not null references sites, acl aclitem);
         insert into grants (site_id, acl) values (1, '=r/postgres'), (2, null);",
    );
    let database = shop.url.rsplit('/').next().expect("database").to_owned();
    let before = shop.sql("select g::text from grants g order by k");
    shop.sql(&format!(
        "delete from grants where site_id = 1; delete from sites where id = 1;
         revoke all on database {database} from public; revoke all on schema public from public;
         create role scrivener login; grant connect, create on database {database} to scrivener; grant usage on schema public to scrivener;
         grant select, insert on all tables in schema public to scrivener;
         grant select, update on all sequences in schema public to scrivener;"
    ));
    let config = shop.dir.path().join("reinstate.toml");
    let text = std::fs::read_to_string(&config).expect("read");
    std::fs::write(&config, text.replace(&shop.url, &Cluster::start().url_as("scrivener", &database)))
        .expect("write");
    shop.plan().exits(0);
    shop.apply().exits(0);
    assert_eq!(shop.sql("select g::text from grants g order by k"), before);
}
