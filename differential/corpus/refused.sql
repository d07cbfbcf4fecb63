-- What SteelDB refuses, and by which rule of docs/sql-support.md.
--# refused: PREPARE TRANSACTION
PREPARE TRANSACTION 'x';
--# refused: PREPARE TRANSACTION
COMMIT PREPARED 'x';
--# refused: PREPARE TRANSACTION
ROLLBACK PREPARED 'x';
--# refused: EXECUTE with arguments that are no constants
EXECUTE q (1 + 1);
--# refused: in EXPLAIN or CREATE TABLE AS
EXPLAIN EXECUTE q;
--# refused: in EXPLAIN or CREATE TABLE AS
CREATE TABLE x AS EXECUTE q;
--# refused: LISTEN, NOTIFY
LISTEN channel;
--# refused: LISTEN, NOTIFY
NOTIFY channel, 'x';
--# refused: LISTEN, NOTIFY
UNLISTEN *;
--# refused: `pg_notify`
SELECT pg_notify('a', 'b');
--# refused: advisory locks
SELECT pg_advisory_lock(1);
--# refused: advisory locks
SELECT pg_try_advisory_xact_lock(1, 2);
--# refused: SKIP LOCKED
SELECT * FROM pg_class FOR UPDATE SKIP LOCKED;
--# refused: temporary and UNLOGGED tables
CREATE TEMP TABLE x (id int);
--# refused: temporary and UNLOGGED tables
CREATE TEMPORARY VIEW x AS SELECT 1;
--# refused: temporary and UNLOGGED tables
CREATE UNLOGGED TABLE x (id int);
--# refused: temporary and UNLOGGED tables
SELECT 1 AS a INTO TEMP x;
--# refused: temporary and UNLOGGED tables
CREATE TABLE pg_temp.x (id int);
--# refused: cursors WITH HOLD
DECLARE c CURSOR WITH HOLD FOR SELECT 1;
--# refused: COPY with files or PROGRAM
COPY pg_class TO '/tmp/x';
--# refused: COPY with files or PROGRAM
COPY pg_class FROM '/tmp/x';
--# refused: COPY with files or PROGRAM
COPY pg_class TO PROGRAM 'cat';
--# refused: `pg_read_file`
SELECT pg_read_file('/etc/passwd');
--# refused: `pg_read_file`
SELECT pg_ls_dir('.');
--# refused: large objects
SELECT lo_create(0);
--# refused: databases, tablespaces, extensions
CREATE DATABASE x;
--# refused: databases, tablespaces, extensions
DROP DATABASE x;
--# refused: databases, tablespaces, extensions
CREATE TABLESPACE x LOCATION '/tmp';
--# refused: databases, tablespaces, extensions
CREATE EXTENSION hstore;
--# refused: languages, access methods
CREATE LANGUAGE plpython3u;
--# refused: roles and role membership
CREATE ROLE x;
--# refused: roles and role membership
CREATE USER x PASSWORD 'y';
--# refused: roles and role membership
ALTER ROLE postgres SET work_mem = '1MB';
--# refused: roles and role membership
DROP ROLE x;
--# refused: roles and role membership
GRANT pg_monitor TO postgres;
--# refused: SET ROLE
SET ROLE pg_monitor;
--# refused: SET ROLE
SET SESSION AUTHORIZATION postgres;
--# refused: ALTER SYSTEM
ALTER SYSTEM SET work_mem = '1MB';
--# refused: LOAD, CHECKPOINT
LOAD 'x';
--# refused: LOAD, CHECKPOINT
CHECKPOINT;
--# refused: functions in languages other than sql and plpgsql
CREATE FUNCTION x() RETURNS int LANGUAGE c AS 'x';
--# refused: event triggers, publications, subscriptions
CREATE EVENT TRIGGER x ON ddl_command_start EXECUTE FUNCTION y();
--# refused: event triggers, publications, subscriptions
CREATE PUBLICATION x;
--# refused: event triggers, publications, subscriptions
CREATE SUBSCRIPTION x CONNECTION '' PUBLICATION y;
--# refused: foreign data, dblink
CREATE SERVER x FOREIGN DATA WRAPPER y;
--# refused: foreign data, dblink
IMPORT FOREIGN SCHEMA x FROM SERVER y INTO z;
--# refused: ENABLE ALWAYS/REPLICA
ALTER TABLE x ENABLE ALWAYS TRIGGER y;
--# refused: special literals that DDL would store
CREATE TABLE x (at timestamp DEFAULT 'now'::timestamp);
--# refused: special literals with more in them
SELECT 'today 12:00'::timestamp;
--# refused: `CURRENT_DATE` and its like as a table
SELECT * FROM current_date;
--# refused: process numbers, transaction numbers
INSERT INTO x VALUES (pg_backend_pid());
--# refused: process numbers, transaction numbers
INSERT INTO x VALUES (1) RETURNING ctid;
--# refused: `standard_conforming_strings = off`
SET standard_conforming_strings = off;
--# refused: client encodings but UTF8
SET client_encoding = 'LATIN1';
--# refused: the schema `steel`
SELECT * FROM steel.applied;
--# refused: settings `steel.…`
SET steel.anything = 1;
--# refused: `session_replication_role`
SET session_replication_role = replica;
--# refused: `SET TRANSACTION SNAPSHOT`
SELECT pg_export_snapshot();
