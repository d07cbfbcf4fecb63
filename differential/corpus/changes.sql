-- INSERT, UPDATE, DELETE, MERGE, ON CONFLICT, RETURNING, data-modifying CTEs.
CREATE TABLE t (id int PRIMARY KEY, k text UNIQUE, v int DEFAULT 0, at timestamptz);
INSERT INTO t (id, k) VALUES (1, 'a'), (2, 'b'), (3, 'c');
INSERT INTO t (id, k) VALUES (1, 'x') ON CONFLICT DO NOTHING;
INSERT INTO t (id, k) VALUES (1, 'x') ON CONFLICT (id) DO NOTHING RETURNING *;
INSERT INTO t (id, k, v) VALUES (1, 'x', 5) ON CONFLICT (id) DO UPDATE SET v = t.v + excluded.v RETURNING *;
INSERT INTO t (id, k, v) VALUES (9, 'a', 5) ON CONFLICT (k) DO UPDATE SET v = excluded.v WHERE t.v < 100 RETURNING *;
INSERT INTO t (id, k, v) VALUES (9, 'a', 5) ON CONFLICT (k) DO UPDATE SET v = 1 WHERE false RETURNING *;
INSERT INTO t (id, k, v) VALUES (9, 'a', 5) ON CONFLICT (id) DO UPDATE SET v = 1;
INSERT INTO t (id, k) VALUES (5, 'e'), (5, 'e') ON CONFLICT (id) DO UPDATE SET v = 1;
INSERT INTO t (id, k) VALUES (5, 'e'), (5, 'f') ON CONFLICT (id) DO NOTHING;
INSERT INTO t (id, k) VALUES (6, 'e') ON CONFLICT (v) DO NOTHING;
INSERT INTO t (id, k) VALUES (6, 'e') ON CONFLICT ON CONSTRAINT t_k_key DO UPDATE SET k = 'ee' RETURNING *;
INSERT INTO t (id, k) VALUES (6, 'e') ON CONFLICT ON CONSTRAINT nothing DO NOTHING;
INSERT INTO t (id, k) VALUES (1, 'zz') ON CONFLICT DO UPDATE SET v = 1;
INSERT INTO t AS alias (id, k) VALUES (1, 'q') ON CONFLICT (id) DO UPDATE SET (k, v) = (excluded.k, alias.v * 2) RETURNING alias.*;
INSERT INTO t SELECT g, 'g' || g FROM generate_series(10, 14) g RETURNING id;
INSERT INTO t (id, k) SELECT id + 100, k || '+' FROM t WHERE id < 3 RETURNING id, k;
INSERT INTO t (id, k) VALUES ((SELECT max(id) FROM t) + 1, 'sub') RETURNING id;
INSERT INTO t (id) VALUES (1), (200);
SELECT count(*) FROM t WHERE id = 200;
UPDATE t SET v = v + 1;
UPDATE t SET v = v + 1 WHERE id = 1 RETURNING id, v, v * 2 AS double;
UPDATE t SET v = DEFAULT WHERE id = 1 RETURNING v;
UPDATE t SET id = id + 1000 WHERE id > 100 RETURNING id;
UPDATE t SET id = 2 WHERE id = 1;
UPDATE t SET id = id + 1 WHERE id IN (10, 11);
UPDATE t AS x SET v = y.v FROM t y WHERE y.id = 1 AND x.id = 2 RETURNING x.id, y.id;
UPDATE t SET v = (SELECT count(*) FROM t) WHERE id = 3 RETURNING v;
UPDATE ONLY t SET at = '2024-01-01Z' WHERE id = 3 RETURNING at;
UPDATE t SET v = 1, v = 2;
UPDATE t SET v = 'x';
UPDATE t SET v = 1 / 0 WHERE id = 1;
UPDATE t SET v = 1 / (v - v) WHERE false;
DELETE FROM t WHERE id = 14;
DELETE FROM t WHERE id = 14;
DELETE FROM t WHERE id > 1000 RETURNING id, k;
DELETE FROM t USING t u WHERE t.id = u.id AND u.k = 'g13' RETURNING t.id;
DELETE FROM t WHERE nothing = 1;
SELECT id, k, v, at FROM t ORDER BY id;
WITH moved AS (DELETE FROM t WHERE id = 12 RETURNING *) INSERT INTO t SELECT id + 500, k || 'm', v FROM moved RETURNING id, k;
WITH i AS (INSERT INTO t (id, k) VALUES (600, 'cte') RETURNING id, v), u AS (UPDATE t SET v = 9 WHERE id = 2 RETURNING id) SELECT i.id, i.v, u.id FROM i, u;
WITH u AS (UPDATE t SET v = 77 WHERE id = 3 RETURNING *) SELECT (SELECT v FROM t WHERE id = 3) AS before, (SELECT v FROM u) AS after;
WITH d AS (DELETE FROM t WHERE id = 600) SELECT count(*) FROM t;
SELECT * FROM (DELETE FROM t RETURNING id) x;
WITH x AS (SELECT 1 AS id) UPDATE t SET v = 5 FROM x WHERE t.id = x.id RETURNING t.id, t.v;
WITH x AS (SELECT 2 AS id) DELETE FROM t USING x WHERE t.id = x.id RETURNING t.*;
WITH x AS (INSERT INTO t (id, k) VALUES (1, 'dup') RETURNING id) SELECT * FROM x;
CREATE TABLE stock (item text PRIMARY KEY, n int NOT NULL CHECK (n >= 0));
CREATE TABLE delta (item text, d int);
INSERT INTO stock VALUES ('apple', 5), ('pear', 2), ('fig', 0);
INSERT INTO delta VALUES ('apple', -3), ('kiwi', 7), ('fig', 0), ('plum', -1);
MERGE INTO stock s USING delta d ON s.item = d.item WHEN MATCHED AND d.d = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET n = s.n + d.d WHEN NOT MATCHED AND d.d > 0 THEN INSERT VALUES (d.item, d.d) WHEN NOT MATCHED THEN DO NOTHING;
SELECT * FROM stock ORDER BY item;
MERGE INTO stock s USING delta d ON s.item = d.item WHEN MATCHED THEN UPDATE SET n = s.n + d.d * 100;
MERGE INTO stock s USING (VALUES ('pear', 1), ('pear', 2)) d(item, d) ON s.item = d.item WHEN MATCHED THEN UPDATE SET n = d.d;
MERGE INTO stock USING nowhere ON true WHEN MATCHED THEN DELETE;
MERGE INTO stock s USING (SELECT 'date' AS item) d ON s.item = d.item WHEN NOT MATCHED THEN INSERT (item, n) VALUES (d.item, DEFAULT);
MERGE INTO stock s USING (SELECT 'date' AS item) d ON s.item = d.item WHEN NOT MATCHED THEN INSERT (item, n) VALUES (d.item, 4);
WITH src AS (SELECT 'pear' AS item, 10 AS n) MERGE INTO stock s USING src ON s.item = src.item WHEN MATCHED THEN UPDATE SET n = src.n;
SELECT * FROM stock ORDER BY item;
--# with: 50 | fifty | 5
--# with: 51 | NULL | NULL
--# with: 50 | again | 5
INSERT INTO t (id, k, v) VALUES ($1, $2, $3);
--# with: 50 | 6
UPDATE t SET v = $2 WHERE id = $1 RETURNING id, k, v;
--# with: 51
--# with: 52
DELETE FROM t WHERE id = $1 RETURNING *;
--# with: 53 | x
INSERT INTO t (id, k) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET v = t.v + 1 RETURNING v;
--# with: 54 | 2024-02-29 12:00+01
INSERT INTO t (id, at) VALUES ($1, $2) RETURNING at;
--# with: 55 | not a time
INSERT INTO t (id, at) VALUES ($1, $2) RETURNING at;
--# rows: 2
INSERT INTO t (id) VALUES (70), (71), (72) RETURNING id;
--# rows: 1
UPDATE t SET v = 0 WHERE id > 69;
SELECT count(*) FROM t WHERE id >= 70;
CREATE TABLE nokey (a int, b text);
INSERT INTO nokey VALUES (1, 'x'), (1, 'x'), (2, NULL), (NULL, NULL);
UPDATE nokey SET b = 'y' WHERE a = 1;
DELETE FROM nokey WHERE a = 1 RETURNING *;
SELECT * FROM nokey ORDER BY a;
DELETE FROM nokey WHERE a IS NULL;
INSERT INTO nokey SELECT g, repeat('z', g) FROM generate_series(1, 500) g;
SELECT count(*), sum(a), sum(length(b)) FROM nokey;
UPDATE nokey SET a = a % 10;
DELETE FROM nokey WHERE a > 5;
SELECT a, count(*) FROM nokey GROUP BY a ORDER BY a;
CREATE TABLE part (k int, region text, v numeric, PRIMARY KEY (k, region)) PARTITION BY LIST (region);
CREATE TABLE part_eu PARTITION OF part FOR VALUES IN ('de', 'fr');
CREATE TABLE part_us PARTITION OF part FOR VALUES IN ('us') PARTITION BY RANGE (k);
CREATE TABLE part_us_1 PARTITION OF part_us FOR VALUES FROM (0) TO (10);
CREATE TABLE part_us_2 PARTITION OF part_us FOR VALUES FROM (10) TO (MAXVALUE);
INSERT INTO part VALUES (1, 'de', 1), (2, 'us', 2), (20, 'us', 3) RETURNING *;
INSERT INTO part VALUES (1, 'xx', 1);
INSERT INTO part VALUES (-1, 'us', 1);
INSERT INTO part_eu VALUES (1, 'us', 1);
CREATE TABLE part_bad PARTITION OF part FOR VALUES IN ('de');
CREATE TABLE part_rest PARTITION OF part DEFAULT;
INSERT INTO part VALUES (3, 'xx', 9);
CREATE TABLE part_xx PARTITION OF part FOR VALUES IN ('xx');
UPDATE part SET region = 'us' WHERE k = 1 RETURNING *;
UPDATE part SET k = k + 10 WHERE region = 'us';
SELECT * FROM part ORDER BY k, region;
SELECT count(*) FROM part_us_1;
INSERT INTO part VALUES (3, 'xx', 1) ON CONFLICT (k, region) DO UPDATE SET v = part.v + 1 RETURNING v;
ALTER TABLE part DETACH PARTITION part_rest;
SELECT count(*) FROM part;
ALTER TABLE part ATTACH PARTITION part_rest FOR VALUES IN ('yy');
ALTER TABLE part ATTACH PARTITION part_rest FOR VALUES IN ('xx', 'yy');
CREATE INDEX ON part (v);
CREATE TABLE hashed (id int, v text) PARTITION BY HASH (id);
CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO hashed SELECT g, 'h' || g FROM generate_series(1, 20) g;
SELECT count(*) FROM hashed_0;
DELETE FROM hashed WHERE id % 2 = 0;
TRUNCATE part_us;
SELECT count(*) FROM part;
DROP TABLE part;
