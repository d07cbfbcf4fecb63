-- SELECT in all its forms: joins, grouping, windows, set operations, CTEs, subqueries, ordering, limits.
CREATE TABLE emp (id int PRIMARY KEY, name text, dept int, salary numeric, hired date, boss int);
CREATE TABLE dept (id int PRIMARY KEY, title text, budget numeric);
INSERT INTO dept VALUES (1, 'dev', 1000), (2, 'ops', 500), (3, 'hr', NULL), (4, 'empty', 10);
INSERT INTO emp VALUES (1, 'ann', 1, 100, '2020-01-01', NULL), (2, 'bob', 1, 80, '2021-05-05', 1), (3, 'cid', 2, 80, '2019-03-03', 1), (4, 'dee', 2, NULL, '2022-02-02', 3), (5, 'eve', NULL, 60, '2023-01-01', 3), (6, 'fay', 3, 120, NULL, 1);
SELECT * FROM emp ORDER BY id;
SELECT e.name, d.title FROM emp e JOIN dept d ON d.id = e.dept ORDER BY e.id;
SELECT e.name, d.title FROM emp e LEFT JOIN dept d ON d.id = e.dept ORDER BY e.id;
SELECT e.name, d.title FROM emp e RIGHT JOIN dept d ON d.id = e.dept ORDER BY d.id, e.id;
SELECT e.name, d.title FROM emp e FULL JOIN dept d ON d.id = e.dept ORDER BY e.id, d.id;
SELECT count(*) FROM emp CROSS JOIN dept;
SELECT e.name, b.name AS boss FROM emp e JOIN emp b ON e.boss = b.id ORDER BY 1;
SELECT * FROM emp NATURAL JOIN dept;
SELECT id, name, title FROM emp JOIN dept USING (id) ORDER BY id;
SELECT * FROM (SELECT 1 AS a) x JOIN (SELECT 1 AS a, 2 AS b) y USING (a) AS j;
SELECT id FROM emp, dept;
SELECT emp.id, nothing FROM emp;
SELECT x.id FROM emp;
SELECT name FROM emp e WHERE emp.id = 1;
SELECT * FROM emp e JOIN dept e ON true;
SELECT dept, count(*), sum(salary), avg(salary), min(hired), max(name) FROM emp GROUP BY dept ORDER BY dept;
SELECT dept, name FROM emp GROUP BY dept;
SELECT name FROM emp WHERE count(*) > 1;
SELECT sum(count(*)) FROM emp;
SELECT dept FROM emp GROUP BY dept HAVING count(*) > 1 ORDER BY 1;
SELECT dept, boss, count(*), grouping(dept, boss) FROM emp GROUP BY GROUPING SETS ((dept), (boss), ()) ORDER BY 1, 2, 3;
SELECT dept, boss, count(*) FROM emp GROUP BY ROLLUP (dept, boss) ORDER BY 1, 2, 3;
SELECT dept, boss, count(*) FROM emp GROUP BY CUBE (dept, boss) ORDER BY 1, 2, 3;
SELECT DISTINCT dept FROM emp ORDER BY dept NULLS FIRST;
SELECT DISTINCT ON (dept) dept, name FROM emp ORDER BY dept, salary DESC NULLS LAST;
SELECT DISTINCT ON (dept) dept, name FROM emp ORDER BY name;
SELECT count(DISTINCT salary), count(salary), count(*), sum(DISTINCT salary) FROM emp;
SELECT name, salary FROM emp ORDER BY salary DESC NULLS LAST, name;
SELECT name FROM emp ORDER BY length(name), name DESC;
SELECT name FROM emp ORDER BY 5;
SELECT name AS n FROM emp ORDER BY n LIMIT 2;
SELECT name FROM emp ORDER BY id LIMIT 2 OFFSET 3;
SELECT name FROM emp ORDER BY id LIMIT ALL OFFSET 4;
SELECT name FROM emp ORDER BY id LIMIT -1;
SELECT name FROM emp ORDER BY id LIMIT NULL;
SELECT salary FROM emp ORDER BY salary FETCH FIRST 1 ROW WITH TIES;
SELECT salary FROM emp FETCH FIRST 1 ROW WITH TIES;
SELECT id, row_number() OVER (ORDER BY salary DESC NULLS LAST, id), rank() OVER (ORDER BY salary), dense_rank() OVER (ORDER BY salary) FROM emp ORDER BY id;
SELECT id, sum(salary) OVER (PARTITION BY dept ORDER BY id), lag(name) OVER (ORDER BY id), lead(name, 2, 'none') OVER (ORDER BY id) FROM emp ORDER BY id;
SELECT id, first_value(name) OVER w, last_value(name) OVER w, nth_value(name, 2) OVER w, ntile(3) OVER (ORDER BY id) FROM emp WINDOW w AS (PARTITION BY dept ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) ORDER BY id;
SELECT id, avg(id) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW), sum(id) OVER (ORDER BY salary RANGE BETWEEN 20 PRECEDING AND CURRENT ROW), count(*) OVER (ORDER BY dept GROUPS 1 PRECEDING) FROM emp ORDER BY id;
SELECT percent_rank() OVER (ORDER BY salary), cume_dist() OVER (ORDER BY salary) FROM emp ORDER BY 1, 2;
SELECT row_number() OVER () FROM emp WHERE row_number() OVER () > 1;
SELECT sum(salary) OVER (ORDER BY id ROWS -1 PRECEDING) FROM emp;
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY salary), percentile_disc(ARRAY[0.25, 0.75]) WITHIN GROUP (ORDER BY salary), mode() WITHIN GROUP (ORDER BY salary), rank(80) WITHIN GROUP (ORDER BY salary) FROM emp;
SELECT count(*) FILTER (WHERE dept = 1), sum(salary) FILTER (WHERE hired > '2020-06-01') FROM emp;
SELECT string_agg(name, ', ' ORDER BY name), array_agg(id ORDER BY id DESC), json_agg(name ORDER BY id), bool_or(dept = 3), every(id > 0) FROM emp;
SELECT 1 UNION SELECT 2 UNION SELECT 1 ORDER BY 1;
SELECT 1 AS a UNION ALL SELECT 1 UNION ALL SELECT NULL ORDER BY a NULLS FIRST;
SELECT dept FROM emp INTERSECT SELECT id FROM dept ORDER BY 1;
SELECT id FROM dept EXCEPT SELECT dept FROM emp ORDER BY 1;
(SELECT id FROM emp ORDER BY id LIMIT 2) UNION ALL (SELECT id FROM dept ORDER BY id DESC LIMIT 1) ORDER BY 1;
SELECT 1 UNION SELECT 'a';
SELECT 1, 2 UNION SELECT 1;
SELECT 1 UNION SELECT 2.5 ORDER BY 1;
VALUES (1, 'a'), (2, 'b') ORDER BY 1 DESC;
VALUES (1), (2, 3);
TABLE dept;
SELECT * FROM (VALUES (1, 'x'), (2, 'y')) AS v(n, t) WHERE n > 1;
WITH d AS (SELECT * FROM dept WHERE budget > 100) SELECT name, title FROM emp JOIN d ON d.id = dept ORDER BY 1;
WITH a AS (SELECT 1 AS x), b AS (SELECT x + 1 AS y FROM a) SELECT * FROM a, b;
WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT sum(n), max(n) FROM t;
WITH RECURSIVE chain AS (SELECT id, name, boss, 1 AS level FROM emp WHERE boss IS NULL UNION ALL SELECT e.id, e.name, e.boss, level + 1 FROM emp e JOIN chain c ON e.boss = c.id) SELECT * FROM chain ORDER BY level, id;
WITH RECURSIVE g(a, b) AS (VALUES (1, 2), (2, 1)), walk AS (SELECT a, b FROM g WHERE a = 1 UNION ALL SELECT g.a, g.b FROM g JOIN walk w ON g.a = w.b) CYCLE a SET looped USING path SELECT a, b, looped FROM walk ORDER BY 1, 2, 3;
WITH RECURSIVE t AS (SELECT id, boss FROM emp WHERE boss IS NULL UNION ALL SELECT e.id, e.boss FROM emp e JOIN t ON e.boss = t.id) SEARCH DEPTH FIRST BY id SET o SELECT id FROM t ORDER BY o;
WITH t AS MATERIALIZED (SELECT 1 AS a) SELECT * FROM t;
WITH t AS NOT MATERIALIZED (SELECT 1 AS a) SELECT * FROM t;
WITH t AS (SELECT 1) SELECT * FROM t, t;
WITH t AS (SELECT 1), t AS (SELECT 2) SELECT * FROM t;
SELECT name FROM emp WHERE salary > (SELECT avg(salary) FROM emp) ORDER BY 1;
SELECT name FROM emp e WHERE EXISTS (SELECT 1 FROM emp x WHERE x.boss = e.id) ORDER BY 1;
SELECT name FROM emp WHERE dept IN (SELECT id FROM dept WHERE budget IS NOT NULL) ORDER BY 1;
SELECT name FROM emp WHERE dept NOT IN (SELECT id FROM dept WHERE id < 3) ORDER BY 1;
SELECT name FROM emp WHERE salary >= ALL (SELECT salary FROM emp WHERE salary IS NOT NULL);
SELECT (SELECT count(*) FROM emp e WHERE e.dept = d.id) AS n, title FROM dept d ORDER BY id;
SELECT (SELECT id FROM emp);
SELECT (SELECT id, name FROM emp LIMIT 1);
SELECT ARRAY(SELECT id FROM emp ORDER BY id);
SELECT d.title, l.name FROM dept d, LATERAL (SELECT name FROM emp WHERE dept = d.id ORDER BY salary DESC NULLS LAST LIMIT 1) l ORDER BY 1;
SELECT d.title, l.name FROM dept d LEFT JOIN LATERAL (SELECT name FROM emp WHERE dept = d.id ORDER BY id LIMIT 1) l ON true ORDER BY 1;
SELECT CASE WHEN salary > 90 THEN 'high' WHEN salary IS NULL THEN 'none' ELSE 'low' END AS class, count(*) FROM emp GROUP BY 1 ORDER BY 1;
SELECT CASE dept WHEN 1 THEN 'one' ELSE dept::text END FROM emp ORDER BY id;
SELECT CASE WHEN true THEN 1 ELSE 'a' END;
SELECT id, id * 2 AS double, name || '!' AS "Loud Name", 1 AS "1", NULL AS empty FROM emp WHERE id = 1;
SELECT 1 AS a, 2 AS a, 3;
SELECT emp.*, dept.title FROM emp, dept WHERE emp.dept = dept.id AND emp.id < 3 ORDER BY 1;
SELECT emp FROM emp WHERE id = 1;
SELECT (emp).name, (emp.*) IS NOT NULL FROM emp WHERE id = 1;
SELECT name FROM emp WHERE hired BETWEEN '2020-01-01' AND '2021-12-31' ORDER BY 1;
SELECT name FROM emp WHERE hired BETWEEN SYMMETRIC '2021-12-31' AND '2020-01-01' ORDER BY 1;
SELECT name FROM emp WHERE name LIKE '_e%' OR name ILIKE 'A%' ORDER BY 1;
SELECT name FROM emp WHERE (dept, boss) IN ((1, 1), (2, 3)) ORDER BY 1;
SELECT name FROM emp WHERE (dept, salary) > (1, 90) ORDER BY 1;
SELECT * FROM generate_series(1, 3) WITH ORDINALITY AS g(v, n);
SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY['a', 'b', 'c'])) AS r(n, t);
SELECT id FROM emp TABLESAMPLE SYSTEM (100) ORDER BY id;
SELECT id FROM emp TABLESAMPLE BERNOULLI (100) REPEATABLE (1) ORDER BY id;
SELECT id FROM emp TABLESAMPLE BERNOULLI (200);
SELECT FROM emp;
SELECT;
SELECT count(*) FROM (SELECT FROM emp) e;
SELECT nothing();
SELECT abs('x', 1);
SELECT lower(1);
SELECT 1 + 'a';
SELECT 1 + true;
SELECT * FROM nowhere;
SELECT * FROM nowhere.emp;
--# differs: the end of a statement
SELECT * FROM;
--# differs: the end of a statement
SELECT 1 FROM emp WHERE;
SELEKT 1;
SELECT 'a;
SELECT (1;
SELECT 1 2;
--# differs: a parameter without a value
SELECT $1;
SELECT * FROM emp WHERE id = 'x';
SELECT * FROM emp WHERE name = 5;
SELECT id FROM emp ORDER BY nothing;
SELECT id, FROM emp;
SELECT current_user, session_user, current_schema, current_database(), current_catalog;
SELECT version() LIKE 'PostgreSQL %', current_setting('server_version_num')::int >= 150000;
SELECT current_setting('nothing.here');
SELECT current_setting('nothing.here', true);
SELECT has_table_privilege('emp', 'SELECT'), has_schema_privilege(current_schema, 'CREATE');
SELECT id FROM emp ORDER BY id FOR UPDATE;
SELECT id FROM emp WHERE id = 1 FOR SHARE;
SELECT id FROM emp WHERE id < 3 ORDER BY id FOR NO KEY UPDATE NOWAIT;
SELECT e.id FROM emp e JOIN dept d ON d.id = e.dept WHERE e.id = 1 FOR UPDATE OF e;
SELECT count(*) FROM emp FOR UPDATE;
SELECT DISTINCT dept FROM emp FOR UPDATE;
SELECT id FROM emp FOR UPDATE OF nowhere;
EXPLAIN (COSTS OFF) SELECT * FROM dept WHERE id = 1;
EXPLAIN (COSTS OFF, FORMAT JSON) SELECT 1;
EXPLAIN (NONSENSE) SELECT 1;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT 1;
--# with: 1
--# with: 99
SELECT name, salary FROM emp WHERE id = $1;
--# with: {1,2} | 80
SELECT name FROM emp WHERE dept = ANY ($1) AND salary >= $2 ORDER BY name;
--# with: 2 | 1
--# with: NULL | NULL
SELECT name FROM emp ORDER BY id LIMIT $1 OFFSET $2;
--# with: a%
SELECT name FROM emp WHERE name LIKE $1;
--# with: 1 | x
SELECT $1::int AS n, $2 AS t UNION ALL SELECT 2, 'y' ORDER BY n;
--# differs: the name of a prepared statement
--# with: 1
SELECT * FROM emp WHERE id = $1 AND id = $2;
--# differs: the name of a prepared statement
--# with: 1 | 2 | 3
SELECT * FROM emp WHERE id = $1;
--# with: abc
SELECT name FROM emp WHERE id = $1;
--# with: 2020-01-01
SELECT count(*) FROM emp WHERE hired > $1;
--# rows: 2
SELECT id, name FROM emp ORDER BY id;
--# rows: 10
SELECT id FROM emp WHERE id < 3 ORDER BY id;
--# rows: 3
SELECT id FROM emp WHERE id <= 3 ORDER BY id;
--# differs: portals
--# rows: 1
SELECT 10 / (3 - g) FROM generate_series(1, 4) g;
