-- A bit of everything that a database of an application has.
CREATE ROLE reader NOLOGIN;
CREATE ROLE writer LOGIN PASSWORD 'secret' CONNECTION LIMIT 7 VALID UNTIL '2099-01-01 00:00:00+00';
GRANT reader TO writer WITH ADMIN OPTION;
COMMENT ON ROLE reader IS 'reads';

CREATE EXTENSION hstore;
CREATE SCHEMA ext;
CREATE EXTENSION citext SCHEMA ext;
CREATE EXTENSION pg_trgm SCHEMA ext;
CREATE SCHEMA shop;
CREATE SCHEMA "Odd ""name""";
COMMENT ON SCHEMA shop IS 'the shop';

CREATE TYPE shop.mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE shop.address AS (street text, zip varchar(10));
CREATE DOMAIN shop.positive AS integer CHECK (VALUE > 0);
CREATE TYPE shop.span AS RANGE (subtype = float8);
CREATE SEQUENCE shop.numbers INCREMENT BY 5 START 100 MAXVALUE 1000000 CYCLE;
SELECT nextval('shop.numbers') FROM generate_series(1, 4);
CREATE SEQUENCE shop.down INCREMENT BY -1;
SELECT nextval('shop.down') FROM generate_series(1, 3);
CREATE SEQUENCE shop.unused;

