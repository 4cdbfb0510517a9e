//! The changes that are tried, one table and one tenant each.

/// One change between snapshot and restore.
pub struct Case {
    /// The table, which names what it is about. It has these columns, then `site_id` and `k`.
    pub table: &'static str,
    pub columns: &'static str,
    /// The victim's rows: values of the columns.
    pub victim: &'static [&'static str],
    /// A row of the neighbour's.
    pub neighbour: &'static str,
    /// What happens to the schema; `T` is the table.
    pub change: &'static str,
    /// What the plan says of it.
    pub decision: Decision,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Restored; the plan says so.
    Covered(&'static str),
    /// Not restored; the plan's error says why.
    Refused(&'static str),
}

use Decision::{Covered, Refused};

const fn case(
    table: &'static str,
    columns: &'static str,
    victim: &'static [&'static str],
    neighbour: &'static str,
    change: &'static str,
    decision: Decision,
) -> Case {
    Case { table, columns, victim, neighbour, change, decision }
}

/// What exists before the tables.
pub const TYPES: &str = "
    create extension citext;
    create type mood as enum ('sad', 'ok', 'happy');
    create type grown as enum ('small', 'large');
    create type respelt as enum ('grey', 'blue');
    create type respelt_unused as enum ('grey', 'blue');
    create type shrunk as enum ('a', 'b', 'c');
    create type shrunk_unused as enum ('a', 'b', 'c');
    create domain code as varchar(8);
    create domain checked as int;
    create domain stricter as int;
    create domain positive as int check (value > 0);
    create domain small as int check (value < 10);
";

/// The configuration's declarations.
pub const DECLARED: &str = r#"
[shards.main.drift]
"public.added_with_declared_text" = { values = { v = "eu" } }
"public.added_with_declared_number" = { values = { v = 7 } }
"public.added_with_declared_numeric" = { values = { v = 1.5 } }
"public.added_with_declared_bool" = { values = { v = true } }
"public.added_with_declared_label" = { values = { v = "ok" } }
"public.added_with_declared_date" = { values = { v = "2026-02-28" } }
"public.added_with_declared_domain" = { values = { v = "x" } }
"public.added_with_declared_value_too_long" = { values = { v = "much" } }
"public.added_with_declared_value_rounded" = { values = { v = "1.005" } }
"public.added_with_declared_nonsense" = { values = { v = "many" } }
"public.added_with_declared_unknown_label" = { values = { v = "angry" } }
"public.value_for_a_column_that_is_not_there" = { values = { nowhere = 1 } }
"public.value_for_a_column_of_the_snapshot" = { values = { a = 9 } }
"public.renamed" = { renamed = { login = "user_name" } }
"public.renamed_and_widened" = { renamed = { a = "b" } }
"public.renamed_in_a_circle" = { renamed = { a = "b", b = "a" } }
"public.renamed_key" = { renamed = { k = "id" } }
"public.renamed_to_nothing" = { renamed = { a = "z" } }
"public.renamed_long_ago" = { renamed = { older = "a" } }
"public.generated_becomes_plain_with_value" = { values = { g = 0 } }
"#;

