-- Types without a binary form: one of the core, user types made without SEND and RECEIVE (whose cast to text is not what
-- they print), those of extensions, and everything that is made of them. Beside them, values that text could lose.
create extension isn;
create extension seg;
create role "a role";
create schema app;

create type app.tally;
create function app.tally_in(cstring) returns app.tally language internal immutable strict as 'int4in';
create function app.tally_out(app.tally) returns cstring language internal immutable strict as 'int4out';
create type app.tally (input = app.tally_in, output = app.tally_out, like = int4);
create function app.tally_lt(app.tally, app.tally) returns bool language internal immutable strict as 'int4lt';
create function app.tally_le(app.tally, app.tally) returns bool language internal immutable strict as 'int4le';
create function app.tally_eq(app.tally, app.tally) returns bool language internal immutable strict as 'int4eq';
create function app.tally_ge(app.tally, app.tally) returns bool language internal immutable strict as 'int4ge';
create function app.tally_gt(app.tally, app.tally) returns bool language internal immutable strict as 'int4gt';
create function app.tally_cmp(app.tally, app.tally) returns int language internal immutable strict as 'btint4cmp';
create operator app.< (leftarg = app.tally, rightarg = app.tally, function = app.tally_lt);
create operator app.<= (leftarg = app.tally, rightarg = app.tally, function = app.tally_le);
create operator app.= (leftarg = app.tally, rightarg = app.tally, function = app.tally_eq);
create operator app.>= (leftarg = app.tally, rightarg = app.tally, function = app.tally_ge);
create operator app.> (leftarg = app.tally, rightarg = app.tally, function = app.tally_gt);
create operator class app.tally_ops default for type app.tally using btree as
    operator 1 app.<, operator 2 app.<=, operator 3 app.=, operator 4 app.>=, operator 5 app.>,
    function 1 app.tally_cmp(app.tally, app.tally);
create function app.shown(app.tally) returns text language sql immutable as $$ select 'a tally' $$;
create cast (app.tally as text) with function app.shown(app.tally);

-- It is sent, but not taken back.
create type app.oneway;
create function app.oneway_in(cstring) returns app.oneway language internal immutable strict as 'int8in';
create function app.oneway_out(app.oneway) returns cstring language internal immutable strict as 'int8out';
create function app.oneway_send(app.oneway) returns bytea language internal immutable strict as 'int8send';
create type app.oneway (input = app.oneway_in, output = app.oneway_out, send = app.oneway_send, like = int8);

create type app.mood as enum ('sad', 'so, so');
create type app.pair as (x int, y text, m app.mood);
create domain app.code as varchar(5) not null check (value <> 'never');
create domain app.granted as aclitem;
create type app.entry as (who text, acl aclitem, at timestamptz, f float8, class regclass, raw bytea, step interval);
create domain app.told as app.entry check ((value).who <> 'nobody');
create type app.tallies as range (subtype = app.tally);

create table app.printed (
    k int generated always as identity primary key, site_id int not null references sites,
    a aclitem, b aclitem[], c app.granted, d app.entry, e app.entry[], f app.told, g app.tally, h app.tally[][], i app.tallies,
    j app.oneway, k1 isbn13, l issn, m seg, n seg[],
    oa float4, ob float8, oc numeric, od numeric(12, 4), oe text, of varchar(5), og char(4), oh bytea, oi jsonb, oj json,
    ok date, ol time, om timestamp, on1 timestamptz, oo interval, op uuid, oq int[], or1 app.pair, os app.pair[], ot app.mood,
    ou app.code, ov int4range, ow int4multirange, ox tstzmultirange[], oy "char", oz xml,
    pa aclitem generated always as (a) stored, pb float8 generated always as (ob) stored);

