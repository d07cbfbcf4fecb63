-- COPY in and out.
CREATE TABLE t (id int PRIMARY KEY, a text, b numeric DEFAULT 7);
--# data: 1\tone\t1.5
--# data: 2\ttwo\t\N
--# data: 3\t\N\t3
COPY t FROM STDIN;
SELECT * FROM t ORDER BY id;
COPY t TO STDOUT;
COPY (SELECT id, a FROM t ORDER BY id) TO STDOUT;
COPY t (a, id) TO STDOUT (FORMAT csv, HEADER, NULL 'none', QUOTE '''', FORCE_QUOTE (a));
COPY (SELECT id, a, b FROM t ORDER BY id DESC) TO STDOUT WITH CSV HEADER DELIMITER ';';
COPY (SELECT 'a"b', 'c,d', E'line\nbreak', NULL, '') TO STDOUT CSV;
COPY (SELECT E'tab\there', E'back\\slash', NULL, '') TO STDOUT;
COPY (SELECT 1, 'x'::text, NULL::int) TO STDOUT (FORMAT binary);
COPY (SELECT generate_series(1, 2000)) TO STDOUT;
COPY (SELECT 1 / 0) TO STDOUT;
COPY (INSERT INTO t (id) VALUES (50) RETURNING id) TO STDOUT;
COPY nowhere TO STDOUT;
COPY t (nothing) TO STDOUT;
COPY t TO STDOUT (FORMAT nonsense);
COPY t TO STDOUT (DELIMITER 'ab');
--# data: 4\tfour
COPY t (id, a) FROM STDIN;
--# data: 5,"five, quoted",5
--# data: 6,,6
COPY t FROM STDIN (FORMAT csv);
--# data: id,a
--# data: 7,seven
COPY t (id, a) FROM STDIN (FORMAT csv, HEADER);
--# data: id,wrong
--# data: 70,seven
COPY t (id, a) FROM STDIN (FORMAT csv, HEADER MATCH);
--# data: 8|eight|8
COPY t FROM STDIN WITH DELIMITER '|' NULL 'nothing';
--# data: 9\tnine
COPY t FROM STDIN;
--# data: 10\tten\t1\tmore
COPY t FROM STDIN;
--# data: eleven\tx\t1
COPY t FROM STDIN;
--# data: 1\tdup\t1
COPY t FROM STDIN;
--# data: 12\tx\t1
--# data: 12\ty\t1
COPY t FROM STDIN;
--# differs: COPY given up
--# data: 13\tx\t1
--# fail: the client stopped
COPY t FROM STDIN;
--# data: 14\tfourteen\t1
--# data: \.
COPY t FROM STDIN;
--# data: 15\tb\\\\s\t1
COPY t FROM STDIN;
--# data: 20\tx\t1
COPY t FROM STDIN WHERE id > 100;
--# data: 21\tfrozen\t1
COPY t FROM STDIN (FREEZE off);
COPY nowhere FROM STDIN;
--# differs: COPY's target
--# data: 1
COPY t (nothing) FROM STDIN;
--# differs: COPY's target
--# data: 1
COPY t (id, id) FROM STDIN;
--# differs: COPY's target
--# data: 1
COPY t FROM STDIN (FORMAT nonsense);
--# differs: COPY's target
--# data: 1,2
COPY t FROM STDIN (FORMAT csv, DELIMITER '');
SELECT id, a, b FROM t ORDER BY id;
BEGIN;
--# data: 30\tthirty\t30
COPY t FROM STDIN;
SELECT count(*) FROM t WHERE id = 30;
SAVEPOINT s;
--# data: 30\tagain\t30
COPY t FROM STDIN;
ROLLBACK TO s;
SELECT count(*) FROM t;
COMMIT;
BEGIN;
--# differs: COPY given up
--# data: 31\tlost\t31
--# fail: changed my mind
COPY t FROM STDIN;
SELECT 1;
ROLLBACK;
CREATE TABLE gen (id serial, a int, twice int GENERATED ALWAYS AS (a * 2) STORED, at timestamptz DEFAULT now(), CHECK (a < 100));
--# data: 1
--# data: 2
COPY gen (a) FROM STDIN;
--# volatile
--# data: 500
COPY gen (a) FROM STDIN;
--# differs: COPY's target
--# data: 1\t2
COPY gen (a, twice) FROM STDIN;
SELECT id, a, twice, at <= now() FROM gen ORDER BY id;
COPY gen (id, a) TO STDOUT;
CREATE TABLE parted (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE parted_a PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_b PARTITION OF parted FOR VALUES FROM (10) TO (20);
--# data: 1\tx
--# data: 11\ty
COPY parted FROM STDIN;
--# data: 99\tz
COPY parted FROM STDIN;
SELECT tableoid::regclass::text, k FROM parted ORDER BY k;
COPY parted TO STDOUT;
COPY (SELECT * FROM parted ORDER BY k) TO STDOUT;
CREATE TABLE many (a int[], j jsonb, b bytea, d date, x float8);
--# data: {1,2}\t{"k": 1}\t\\x00ff\t2024-02-29\tNaN
--# data: {}\tnull\t\\x\tinfinity\t-Infinity
COPY many FROM STDIN;
SELECT * FROM many ORDER BY d;
COPY many TO STDOUT;
--# data: {1\tnull\t\\x\tinfinity\t1
COPY many FROM STDIN;
CREATE TABLE trig (id int, note text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := 'seen ' || NEW.id; RETURN NEW; END $$;
CREATE TRIGGER note BEFORE INSERT ON trig FOR EACH ROW EXECUTE FUNCTION note();
--# data: 1
--# data: 2
COPY trig (id) FROM STDIN;
SELECT * FROM trig ORDER BY id;
CREATE VIEW v AS SELECT * FROM trig;
COPY v TO STDOUT;
--# data: 1
COPY v (id) FROM STDIN;
