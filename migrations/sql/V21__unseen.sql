-- What capture did not see: rows of children that a statement changes by their parent's name, and objects whose contents no other
-- replica has, or no restart keeps.

-- A client's object that would live in one session, or lose its rows when one server is killed. Whoever asks: SQL that a function
-- builds at run time passes by the proxy. Functions and types of pg_temp are a session's own as tables are. The temporary table in which
-- REFRESH MATERIALIZED VIEW CONCURRENTLY compares is among no event trigger's commands.
CREATE FUNCTION steel.refuse_unseen(class oid, object oid, schema text, name text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF schema = 'pg_temp' THEN
        RAISE EXCEPTION 'the temporary object % is not supported by SteelDB', name
            USING ERRCODE = '0A000', HINT = 'Use an ordinary table, a CTE (WITH …), or an array.';
    END IF;
    IF class = 'pg_class'::regclass
       AND EXISTS (SELECT FROM pg_class c WHERE c.oid = object AND c.relpersistence = 'u') THEN
        RAISE EXCEPTION 'the unlogged relation % is not supported by SteelDB', name
            USING ERRCODE = '0A000', HINT = 'Leave out UNLOGGED: a crash would empty it at one replica only.';
    END IF;
END
$$;

-- A statement that names a table with children changes their rows too, but its transition tables hold the parent's columns only, and
-- not whose rows they are. So tables that inherit from others, and those others, report UPDATE and DELETE row by row,
-- each of the table that holds it. (Partitions have their parent's columns, and go by its name: see V9.)
CREATE FUNCTION steel.trees() RETURNS SETOF oid
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
        SELECT DISTINCT m.relation
          FROM pg_inherits h
          JOIN pg_class c ON c.oid = h.inhrelid AND c.relkind = 'r' AND NOT c.relispartition
          CROSS JOIN LATERAL (VALUES (h.inhrelid), (h.inhparent)) m(relation)
         WHERE steel.is_captured(m.relation);
END
$$;

-- Makes the row triggers where they are wanted, and drops them where they are not any more: what a table reports must not depend
-- on what it once was, which a copied database does not know. The statement triggers are told by an argument, which costs
-- nothing to look at; whoever caches a table's triggers hears of it by the CREATE or DROP that follows.
CREATE FUNCTION steel.protect_trees() RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    change record;
BEGIN
    FOR change IN
        SELECT relation, w.wanted IS NOT NULL AS wanted
          FROM (SELECT t AS relation, true AS wanted FROM steel.trees() t) w
          FULL JOIN (SELECT t.tgrelid AS relation, true AS there FROM pg_trigger t
                      WHERE t.tgfoid = 'steel.capture_row()'::regprocedure) h USING (relation)
         WHERE w.wanted IS NULL OR h.there IS NULL
         ORDER BY relation
    LOOP
        UPDATE pg_trigger
           SET tgnargs = change.wanted::integer,
               tgargs = CASE WHEN change.wanted THEN '\x7472656500'::bytea ELSE '' END
         WHERE tgrelid = change.relation AND tgname IN ('steel_capture_update', 'steel_capture_delete');
        IF change.wanted THEN
            EXECUTE format('CREATE TRIGGER steel_capture_row AFTER UPDATE OR DELETE ON %s FOR EACH ROW '
                           'EXECUTE FUNCTION steel.capture_row()', change.relation::regclass);
            PERFORM steel.hide_trigger(change.relation, 'steel_capture_row');
        ELSE
            EXECUTE format('DROP TRIGGER steel_capture_row ON %s', change.relation::regclass);
        END IF;
    END LOOP;
END
$$;

-- A row of a tree. Replicas may meet them in another order, so whoever reads them gathers those of one statement by table.
CREATE FUNCTION steel.report_row(relation text, kind text, o text[], n text[]) RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    RAISE NOTICE USING ERRCODE = 'ST001', MESSAGE =
        steel.token() || ' {"e":"rows","t":' || to_json(relation)::text || ',"k":"' || kind
        || '","o":' || array_to_json(o)::text || ',"n":' || array_to_json(n)::text || ',"row":true,"last":true' || steel.number();
END
$$;

CREATE FUNCTION steel.capture_row() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
    SET client_encoding = 'UTF8'
    SET DateStyle = 'ISO, YMD'
    SET IntervalStyle = postgres
    SET TimeZone = 'UTC'
    SET extra_float_digits = 1
    SET bytea_output = hex
    SET lc_monetary = 'C'
    SET quote_all_identifiers = off
AS $$
DECLARE
    relation text := quote_ident(TG_TABLE_SCHEMA) || '.' || quote_ident(TG_TABLE_NAME);
    o text[] := ARRAY[record_out(OLD)::text];
BEGIN
    IF TG_OP = 'UPDATE' THEN
        PERFORM steel.report_row(relation, 'U', o, ARRAY[record_out(NEW)::text]);
    ELSE
        PERFORM steel.report_row(relation, 'D', o, '{}');
    END IF;
    RETURN NULL;
END
$$;

-- As in V6, but for trees: their rows have been told, and what is left to tell is where the statement ends.
CREATE OR REPLACE FUNCTION steel.capture_update() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
    SET client_encoding = 'UTF8'
    SET DateStyle = 'ISO, YMD'
    SET IntervalStyle = postgres
    SET TimeZone = 'UTC'
    SET extra_float_digits = 1
    SET bytea_output = hex
    SET lc_monetary = 'C'
    SET quote_all_identifiers = off
AS $$
#variable_conflict use_column
DECLARE
    relation text := quote_ident(TG_TABLE_SCHEMA) || '.' || quote_ident(TG_TABLE_NAME);
    line text;
    o text[] := '{}';
    n text[] := '{}';
    held bigint := 0;
    bytes bigint := 0;
BEGIN
    IF TG_NARGS > 0 THEN
        PERFORM steel.report_rows(relation, 'U', o, o, true);
        RETURN NULL;
    END IF;
    FOR line IN SELECT record_out(steel_old.*)::text FROM steel_old LOOP
        IF steel.full(held, bytes) THEN
            PERFORM steel.report_rows(relation, 'U', o, n, false);
            o := '{}'; n := '{}'; held := 0; bytes := 0;
        END IF;
        o := array_append(o, line);
        held := held + 1;
        bytes := bytes + octet_length(line);
    END LOOP;
    FOR line IN SELECT record_out(steel_new.*)::text FROM steel_new LOOP
        IF steel.full(held, bytes) THEN
            PERFORM steel.report_rows(relation, 'U', o, n, false);
            o := '{}'; n := '{}'; held := 0; bytes := 0;
        END IF;
        n := array_append(n, line);
        held := held + 1;
        bytes := bytes + octet_length(line);
    END LOOP;
    IF held > 0 THEN
        PERFORM steel.report_rows(relation, 'U', o, n, true);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION steel.capture_delete() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
    SET client_encoding = 'UTF8'
    SET DateStyle = 'ISO, YMD'
    SET IntervalStyle = postgres
    SET TimeZone = 'UTC'
    SET extra_float_digits = 1
    SET bytea_output = hex
    SET lc_monetary = 'C'
    SET quote_all_identifiers = off
AS $$
#variable_conflict use_column
DECLARE
    relation text := quote_ident(TG_TABLE_SCHEMA) || '.' || quote_ident(TG_TABLE_NAME);
    line text;
    o text[] := '{}';
    n text[] := '{}';
    held bigint := 0;
    bytes bigint := 0;
BEGIN
    IF TG_NARGS > 0 THEN
        PERFORM steel.report_rows(relation, 'D', o, o, true);
        RETURN NULL;
    END IF;
    FOR line IN SELECT record_out(steel_old.*)::text FROM steel_old LOOP
        IF steel.full(held, bytes) THEN
            PERFORM steel.report_rows(relation, 'D', o, n, false);
            o := '{}'; n := '{}'; held := 0; bytes := 0;
        END IF;
        o := array_append(o, line);
        held := held + 1;
        bytes := bytes + octet_length(line);
    END LOOP;
    IF held > 0 THEN
        PERFORM steel.report_rows(relation, 'D', o, n, true);
    END IF;
    RETURN NULL;
END
$$;

SELECT steel.protect_trees();

REVOKE ALL ON FUNCTION steel.refuse_unseen(oid, oid, text, text), steel.trees(), steel.protect_trees(),
    steel.report_row(text, text, text[], text[]), steel.capture_row() FROM PUBLIC;

-- As in V13: pg_dump leaves out what belongs to an extension.
ALTER EXTENSION plpgsql ADD FUNCTION steel.refuse_unseen(oid, oid, text, text);
ALTER EXTENSION plpgsql ADD FUNCTION steel.trees();
ALTER EXTENSION plpgsql ADD FUNCTION steel.protect_trees();
ALTER EXTENSION plpgsql ADD FUNCTION steel.report_row(text, text, text[], text[]);
ALTER EXTENSION plpgsql ADD FUNCTION steel.capture_row();
