-- Functions in sql and plpgsql, procedures, DO, triggers, views, rules, aggregates, operators, policies.
CREATE FUNCTION add(a int, b int DEFAULT 10) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT a + b $$;
SELECT add(1), add(1, 2), add(b => 5, a => 1), add(NULL);
SELECT add('x');
SELECT add(1, 2, 3);
SELECT add(c => 1);
CREATE FUNCTION add(a int, b int DEFAULT 10) RETURNS int LANGUAGE sql AS $$ SELECT a - b $$;
CREATE OR REPLACE FUNCTION add(a int, b int DEFAULT 10) RETURNS int LANGUAGE sql STRICT AS $$ SELECT a - b $$;
SELECT add(1), add(NULL);
CREATE OR REPLACE FUNCTION add(a int, b int DEFAULT 10) RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$;
CREATE FUNCTION broken() RETURNS int LANGUAGE sql AS $$ SELECT nothing $$;
CREATE FUNCTION broken() RETURNS int LANGUAGE sql AS $$ SELECT 'text'::text $$;
CREATE FUNCTION broken() RETURNS nosuchtype LANGUAGE sql AS $$ SELECT 1 $$;
--# refused: functions in languages other than sql and plpgsql
CREATE FUNCTION broken() RETURNS int LANGUAGE nosuch AS $$ x $$;
CREATE FUNCTION std(a int) RETURNS int RETURN a * 2;
CREATE FUNCTION body(a int) RETURNS int LANGUAGE sql
BEGIN ATOMIC
  SELECT a + 1;
  SELECT a + 2;
END;
SELECT std(4), body(4);
CREATE FUNCTION many(n int) RETURNS SETOF int LANGUAGE sql AS $$ SELECT * FROM generate_series(1, n) $$;
SELECT * FROM many(3);
SELECT many(2), many(3);
CREATE FUNCTION tab(n int) RETURNS TABLE (i int, sq int) LANGUAGE sql AS $$ SELECT g, g * g FROM generate_series(1, n) g $$;
SELECT * FROM tab(3) WHERE sq > 1;
SELECT tab(2);
CREATE FUNCTION outs(x int, OUT dbl int, OUT txt text) LANGUAGE sql AS $$ SELECT x * 2, 'n' || x $$;
SELECT * FROM outs(4);
SELECT (outs(4)).txt, outs(4);
CREATE FUNCTION vari(VARIADIC xs int[]) RETURNS int LANGUAGE sql AS $$ SELECT sum(x)::int FROM unnest(xs) x $$;
SELECT vari(1, 2, 3), vari(VARIADIC ARRAY[4, 5]);
CREATE FUNCTION poly(anyelement, anyarray) RETURNS anyarray LANGUAGE sql AS $$ SELECT $1 || $2 $$;
SELECT poly(1, ARRAY[2]), poly('a'::text, ARRAY['b']);
SELECT poly(1, ARRAY['b']);
CREATE FUNCTION fact(n int) RETURNS numeric LANGUAGE plpgsql AS $$
BEGIN
  IF n < 0 THEN
    RAISE EXCEPTION 'negative: %', n USING ERRCODE = '22003', HINT = 'be positive', DETAIL = 'given ' || n;
  ELSIF n <= 1 THEN
    RETURN 1;
  END IF;
  RETURN n * fact(n - 1);
END $$;
SELECT fact(5), fact(20);
SELECT fact(-1);
CREATE FUNCTION loops() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  out text := '';
  r record;
  i int;
BEGIN
  FOR i IN 1..3 LOOP out := out || i; CONTINUE WHEN i = 2; out := out || ','; END LOOP;
  FOR i IN REVERSE 3..1 BY 2 LOOP out := out || i; END LOOP;
  FOR r IN SELECT * FROM (VALUES (1, 'a'), (2, 'b')) v(n, t) ORDER BY n LOOP out := out || r.t; END LOOP;
  FOREACH i IN ARRAY ARRAY[7, 8] LOOP out := out || i; END LOOP;
  i := 0;
  WHILE i < 2 LOOP i := i + 1; END LOOP;
  LOOP EXIT WHEN i > 4; i := i + 1; END LOOP;
  CASE i WHEN 5 THEN out := out || 'five'; ELSE out := out || '?'; END CASE;
  RETURN out;
