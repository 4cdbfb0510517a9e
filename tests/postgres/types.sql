-- One table with a column of every kind, and of everything that travels as it is.
create schema app;
create type app.mood as enum ('sad', 'happy, "very"');
create type app.point3 as (x int, y text, m app.mood);
create domain app.short as varchar(5) check (value <> 'never');
create domain app.place as app.point3;
create table app.types (
    site int, k serial,
    a bool, b int2, c int4, d int8, e float4, f float8, g text, h varchar(10), i char(4), j name, k1 json, l xml, m app.mood,
    n bytea, o date, p time, q timestamp, r timestamptz, s uuid, t jsonb,
    u numeric, v numeric(12, 2), w money, x interval, y inet, z int[], a1 text[][], a2 app.mood[], a3 app.point3, a4 app.short,
    a5 app.place, a6 int4range, a7 nummultirange, a8 bit(5), a9 varbit, b1 tsvector, b2 point, b3 macaddr, b4 oid, b5 "char",
    b6 timetz, b7 app.short[], b8 pg_lsn, b9 int8 generated always as (d) stored, c1 timestamptz[], c2 cidr, c3 polygon
);
insert into app.types (site, a, b, c, d, e, f, g, h, i, j, k1, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, a1, a2, a3, a4, a5,
    a6, a7, a8, a9, b1, b2, b3, b4, b5, b6, b7, b8, c1, c2, c3)
values
(1, true, -32768, 2147483647, -9223372036854775808, '-0', 'NaN', E'tab\t nul-free \\N \U0001F600', '', 'ab', 'a name', '{"a" : 1,  "a":2}',
 '<a>&amp;</a>', 'happy, "very"', '\x00ff', 'infinity', '24:00:00', '-infinity', 'infinity', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
 '{"b": [1, null], "a": 1.10}', 'NaN', -0.01, '-12.34', '1 year -2 days 03:04:05.678', '10.0.0.1/8', '[5:6]={1,NULL}',
 '{{a,b},{"c,d",NULL}}', '{sad,NULL}', row(1, 'x,y', 'sad'), 'short', row(2, null, null), '[1,10)', '{[1.5,2),(7,]}', B'10101', B'1',
 'a:1A b:2', '(1,2)', '08:00:2b:01:02:03', 4294967295, 'x', '04:05:06+07:30', '{ab,cd}', '16/B374D848', '{"2026-01-01 00:00+00",NULL}',
 '10.0.0.0/8', '((0,0),(1,1),(2,0))'),
(1, false, 0, 0, 0, 'Infinity', '-Infinity', '', null, '', '', 'null', '<?xml version="1.0"?><r/>', 'sad', '', '0044-03-15 BC', '00:00',
 '4713-01-01 00:00:00 BC', '294276-12-31 23:59:59.999999+00', '00000000-0000-0000-0000-000000000000', 'null', 'Infinity', 0, '0', '0', '::1', '{}', '{}', '{}',
 null, null, null, 'empty', '{}', B'00000', B'', '', '(-0,NaN)', '00:00:00:00:00:00', 0, '', '00:00-15:59', '{}', '0/0', '{}', '::/0', '((1,2))'),
(1, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, 1e-20, null, null, null, null, null, null,
 null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null);
