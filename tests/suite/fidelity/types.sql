-- One table with a column of every core type, of what is made of them, and of the extensions' types.
create extension citext;
create extension hstore;
create extension ltree;
create schema app;
create type app.mood as enum ('sad', 'so, so', 'happy "very"', 'it''s {odd}\');
create type app.pair as (x int, y text, m app.mood);
create domain app.short as varchar(5) check (value <> 'never');
create domain app.place as app.pair check ((value).x > 0);
create type app.nested as (p app.place, s app.short[], r int4range);
create type app.span as range (subtype = float8);

create table app.torture (
    k int primary key, site int not null references sites,
    a bool, b int2, c int4, d int8, e float4, f float8, g numeric, h numeric(30, 10), i money,
    j text, k1 varchar(10), l char(4), m name, n "char", o bytea, p json, q jsonb, r jsonpath, s xml, t uuid,
    u date, v time, w timetz, x timestamp, y timestamptz, z interval, aa interval year to month, ab timestamp(2),
    ba inet, bb cidr, bc macaddr, bd macaddr8, be bit(5), bf varbit, bg tsvector, bh tsquery, bi pg_lsn, bj xid8, bk xid,
    bl tid, bm oid, bn regclass, bo regtype, bp oidvector, bq int2vector, br txid_snapshot, bs pg_snapshot, bt cid,
    ca point, cb line, cc lseg, cd box, ce path, cf polygon, cg circle,
    da int4range, db int8range, dc numrange, dd tsrange, de tstzrange, df daterange, dg app.span,
    ea int4multirange, eb nummultirange, ec tstzmultirange, ed datemultirange,
    fa app.mood, fb app.pair, fc app.short, fd app.place, fe app.nested,
    ga int[], gb text[][], gc app.mood[], gd app.pair[], ge app.place[], gf numeric[], gg timestamptz[], gh bytea[], gi int4range[],
    gj float8[], gk xml[], gl jsonb[], gm bool[],
    ha citext, hb hstore, hc ltree, hd lquery, he ltxtquery, hf citext[], hg hstore[], hh ltree[],
    ia int8 generated always as (d) stored);

insert into app.torture (k, site) select n, 1 + n % 3 from generate_series(1, 9) n;
update app.torture set
    a = true, b = -32768, c = 2147483647, d = -9223372036854775808, e = '-0', f = '-0', g = repeat('9', 131072)::numeric,
    h = -0.0000000001, i = '-92233720368547758.08', j = U&'\+10FFFF' || E'\t\\N\n\r\u00e9e\u0301', k1 = '', l = 'ab', m = 'a name', n = 'x',
    o = '\x00ff00', p = '{"b" : 1,  "a":2, "b":3}', q = '{"b": [1, null, 1.10], "a": 1e400}', r = '$.a[*] ? (@.b > 1)',
    s = '<a>&amp;<b/></a>', t = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
    u = 'infinity', v = '24:00', w = '04:05:06.000001+07:30', x = '-infinity', y = 'infinity', z = '-178000000 years 11 mons -3 days 04:05:06.789',
    aa = '5 years 3 mons', ab = '2026-02-03 04:05:06.78',
    ba = '10.0.0.1/8', bb = '::/0', bc = '08:00:2b:01:02:03', bd = '08:00:2b:01:02:03:04:05', be = B'10101', bf = B'1', bg = 'a:1A,2B b:16383 ''it''''s''',
    bh = 'a & !b:*A | (c <-> d)', bi = '16/B374D848', bj = '18446744073709551615', bk = '4294967295', bl = '(4294967295,65535)', bm = 4294967295,
    bn = 'pg_class', bo = 'int4', bp = '1 2 3', bq = '-1 2', br = '10:20:10,14,15', bs = '10:20:10,14,15', bt = '7',
    ca = '(-0,NaN)', cb = '{1,2,3}', cc = '((0,0),(1,1))', cd = '((2,2),(1,1))', ce = '[(0,0),(1,1)]', cf = '((0,0),(1,1),(2,0))', cg = '<(1,2),3>',
    da = '[1,10)', db = '(,5]', dc = '[1.50,infinity)', dd = '[-infinity,2026-01-01)', de = '[2026-01-01 00:00+00,]', df = 'empty', dg = '[-0,NaN]',
    ea = '{[1,3),[5,9)}', eb = '{[1.5,2),(7,]}', ec = '{}', ed = '{(,)}',
    fa = 'so, so', fb = row(1, 'x,"y"', 'it''s {odd}\'), fc = 'short', fd = row(2, null, 'sad'), fe = row(row(3, '', null)::app.place, '{a,"b,c",NULL}', '[1,2]'),
    ga = '[5:6]={1,NULL}', gb = '[0:1][-1:0]={{a,b},{"c,d",NULL}}', gc = '{sad,NULL,"so, so"}', gd = array[row(1, 'x', 'sad')::app.pair, null],
    ge = array[row(1, null, null)::app.place], gf = '{NaN,Infinity,-Infinity,-0.00,1e-1000}', gg = '{-infinity,2026-01-01 00:00+00,NULL}', gh = '{"\\x00",""}',
    gi = '{empty,"[1,2)"}', gj = '{NaN,-0,Infinity,4.9e-324}', gk = array['<a/>'::xml], gl = '{"{\"a\": 1}",null}', gm = '{{{t}},{{f}}}',
    ha = 'MiXed', hb = 'a=>1, b=>NULL, "c d"=>""', hc = 'Top.Science.x_1', hd = 'Top.*{1,2}.!x@', he = 'a & b*@', hf = '{Ab,NULL}', hg = array['x=>y'::hstore],
    hh = '{a.b,NULL}'
where k in (3, 4, 5);
update app.torture set
    a = false, b = 0, c = 0, d = 0, e = 'NaN', f = 'NaN', g = ('-0.' || repeat('7', 16383))::numeric, h = 'NaN', i = 0, j = '', k1 = 'x', l = '', m = '', n = '',
    o = '', p = 'null', q = 'null', r = 'strict $', s = '<?xml version="1.0"?><r/>', t = '00000000-0000-0000-0000-000000000000',
    u = '4713-01-01 BC', v = '00:00', w = '24:00-15:59', x = '0044-03-15 12:00 BC', y = '294276-12-31 23:59:59.999999+00', z = '0', aa = '-1 mon', ab = 'infinity',
    ba = '::1', bb = '10.0.0.0/8', be = B'00000', bf = B'', bg = '', bh = 'z', bi = '0/0', bn = null, bp = '7', bq = '7',
    ca = '(Infinity,-Infinity)', ce = '((0,0))', cf = '((1,2))', cg = '<(0,0),0>', da = 'empty', ea = '{}',
    fa = 'happy "very"', fb = row(null, null, null), fc = '', fe = row(null, '{}', 'empty'),
    ga = '{}', gb = '{}', gc = '{}', gd = '{}', ge = '{}', gf = '{}', gg = '{}', gh = '{}', gi = '{}', gj = '{}', gk = '{}', gl = '{}', gm = '{}',
    ha = '', hb = '', hc = '', hf = '{}', hg = '{}', hh = '{}'
where k in (6, 7);
update app.torture set e = '1e-45', f = '5e-324', g = 'Infinity', u = '-infinity', x = '4713-01-01 00:00 BC', y = '-infinity', j = repeat('é', 100000),
    o = decode(repeat('00ff', 100000), 'hex'), d = 9223372036854775807
where k in (8, 9);