insert into app.printed (site_id, ou) select 1 + n % 3, '' from generate_series(1, 9) n;
update app.printed set
    a = makeaclitem('"a role"'::regrole, 'postgres'::regrole, 'SELECT', true), b = '{"=r/postgres",NULL,"postgres=arwdDxt/postgres"}', c = '=/postgres',
    d = row('it''s, "he" \', '=r*/postgres', '2026-01-01 00:00:00.000001+00', '-0', 'public.sites', '\x00ff', '-1 mons +2 days 03:00:00.5'),
    e = array[row('', null, 'infinity', 'NaN', 'pg_class', '', null)::app.entry, null], f = row('x', '=r/postgres', null, '5e-324', null, null, null),
    g = '-2147483648', h = '[0:1][-1:-1]={{1},{NULL}}', i = '[-1,7)', j = '9223372036854775807', k1 = '978-0-393-04002-9', l = '1436-4522', m = '~1.50 .. >2e7', n = '{"<1 .. 2.00",NULL}',
    oa = '-0', ob = '-0', oc = repeat('9', 20000)::numeric, od = '-0.0001', oe = U&'\+10FFFF' || E'\t\\N\n\r', of = 'x', og = 'ab', oh = '\x00ff00', oi = '{"b": [1.10]}', oj = '{"b" : 1,  "a":2}',
    ok = 'infinity', ol = '24:00', om = '-infinity', on1 = 'infinity', oo = '-178000000 years 11 mons', op = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', oq = '[5:6]={1,NULL}',
    or1 = row(1, 'x,"y"', 'so, so'), os = array[row(1, 'x', 'sad')::app.pair, null], ot = 'so, so', ou = 'code', ov = '[1,10)', ow = '{[1,3),[5,9)}', ox = '{"{[2026-01-01 00:00+00,]}","{}",NULL}', oy = 'x', oz = '<a>&amp;</a>'
where k in (3, 4, 5);
update app.printed set
    a = '=/"a role"', b = '{}', d = row(null, null, null, null, null, null, null), e = '{}', g = '0', h = '{}', i = 'empty', j = '-9223372036854775808', n = '{}',
    oa = 'NaN', ob = 'NaN', oc = 'NaN', oe = '', of = '', og = '', oh = '', oi = 'null', oj = 'null', ok = '4713-01-01 BC', om = '0044-03-15 12:00 BC', on1 = '294276-12-31 23:59:59.999999+00',
    oq = '{}', or1 = row(null, null, null), os = '{}', ov = 'empty', ow = '{}', ox = '{}', oy = '\377'
where k in (6, 7);
-- More rows than one statement takes.
insert into app.printed (site_id, ou, g, ob, a, oe) select 1 + n % 3, n, n::text::app.tally, n / 7.0::float8, '=r/postgres', md5(n::text)
    from generate_series(1, 2000) n;

-- Keys of such a type; rows without a key; partitions; only a computed column.
create table app.counted (t app.tally primary key, site_id int not null references sites, acl aclitem, other app.tally unique);
insert into app.counted values ('1', 1, '=r/postgres', '10'), ('2', 2, null, '20'), ('-3', 1, null, null);
create table app.counts (k int primary key, site_id int not null references sites, t app.tally not null references app.counted);
insert into app.counts values (1, 1, '1'), (2, 1, '2'), (3, 2, '2'), (4, 1, '-3');
create table app.keyless (site_id int references sites, acl aclitem, note text);
insert into app.keyless select 1 + n % 3, case n % 2 when 0 then '=r/postgres'::aclitem end, 'twice' from generate_series(1, 12) n;
create table app.parted (site_id int not null references sites, n int, acls aclitem[], at timestamptz default 'infinity', primary key (site_id, n))
    partition by list (site_id);
create table app.parted_1 partition of app.parted for values in (1);
create table app.parted_rest partition of app.parted default;
insert into app.parted select 1 + n % 3, n, array['=r/postgres'::aclitem, null] from generate_series(1, 9) n;
create table app.computed (k int primary key, site_id int not null references sites, g aclitem generated always as (makeaclitem(10, 10, 'SELECT', k > 2)) stored, m int4multirange,
                           unique (site_id, k));
insert into app.computed values (1, 1, default, '{[1,2)}'), (2, 2, default, null), (3, 1, default, '{}');