pub const CASES: &[Case] = &[
    // --- nothing that matters
    case("unchanged", "a int", &["1", "null"], "2", "", Covered("")),
    case(
        "reordered",
        "a int, b text",
        &["1, 'x'"],
        "2, 'y'",
        "alter table T add c int; update T set c = a; alter table T drop a; alter table T rename c to a",
        Covered(""),
    ),
    case(
        "constraint_renamed",
        "a int check (a > 0)",
        &["1"],
        "2",
        "alter table T rename constraint constraint_renamed_a_check to positive",
        Covered(""),
    ),
    // --- added
    case(
        "added_nullable",
        "a int",
        &["1"],
        "2",
        "alter table T add v text",
        Covered("is new: it stays NULL"),
    ),
    case(
        "added_with_default",
        "a int",
        &["1"],
        "2",
        "alter table T add v int default 7",
        Covered("is new: restored rows take its default"),
    ),
    case(
        "added_not_null_with_default",
        "a int",
        &["1"],
        "2",
        "alter table T add v text not null default 'eu'",
        Covered("is new: restored rows take its default"),
    ),
    case(
        "added_not_null",
        "a int",
        &["1"],
        "2",
        "alter table T add v int not null default 1; alter table T alter v drop default",
        Refused("is new, NOT NULL and without a default"),
    ),
    case(
        "added_generated",
        "a int",
        &["1"],
        "2",
        "alter table T add v int generated always as (a * 2) stored",
        Covered("is new and is computed"),
    ),
    case(
        "added_with_declared_text",
        "a int",
        &["1"],
        "2",
        "alter table T add v varchar(2) not null default 'eu'; alter table T alter v drop default",
        Covered("restored rows take the declared value 'eu'"),
    ),
    case(
        "added_with_declared_number",
        "a int",
        &["1"],
        "2",
        "alter table T add v smallint not null default 7; alter table T alter v drop default",
        Covered("restored rows take the declared value '7'"),
    ),
    case(
        "added_with_declared_numeric",
        "a int",
        &["1"],
        "2",
        "alter table T add v numeric(6,2) default 1.5; alter table T alter v set default 9",
        Covered("restored rows take the declared value '1.5'"),
    ),
    case(
        "added_with_declared_bool",
        "a int",
        &["1"],
        "2",
        "alter table T add v boolean default true; alter table T alter v drop default",
        Covered("restored rows take the declared value 'true'"),
    ),
    case(
        "added_with_declared_label",
        "a int",
        &["1"],
        "2",
        "alter table T add v mood not null default 'ok'; alter table T alter v drop default",
        Covered("restored rows take the declared value 'ok'"),
    ),
    case(
        "added_with_declared_date",
        "a int",
        &["1"],
        "2",
        "alter table T add v date not null default '2026-02-28'; alter table T alter v drop default",
        Covered("restored rows take the declared value '2026-02-28'"),
    ),
    case(
        "added_with_declared_domain",
        "a int",
        &["1"],
        "2",
        "alter table T add v code not null default 'x'; alter table T alter v drop default",
        Covered("restored rows take the declared value 'x'"),
    ),
    case(
        "added_with_declared_value_too_long",
        "a int",
        &["1"],
        "2",
        "alter table T add v varchar(2)",
        Refused("the declared value 'much' is too long"),
    ),
    case(
        "added_with_declared_value_rounded",
        "a int",
        &["1"],
        "2",
        "alter table T add v numeric(6,2)",
        Refused("the declared value '1.005' would be rounded"),
    ),
    case(
        "added_with_declared_nonsense",
        "a int",
        &["1"],
        "2",
        "alter table T add v int",
        Refused("the declared value 'many' is no integer"),
    ),
    case(
        "added_with_declared_unknown_label",
        "a int",
        &["1"],
        "2",
        "alter table T add v mood",
        Refused("the declared value 'angry' is no label of the type"),
    ),
    case(
        "value_for_a_column_that_is_not_there",
        "a int",
        &["1"],
        "2",
        "",
        Refused(
            "column 'nowhere' of table 'public.value_for_a_column_that_is_not_there' has a declared value",
        ),
    ),
    case("value_for_a_column_of_the_snapshot", "a int", &["1"], "2", "", Covered("")),
    // --- dropped
    case(
        "dropped_null",
        "a int, v text",
        &["1, null"],
        "2, 'x'",
        "alter table T drop v",
        Covered("does not exist any more; it was NULL in all rows of the tenants"),
    ),
    case(
        "dropped_with_values",
        "a int, v text",
        &["1, 'x'", "2, null"],
        "2, 'x'",
        "alter table T drop v",
        Refused("does not exist any more, but 1 rows of the tenants have a value"),
    ),
    case(
        "dropped_generated",
        "a int, v int generated always as (a + 1) stored",
        &["1"],
        "2",
        "alter table T drop v",
        Covered("was generated and is gone"),
    ),
    case(
        "dropped_and_added_again",
        "a text",
        &["'7'"],
        "'8'",
        "alter table T drop a; alter table T add a int",
        Refused("was text, now it is integer"),
    ),
    // --- renamed
    case(
        "renamed",
        "login text",
        &["'ann'", "null"],
        "'bob'",
        "alter table T rename login to user_name",
        Covered("column 'login' of table 'public.renamed' is now 'user_name', as declared"),
    ),
    case(
        "renamed_and_widened",
        "a int",
        &["1"],
        "2",
        "alter table T rename a to b; alter table T alter b type bigint",
        Covered("is now 'b', as declared, was integer, now it is bigint: values are cast"),
    ),
    case(
        "renamed_in_a_circle",
        "a int, b int",
        &["1, 2"],
        "3, 4",
        "alter table T rename a to c; alter table T rename b to a; alter table T rename c to b",
        Covered("column 'a' of table 'public.renamed_in_a_circle' is now 'b', as declared"),
    ),
    case(
        "renamed_key",
        "a int",
        &["1"],
        "2",
        "alter table T rename k to id",
        Covered("is now 'id', as declared"),
    ),
    case(
        "renamed_undeclared",
        "a text",
        &["'x'"],
        "'y'",
        "alter table T rename a to b",
        Refused("column 'a' of table 'public.renamed_undeclared' does not exist any more, but 1 rows"),
    ),
    case(
        "renamed_to_nothing",
        "a text",
        &["'x'"],
        "'y'",
        "alter table T rename a to b",
        Refused("is declared as renamed to 'z', but the table has no column 'z'"),
    ),
    case("renamed_long_ago", "a text", &["'x'"], "'y'", "", Covered("")),
    // --- wider
    case(
        "smallint_to_integer",
        "a smallint",
        &["-7", "null"],
        "2",
        "alter table T alter a type int",
        Covered("was smallint, now it is integer: values are cast"),
    ),
    case(
        "integer_to_bigint",
        "a int",
        &["-2147483648"],
        "2",
        "alter table T alter a type bigint",
        Covered("values are cast"),
    ),
    case(
        "smallint_to_bigint",
        "a smallint",
        &["32767"],
        "2",
        "alter table T alter a type bigint",
        Covered("values are cast"),
    ),
    case(
        "integer_to_numeric",
        "a int",
        &["-120000", "0"],
        "2",
        "alter table T alter a type numeric",
        Covered("values are cast"),
    ),
    case(
        "bigint_to_numeric_with_scale",
        "a bigint",
        &["1234567"],
        "2",
        "alter table T alter a type numeric(12,2)",
        Covered("was bigint, now it is numeric(12,2): every value of the tenants fits"),
    ),
    case(
        "real_to_double",
        "a real",
        &["0.1", "'-0'", "'NaN'", "'Infinity'"],
        "2",
        "alter table T alter a type double precision",
        Covered("values are cast"),
    ),
    case(
        "varchar_to_longer",
        "a varchar(3)",
        &["'abc'"],
        "'x'",
        "alter table T alter a type varchar(9)",
        Covered("which holds the same values"),
    ),
    case(
        "varchar_to_text",
        "a varchar(3)",
        &["'ab '"],
        "'x'",
        "alter table T alter a type text",
        Covered("which holds the same values"),
    ),
    case(
        "char_to_text",
        "a char(5)",
        &["'ab'", "''"],
        "'x'",
        "alter table T alter a type text",
        Covered("was character(5), now it is text: values are cast"),
    ),
    case(
        "char_to_longer",
        "a char(5)",
        &["'ab'", "'éé'"],
        "'x'",
        "alter table T alter a type char(8)",
        Covered("values are cast"),
    ),
    case(
        "text_to_citext",
        "a text",
        &["'Ab'"],
        "'x'",
        "alter table T alter a type citext",
        Covered("which holds the same values"),
    ),
    case(
        "domain_to_its_base",
        "a code",
        &["'ab'"],
        "'x'",
        "alter table T alter a type varchar(8)",
        Covered("which holds the same values"),
    ),
    case(
        "numeric_with_more_scale",
        "a numeric(8,2)",
        &["-1.50", "'NaN'", "0"],
        "2",
        "alter table T alter a type numeric(12,4)",
        Covered("values are cast"),
    ),
    case(
        "numeric_without_limits",
        "a numeric(8,2)",
        &["1.50"],
        "2",
        "alter table T alter a type numeric",
        Covered("which holds the same values"),
    ),
    case(
        "date_to_timestamp",
        "a date",
        &["'2026-02-28'", "'infinity'", "'0044-03-15 BC'"],
        "'2020-01-01'",
        "alter table T alter a type timestamp",
        Covered("was date, now it is timestamp without time zone: every value of the tenants fits"),
    ),
    case(
        "timestamp_with_more_digits",
        "a timestamp(0)",
        &["'2026-02-28 12:00:01'"],
        "'2020-01-01'",
        "alter table T alter a type timestamp",
        Covered("which holds the same values"),
    ),
    case(
        "enum_to_text",
        "a mood",
        &["'ok'", "null"],
        "'sad'",
        "alter table T alter a type text",
        Covered("which holds the same values"),
    ),
    // --- narrower, and it fits
    case(
        "varchar_to_shorter_fits",
        "a varchar(9)",
        &["'äbc'"],
        "'x'",
        "alter table T alter a type varchar(3)",
        Covered("was character varying(9), now it is character varying(3): every value of the tenants fits"),
    ),
    case(
        "text_to_varchar_fits",
        "a text",
        &["'abc'", "null"],
        "'x'",
        "alter table T alter a type varchar(3)",
        Covered("every value of the tenants fits"),
    ),
    case(
        "text_to_char_fits",
        "a text",
        &["'abc'"],
        "'x'",
        "alter table T alter a type char(6)",
        Covered("every value of the tenants fits"),
    ),
    case(
        "text_to_domain_fits",
        "a text",
        &["'abc'"],
        "'x'",
        "alter table T alter a type code",
        Covered("every value of the tenants fits"),
    ),
    case(
        "bigint_to_integer_fits",
        "a bigint",
        &["2147483647"],
        "2",
        "alter table T alter a type int",
        Covered("every value of the tenants fits"),
    ),
    case(
        "numeric_to_narrower_fits",
        "a numeric(12,4)",
        &["-12.5000"],
        "2",
        "alter table T alter a type numeric(4,1)",
        Covered("every value of the tenants fits"),
    ),
    case(
        "numeric_to_integer_fits",
        "a numeric",
        &["-70000.00"],
        "2",
        "alter table T alter a type int",
        Covered("every value of the tenants fits"),
    ),
    case(
        "double_to_real_fits",
        "a double precision",
        &["0.5"],
        "2",
        "alter table T alter a type real",
        Covered("every value of the tenants fits"),
    ),
    case(
        "timestamp_to_fewer_digits_fits",
        "a timestamptz",
        &["'2026-02-28 12:00:01'"],
        "'2020-01-01'",
        "alter table T alter a type timestamptz(0)",
        Covered("every value of the tenants fits"),
    ),
    case(
        "text_to_enum_fits",
        "a text",
        &["'happy'"],
        "'sad'",
        "alter table T alter a type mood using a::mood",
        Covered("every value of the tenants fits"),
    ),
    case(
        "not_null_fits",
        "a int",
        &["1"],
        "2",
        "alter table T alter a set not null",
        Covered("is NOT NULL now: every value of the tenants fits"),
    ),
    // --- narrower, and it does not fit
    case(
        "varchar_to_shorter",
        "a varchar(9)",
        &["'abc'", "'abcd'"],
        "'x'",
        "alter table T alter a type varchar(3)",
        Refused("that of k="),
    ),
    case(
        "text_to_char_with_blanks",
        "a text",
        &["'ab '"],
        "'x'",
        "alter table T alter a type char(6)",
        Refused("is too long"),
    ),
    case(
        "bigint_to_integer",
        "a bigint",
        &["2147483648"],
        "2",
        "alter table T alter a type int",
        Refused("is out of range"),
    ),
    case(
        "numeric_to_less_scale",
        "a numeric(12,4)",
        &["0.0010", "0.0011"],
        "2",
        "alter table T alter a type numeric(12,3)",
        Refused("do not fit: column"),
    ),
    case(
        "numeric_to_integer",
        "a numeric",
        &["1.5"],
        "2",
        "alter table T alter a type int",
        Refused("would be rounded"),
    ),
    case(
        "double_to_real",
        "a double precision",
        &["0.1"],
        "2",
        "alter table T alter a type real",
        Refused("would be rounded"),
    ),
    case(
        "timestamp_to_fewer_digits",
        "a timestamp",
        &["'2026-02-28 12:00:01.5'"],
        "'2020-01-01'",
        "alter table T alter a type timestamp(0)",
        Refused("would be rounded"),
    ),
    case(
        "text_to_enum",
        "a text",
        &["'angry'"],
        "'sad'",
        "alter table T alter a type mood using a::mood",
        Refused("is no label of the type"),
    ),
    case(
        "not_null",
        "a int",
        &["1", "null"],
        "2",
        "alter table T alter a set not null",
        Refused("is NOT NULL now: that of k="),
    ),
    // --- enums
    case(
        "label_added",
        "a grown",
        &["'large'"],
        "'small'",
        "alter type grown add value 'medium' before 'large'",
        Covered(""),
    ),
    case(
        "label_renamed",
        "a respelt",
        &["'grey'"],
        "'blue'",
        "alter type respelt rename value 'grey' to 'gray'",
        Refused("has lost labels of its type: that of k="),
    ),
    case(
        "label_renamed_unused",
        "a respelt_unused",
        &["'blue'"],
        "'blue'",
        "alter type respelt_unused rename value 'grey' to 'gray'",
        Covered("has lost labels of its type: every value of the tenants fits"),
    ),
    case(
        "label_removed",
        "a shrunk",
        &["'c'"],
        "'a'",
        "create type s2 as enum ('a', 'b'); alter table T alter a type s2 using a::text::s2; drop type shrunk; alter type s2 rename to shrunk",
        Refused("is no label of the type"),
    ),
    case(
        "label_removed_unused",
        "a shrunk_unused",
        &["'b'"],
        "'a'",
        "create type s2 as enum ('a', 'b'); alter table T alter a type s2 using a::text::s2; drop type shrunk_unused; alter type s2 rename to shrunk_unused",
        Covered("every value of the tenants fits"),
    ),
    // --- generated and plain
    case(
        "plain_becomes_generated",
        "a int, g int",
        &["1, 2"],
        "2, 4",
        "alter table T drop g; alter table T add g int generated always as (a * 2) stored",
        Refused("is computed by the database now, but 1 rows of the tenants have a value"),
    ),
    case(
        "plain_null_becomes_generated",
        "a int, g int",
        &["1, null"],
        "2, 4",
        "alter table T drop g; alter table T add g int generated always as (a * 2) stored",
        Covered("is computed by the database now; it was NULL"),
    ),
    case(
        "generated_becomes_plain",
        "a int, g int generated always as (a * 2) stored",
        &["1"],
        "2",
        "alter table T alter g drop expression",
        Refused("is no longer generated, and a snapshot does not hold computed values"),
    ),
    case(
        "generated_becomes_plain_with_value",
        "a int, g int generated always as (a * 2) stored",
        &["0"],
        "2",
        "alter table T alter g drop expression",
        Covered("restored rows take the declared value '0'"),
    ),
    case(
        "generated_by_another_expression",
        "a int, g int generated always as (a * 2) stored",
        &["1"],
        "2",
        "alter table T drop g; alter table T add g int generated always as (a * 3) stored",
        Covered(""),
    ),
    // --- conditions
    case("check_added", "a int", &["1", "null"], "2", "alter table T add check (a > 0)",
        Covered("(a > 0) is new: every row of the tenants keeps it")),
    case("check_added_and_broken", "a int", &["1", "-1"], "2", "alter table T add check (a > 0)",
        Refused("(a > 0) is not kept: k=")),
    case("check_added_not_valid", "a int", &["-1"], "2", "alter table T add check (a > 0) not valid",
        Refused("(a > 0) is not kept: k=")),
    case("check_changed", "a int check (a > 0)", &["5"], "12",
        "alter table T drop constraint check_changed_a_check; alter table T add constraint check_changed_a_check check (a > 10)",
        Refused("check 'check_changed_a_check' of table 'public.check_changed' (a > 10) is not kept: k=")),
    case("check_over_a_default", "a int", &["1"], "2", "alter table T add b int default 5; alter table T add check (b > a)",
        Covered("(b > a) is new: every row of the tenants keeps it")),
    case("check_over_a_default_and_broken", "a int", &["9"], "2", "alter table T add b int default 5; alter table T add check (b > a)",
        Refused("(b > a) is not kept: k=")),
    case("check_over_a_cast_column", "a int", &["7"], "2", "alter table T alter a type numeric(6,2); alter table T add check (a < 100.5)",
        Covered("(a < 100.5) is new: every row")),
    case("check_over_a_computed_column", "a int", &["7"], "2",
        "alter table T add g int generated always as (a * 2) stored; alter table T add check (g < 10)", Refused("(g < 10) is not kept: k=")),
    case("partitioned_since", "a int", &["1", "15"], "2",
        "alter table partitioned_since rename to ps; create table partitioned_since (like ps) partition by range (a);
         create table ps_1 partition of partitioned_since for values from (0) to (10);
         create table ps_2 partition of partitioned_since for values from (10) to (20);
         insert into partitioned_since select * from ps; drop table ps",
        Covered("")),
    case("partition_missing", "a int", &["1", "15"], "2",
        "alter table partition_missing rename to pm; create table partition_missing (like pm) partition by range (a);
         create table pm_1 partition of partition_missing for values from (0) to (10);
         insert into partition_missing select * from pm; drop table pm",
        Refused("table 'public.partition_missing' has no partition to go to: ")),
    case("check_of_a_partition", "a int", &["7"], "2",
        "alter table check_of_a_partition rename to cp; create table check_of_a_partition (like cp) partition by range (a);
         create table cp_1 partition of check_of_a_partition (check (a < 5)) for values from (0) to (10);
         insert into check_of_a_partition select * from cp; drop table cp",
        Refused("has no partition to go to: ")),
    case("domain_check_added", "a checked", &["7", "null"], "2", "alter domain checked add check (value > 0)",
        Covered("of its type public.checked is new: every value of the tenants keeps it")),
    case("domain_check_added_and_broken", "a stricter", &["-7"], "2", "alter domain stricter add check (value > 0)",
        Refused("of its type public.stricter is not kept: k=")),
    case("integer_to_checked_domain", "a int", &["-7"], "2", "alter table T alter a type positive",
        Refused("of its type public.positive is not kept: k=")),
    case("domain_to_another", "a positive", &["7"], "2", "alter table T alter a type small", Covered("of its type public.small is new: every value")),
    // --- values that the server does not take back
    case("tsquery", "a tsquery", &["'a & b'", "null"], "'x'", "", Covered("")),
    case("tsquery_that_is_empty", "a tsquery", &["'a'", "''"], "'x'", "",
        Refused("that of k=")),
    case("int2vector_that_is_empty", "a int2vector", &["''"], "'1 2'", "", Refused("is empty, which PostgreSQL sends but does not take back")),
    case("oidvector", "a oidvector", &["'1 2'"], "'3'", "", Covered("")),
    // --- no rule
    case(
        "integer_to_text",
        "a int",
        &["1"],
        "2",
        "alter table T alter a type text",
        Refused("was integer, now it is text"),
    ),
    case(
        "text_to_integer",
        "a text",
        &["'1'"],
        "'2'",
        "alter table T alter a type int using a::int",
        Refused("was text, now it is integer"),
    ),
    case(
        "json_to_jsonb",
        "a json",
        &["'{}'"],
        "'{}'",
        "alter table T alter a type jsonb",
        Refused("was json, now it is jsonb"),
    ),
    case(
        "timestamp_to_timestamptz",
        "a timestamp",
        &["'2026-02-28'"],
        "'2020-01-01'",
        "alter table T alter a type timestamptz",
        Refused("was timestamp without time zone, now it is timestamp with time zone"),
    ),
    case(
        "date_to_timestamptz",
        "a date",
        &["'2026-02-28'"],
        "'2020-01-01'",
        "alter table T alter a type timestamptz",
        Refused("was date, now it is timestamp with time zone"),
    ),
    case(
        "array_of_wider",
        "a int[]",
        &["'{1}'"],
        "'{2}'",
        "alter table T alter a type bigint[]",
        Refused("was integer[], now it is bigint[]"),
    ),
    case(
        "boolean_to_integer",
        "a boolean",
        &["true"],
        "false",
        "alter table T alter a type int using a::int",
        Refused("was boolean, now it is integer"),
    ),
    case(
        "bytea_to_text",
        "a bytea",
        &["'x'"],
        "'y'",
        "alter table T alter a type text using encode(a, 'escape')",
        Refused("was bytea, now it is text"),
    ),
];