CREATE FUNCTION shop.twice(n integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
CREATE FUNCTION shop.atomic(n integer) RETURNS integer LANGUAGE sql BEGIN ATOMIC SELECT n + 1; END;
CREATE FUNCTION shop.stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.note := coalesce(NEW.note, '') || '; stamped';
    RETURN NEW;
END
$$;
CREATE PROCEDURE shop.nothing(x text) LANGUAGE plpgsql AS $p$ BEGIN PERFORM x; END $p$;
CREATE AGGREGATE shop.total(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0');
COMMENT ON FUNCTION shop.twice(integer) IS 'twice as much';

CREATE TABLE shop.customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    mood shop.mood DEFAULT 'ok',
    home shop.address,
    age shop.positive,
    visits shop.span,
    email ext.citext,
    tags hstore,
    made timestamptz NOT NULL DEFAULT now(),
    note text,
    doubled integer GENERATED ALWAYS AS (age * 2) STORED,
    CONSTRAINT short CHECK (length(name) < 200)
);
COMMENT ON TABLE shop.customers IS 'who buys; it''s a "table"';
COMMENT ON COLUMN shop.customers.age IS 'years';
ALTER TABLE shop.customers ADD COLUMN gone integer;
ALTER TABLE shop.customers DROP COLUMN gone;
INSERT INTO shop.customers (name, mood, home, age, visits, email, tags, made, note)
SELECT 'customer ' || i, (ARRAY['sad', 'ok', 'happy']::shop.mood[])[1 + i % 3], ROW('street ' || i, lpad(i::text, 5, '0'))::shop.address,
       1 + i % 90, shop.span(i, i + 0.1), 'C' || i || '@Example.org', hstore('n', i::text), timestamptz '2020-01-01 12:00+02' + i * interval '1 hour 3.141592 s',
       CASE WHEN i % 5 = 0 THEN NULL ELSE E'tab\there\nline\\back' END
  FROM generate_series(1, 2000) i;

CREATE TABLE shop.orders (
    id serial,
    customer bigint NOT NULL REFERENCES shop.customers (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    day date NOT NULL,
    price numeric(12, 2),
    PRIMARY KEY (id, day)
) PARTITION BY RANGE (day);
CREATE TABLE shop.orders_old PARTITION OF shop.orders FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
CREATE TABLE shop.orders_new PARTITION OF shop.orders FOR VALUES FROM ('2024-01-01') TO (MAXVALUE) PARTITION BY HASH (id);
CREATE TABLE shop.orders_new_0 PARTITION OF shop.orders_new FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE shop.orders_new_1 PARTITION OF shop.orders_new FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO shop.orders (customer, day, price) SELECT 1 + i % 2000, date '2023-01-01' + i % 700, i / 7.0 FROM generate_series(1, 3000) i;
SET CONSTRAINTS ALL IMMEDIATE;
CREATE INDEX by_price ON shop.orders (price DESC NULLS LAST) WHERE price > 10;
CREATE STATISTICS shop.both (dependencies) ON customer, day FROM shop.orders_old;

CREATE TABLE public.kinds (
    b boolean, i2 smallint, i8 bigint, r real, d double precision, n numeric, m money, t text, c char(5), v varchar(7), by bytea, ts timestamp,
    tz timestamptz, dt date, ti time, tt timetz, iv interval, u uuid, j json, jb jsonb, x xml, ip inet, cd cidr, mac macaddr, bt bit(3),
    vb varbit, p point, bx box, tq tsquery, tv tsvector, ia integer[], ta text[][], ir int4range, mr int4multirange, rc regclass
);
INSERT INTO public.kinds VALUES
    (true, -32768, 9223372036854775807, 'NaN', '-Infinity', 'NaN', '12.34', E'quote '' \\ \t \n é 漢', 'ab', 'x', '\x00ff5c', '4713-01-01 00:00:00 BC',
     'infinity', '2024-02-29', '24:00', '12:00:00+05:30', '1 year -2 days 3.000001 s', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a": 1.0, "a": 2}', '{"b": [1, null]}',
     '<a>ü</a>', '10.1.2.3/8', '10.0.0.0/8', '08:00:2b:01:02:03', '101', '1101', '(1.5,-2)', '((0,0),(1,1))', 'a & !b', 'a b:2', '{1,NULL,3}', '{{a,"b c"},{NULL,"\\"}}', '[1,5)', '{[1,3),[7,9)}', 'shop.customers'),
    (NULL, 1, 2, 3.14159274, 0.1, 1.000, '-0.01', '', 'é', '\N', '', 'epoch', 'epoch', 'infinity', '00:00', '00:00+00', '0', NULL, 'null', 'null', NULL, '::1', '::/0', NULL, '000', '', NULL, NULL, NULL, NULL, '{}', '{}', 'empty', '{}', NULL);
INSERT INTO public.kinds (t, by) SELECT string_agg(md5(i::text), ''), string_agg(decode(md5(i::text), 'hex'), '') FROM generate_series(1, 60000) i;
CREATE TABLE public.keyless (a integer, b text);
INSERT INTO public.keyless SELECT i % 10, 'same' FROM generate_series(1, 100) i;
CREATE TABLE public.columnless ();
INSERT INTO public.columnless DEFAULT VALUES;
CREATE TABLE public.parent (a integer);
CREATE TABLE public.child (b text) INHERITS (public.parent);
INSERT INTO public.parent VALUES (1);
INSERT INTO public.child VALUES (2, 'child');
CREATE TABLE "Odd ""name"""."Table, with (all)" ("Column ;" integer PRIMARY KEY, "select" text);
INSERT INTO "Odd ""name"""."Table, with (all)" VALUES (1, 'one');
CREATE TABLE shop.rooms (during tsrange, EXCLUDE USING gist (during WITH &&));

CREATE VIEW shop.happy AS SELECT id, name FROM shop.customers WHERE mood = 'happy' WITH CHECK OPTION;
CREATE MATERIALIZED VIEW shop.totals AS SELECT customer, sum(price) AS total FROM shop.orders GROUP BY customer WITH DATA;
CREATE UNIQUE INDEX totals_key ON shop.totals (customer);
CREATE RULE nothing AS ON DELETE TO public.keyless WHERE old.a > 5 DO INSTEAD NOTHING;
CREATE TRIGGER stamp BEFORE INSERT ON shop.customers FOR EACH ROW WHEN (NEW.name <> 'plain') EXECUTE FUNCTION shop.stamp();
CREATE TRIGGER off AFTER INSERT ON public.keyless FOR EACH STATEMENT EXECUTE FUNCTION shop.stamp();
ALTER TABLE public.keyless DISABLE TRIGGER off;
ALTER TABLE shop.rooms ENABLE ROW LEVEL SECURITY;
CREATE POLICY readers ON shop.rooms FOR SELECT TO reader USING (NOT isempty(during));
CREATE TEXT SEARCH CONFIGURATION shop.simple2 (COPY = pg_catalog.simple);

GRANT USAGE ON SCHEMA shop TO reader;
GRANT SELECT ON ALL TABLES IN SCHEMA shop TO reader;
GRANT UPDATE (note) ON shop.customers TO writer;
REVOKE EXECUTE ON FUNCTION shop.twice(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shop.twice(integer) TO reader WITH GRANT OPTION;
-- An application that owned what it used.
CREATE ROLE app LOGIN;
CREATE SCHEMA owned AUTHORIZATION app;
CREATE TABLE owned.orders (id serial PRIMARY KEY, who text DEFAULT current_user);
ALTER TABLE owned.orders OWNER TO app;