END $$;
SELECT loops();
CREATE TABLE log (id serial, what text, at timestamptz DEFAULT now());
CREATE FUNCTION guarded(n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  state text;
  message text;
BEGIN
  INSERT INTO log (what) VALUES ('try ' || n);
  PERFORM 10 / n;
  RETURN 'fine';
EXCEPTION
  WHEN division_by_zero THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
    RETURN state || ' ' || message;
  WHEN OTHERS THEN
    RETURN 'other ' || SQLSTATE;
END $$;
SELECT guarded(1);
SELECT guarded(0);
SELECT guarded(NULL);
SELECT what FROM log ORDER BY id;
CREATE FUNCTION rows(n int) RETURNS SETOF log LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY SELECT * FROM log ORDER BY id LIMIT n;
  IF NOT FOUND THEN RAISE NOTICE 'nothing found'; END IF;
  RETURN;
END $$;
SELECT what FROM rows(1);
SELECT what FROM rows(0);
CREATE FUNCTION dynamic(tab text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  n bigint;
BEGIN
  EXECUTE format('SELECT count(*) FROM %I WHERE what LIKE $1', tab) INTO n USING 'try%';
  RETURN n;
END $$;
SELECT dynamic('log');
SELECT dynamic('nowhere');
CREATE FUNCTION strictly(n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  w log.what%TYPE;
  r log%ROWTYPE;
BEGIN
  SELECT what INTO STRICT w FROM log WHERE id <= n;
  SELECT * INTO r FROM log WHERE id = n;
  RETURN w || r.id;
END $$;
SELECT strictly(1);
SELECT strictly(0);
SELECT strictly(2);
CREATE FUNCTION counted() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  n int;
BEGIN
  UPDATE log SET what = what || '.';
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END $$;
SELECT counted();
SELECT counted() FROM generate_series(1, 2);
DO $$ BEGIN INSERT INTO log (what) VALUES ('from do'); RAISE NOTICE 'did %', 1; END $$;
DO $$ BEGIN RAISE WARNING 'careful'; RAISE INFO 'info'; RAISE DEBUG 'hidden'; END $$;
DO $$ BEGIN RAISE EXCEPTION 'custom' USING ERRCODE = 'P7777', COLUMN = 'col', CONSTRAINT = 'con', TABLE = 'tab', SCHEMA = 'sch', DATATYPE = 'dt'; END $$;
DO $$ BEGIN RAISE unique_violation; END $$;
DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$;
DO $$ BEGIN ASSERT 1 = 2, 'no way'; END $$;
DO $$ BEGIN PERFORM 1 / 0; END $$;
DO $$ BEGIN syntax error here; END $$;
DO $$ DECLARE x int := 'abc'; BEGIN END $$;
DO $$ BEGIN INSERT INTO log (what) VALUES ('lost'); RAISE EXCEPTION 'roll it back'; END $$;
SELECT count(*) FROM log WHERE what LIKE 'lost%';
DO LANGUAGE plpgsql 'BEGIN INSERT INTO log (what) VALUES (''quoted''); END';
CREATE PROCEDURE fill(n int, INOUT total int DEFAULT 0) LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO log (what) SELECT 'p' || g FROM generate_series(1, n) g;
  total := total + n;
END $$;
CALL fill(2);
CALL fill(1, 5);
CALL fill('x');
CALL add(1, 2);
SELECT fill(1);
SELECT count(*) FROM log WHERE what LIKE 'p%';
CREATE PROCEDURE sqlproc(w text) LANGUAGE sql AS $$ INSERT INTO log (what) VALUES (w); INSERT INTO log (what) VALUES (w || '2') $$;
CALL sqlproc('sp');
--# with: hello
CALL sqlproc($1);
--# with: 3
--# with: -1
SELECT fact($1);
--# with: {1,2}
SELECT vari(VARIADIC $1);
CREATE FUNCTION volatile_inside() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  a timestamptz := now();
  b timestamptz := CURRENT_TIMESTAMP;
BEGIN
  RETURN a = b AND random() BETWEEN 0 AND 1 AND gen_random_uuid() IS NOT NULL AND clock_timestamp() >= a;
END $$;
SELECT volatile_inside();
CREATE TABLE acc (id int PRIMARY KEY, balance numeric NOT NULL, changed timestamptz);
CREATE TABLE audit (n serial, op text, old numeric, new numeric);
CREATE FUNCTION track() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    INSERT INTO audit (op, old) VALUES (TG_OP, OLD.balance);
    RETURN OLD;
  END IF;
  INSERT INTO audit (op, old, new) VALUES (TG_OP, CASE WHEN TG_OP = 'UPDATE' THEN OLD.balance END, NEW.balance);
  RETURN NEW;
END $$;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.changed := now();
  IF NEW.balance < 0 THEN RAISE EXCEPTION 'overdrawn' USING ERRCODE = '23514'; END IF;
  IF NEW.balance = 999 THEN RETURN NULL; END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON acc FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TRIGGER track AFTER INSERT OR UPDATE OR DELETE ON acc FOR EACH ROW EXECUTE FUNCTION track();
CREATE TRIGGER stamp BEFORE INSERT ON acc FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TRIGGER bad BEFORE INSERT ON acc FOR EACH ROW EXECUTE FUNCTION add();
INSERT INTO acc (id, balance) VALUES (1, 100), (2, 50);
INSERT INTO acc (id, balance) VALUES (3, -1);
INSERT INTO acc (id, balance) VALUES (4, 999) RETURNING id;
UPDATE acc SET balance = balance - 10 RETURNING id, balance, changed = now();
DELETE FROM acc WHERE id = 2;
SELECT op, old, new FROM audit ORDER BY n;
INSERT INTO acc (id, balance) VALUES (1, 5) ON CONFLICT (id) DO UPDATE SET balance = acc.balance + excluded.balance RETURNING balance;
SELECT op, old, new FROM audit ORDER BY n DESC LIMIT 1;
CREATE FUNCTION per_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit (op, new) SELECT TG_WHEN || ' ' || TG_LEVEL || ' ' || TG_NAME, count(*) FROM fresh;
  RETURN NULL;
END $$;
CREATE TRIGGER bulk AFTER INSERT ON acc REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION per_statement();
INSERT INTO acc (id, balance) SELECT g, g FROM generate_series(10, 14) g;
SELECT op, new FROM audit WHERE op LIKE 'AFTER%';
CREATE TRIGGER only_big AFTER UPDATE OF balance ON acc FOR EACH ROW WHEN (NEW.balance > 1000) EXECUTE FUNCTION track();
UPDATE acc SET balance = 2000 WHERE id = 10;
SELECT count(*) FROM audit WHERE new = 2000;
ALTER TABLE acc DISABLE TRIGGER track;
UPDATE acc SET balance = 1 WHERE id = 10;
SELECT count(*) FROM audit WHERE new = 1;
ALTER TABLE acc ENABLE TRIGGER track;
ALTER TRIGGER track ON acc RENAME TO track_it;
DROP TRIGGER track ON acc;
DROP TRIGGER track_it ON acc;
DROP FUNCTION track();
DROP TRIGGER only_big ON acc; DROP FUNCTION track();
CREATE VIEW rich AS SELECT id, balance FROM acc WHERE balance > 10;
SELECT * FROM rich ORDER BY id;
INSERT INTO rich VALUES (30, 300) RETURNING *;
UPDATE rich SET balance = balance + 1 WHERE id = 30 RETURNING balance;
DELETE FROM rich WHERE id = 30;
CREATE VIEW checked AS SELECT id, balance FROM acc WHERE balance > 10 WITH CHECK OPTION;
--# volatile
INSERT INTO checked VALUES (31, 5);
CREATE VIEW summed AS SELECT count(*) AS n, sum(balance) AS total FROM acc;
SELECT * FROM summed;
INSERT INTO summed VALUES (1, 1);
UPDATE summed SET n = 1;
CREATE OR REPLACE VIEW rich AS SELECT id, balance, id * 2 AS more FROM acc;
CREATE OR REPLACE VIEW rich AS SELECT balance FROM acc;
CREATE VIEW rich AS SELECT 1;
CREATE VIEW bad AS SELECT * FROM nowhere;
--# majors: Catalogs
SELECT pg_get_viewdef('checked'::regclass);
CREATE VIEW timed AS SELECT now() = CURRENT_TIMESTAMP AS same, count(*) FROM acc;
SELECT * FROM timed;
ALTER VIEW rich RENAME TO richer;
ALTER VIEW richer ALTER COLUMN balance SET DEFAULT 77;
INSERT INTO richer (id) VALUES (40) RETURNING balance;
CREATE FUNCTION through() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO acc (id, balance) VALUES (NEW.n, NEW.total); RETURN NEW; END $$;
CREATE TRIGGER through INSTEAD OF INSERT ON summed FOR EACH ROW EXECUTE FUNCTION through();
INSERT INTO summed VALUES (50, 500) RETURNING *;
SELECT balance FROM acc WHERE id = 50;
CREATE RULE soft AS ON DELETE TO checked DO INSTEAD UPDATE acc SET balance = 0 WHERE id = OLD.id;
DELETE FROM checked WHERE id = 50;
SELECT balance FROM acc WHERE id = 50;
DROP RULE soft ON checked;
CREATE MATERIALIZED VIEW mat AS SELECT id, balance FROM acc WHERE id < 12;
SELECT * FROM mat ORDER BY id;
UPDATE acc SET balance = 5 WHERE id = 10;
SELECT balance FROM mat WHERE id = 10;
REFRESH MATERIALIZED VIEW mat;
SELECT balance FROM mat WHERE id = 10;
INSERT INTO mat VALUES (1, 1);
CREATE UNIQUE INDEX ON mat (id);
REFRESH MATERIALIZED VIEW nowhere;
CREATE MATERIALIZED VIEW later AS SELECT 1 AS a WITH NO DATA;
SELECT * FROM later;
REFRESH MATERIALIZED VIEW later;
SELECT * FROM later;
DROP VIEW acc;
DROP TABLE acc;
DROP TABLE acc CASCADE;
CREATE AGGREGATE product(numeric) (SFUNC = numeric_mul, STYPE = numeric, INITCOND = '1');
SELECT product(x) FROM (VALUES (2), (3), (4)) v(x);
CREATE FUNCTION eq3(int, int) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT $1 % 3 = $2 % 3 $$;
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = eq3, COMMUTATOR = ===);
SELECT 4 === 7, 4 === 8;
SELECT 4 ==== 7;
CREATE TYPE pair AS (a int, b int);
CREATE FUNCTION to_pair(int) RETURNS pair LANGUAGE sql IMMUTABLE AS $$ SELECT ROW($1, $1)::pair $$;
CREATE CAST (int AS pair) WITH FUNCTION to_pair(int);
SELECT 5::pair, (5::pair).b;
DROP TYPE pair;
DROP TYPE pair CASCADE;
CREATE TABLE secret (owner text, v int);
ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secret USING (owner = current_user) WITH CHECK (v > 0);
INSERT INTO secret VALUES ('somebody', 1);
SELECT * FROM secret;
ALTER TABLE secret FORCE ROW LEVEL SECURITY;
SELECT * FROM secret;
INSERT INTO secret VALUES (current_user, -1);
INSERT INTO secret VALUES (current_user, 2) RETURNING *;
DROP POLICY own ON secret;
SELECT count(*) FROM secret;
CREATE COLLATION mine (provider = icu, locale = 'de-DE');
CREATE COLLATION low (locale = 'C');
SELECT 'a' < 'B' COLLATE low;
CREATE TEXT SEARCH CONFIGURATION plain (COPY = simple);
SELECT to_tsvector('plain', 'The Foxes');
DROP FUNCTION add(int, int);
DROP FUNCTION add(int, int);
DROP FUNCTION nothing;
DROP PROCEDURE fill;
DROP AGGREGATE product(numeric);
CREATE FUNCTION setof_out(OUT a int, OUT b int) RETURNS SETOF record LANGUAGE sql AS $$ VALUES (1, 2), (3, 4) $$;
SELECT * FROM setof_out();
CREATE FUNCTION rec() RETURNS record LANGUAGE sql AS $$ SELECT 1, 'x'::text $$;
SELECT * FROM rec();
SELECT * FROM rec() AS (a int, b text);
SELECT * FROM rec() AS (a int, b int);
CREATE FUNCTION curs() RETURNS refcursor LANGUAGE plpgsql AS $$ DECLARE c refcursor := 'mycur'; BEGIN OPEN c FOR SELECT g FROM generate_series(1, 3) g; RETURN c; END $$;
BEGIN;
SELECT curs();
FETCH ALL FROM mycur;
COMMIT;
CREATE FUNCTION definer() RETURNS name LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $$ SELECT current_user $$;
SELECT definer();
CREATE FUNCTION leaky(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN n; END $$ COST 5 PARALLEL SAFE STABLE;
ALTER FUNCTION leaky(int) IMMUTABLE;
ALTER FUNCTION leaky(int) RENAME TO dry;
SELECT dry(3), pg_get_functiondef('dry'::regproc) LIKE '%IMMUTABLE%';
COMMENT ON FUNCTION dry(int) IS 'x';
GRANT EXECUTE ON FUNCTION dry(int) TO PUBLIC;
-- Rows were reported before the statement failed: nothing of it may stay anywhere.
CREATE TABLE late (id serial, v int);
CREATE FUNCTION too_late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF (SELECT max(v) FROM late) > 10 THEN RAISE EXCEPTION 'too late'; END IF; RETURN NULL; END $$;
CREATE TRIGGER zzz AFTER INSERT ON late FOR EACH STATEMENT EXECUTE FUNCTION too_late();
INSERT INTO late (v) VALUES (1), (2);
INSERT INTO late (v) VALUES (3), (11);
SELECT count(*) FROM late;
INSERT INTO late (v) VALUES (4) RETURNING id;
BEGIN;
SAVEPOINT s;
INSERT INTO late (v) VALUES (12);
ROLLBACK TO s;
INSERT INTO late (v) VALUES (5) RETURNING id;
COMMIT;
SELECT * FROM late ORDER BY id;
