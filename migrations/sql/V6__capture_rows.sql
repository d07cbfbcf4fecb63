-- Row changes, reported by AFTER ... FOR EACH STATEMENT triggers over the transition tables.
--
-- A report is a NOTICE of SQLSTATE ST001 whose message is the token and one JSON object. Every trigger function is
-- SECURITY DEFINER (it reads the token) and fixes each setting that changes how a row is written, or whether the notice
-- is sent at all. record_out() and not a cast: a client may own a cast from its row type to text, and it would
-- run as steel. The transition tables are read as `name.*`, which no column of the table can shadow.
--
-- The three functions differ in their tables only: plpgsql plans a static query per table, and dynamic SQL would
-- cost each statement a parse and a plan.

-- One notice holds 500 rows or 256 kB of text, whichever comes first; a single row may be longer.
CREATE FUNCTION steel.full(count bigint, bytes bigint) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    RETURN count >= 500 OR bytes >= 262144;

CREATE FUNCTION steel.report_rows(relation text, kind text, o text[], n text[], last boolean) RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    RAISE NOTICE USING ERRCODE = 'ST001', MESSAGE =
        steel.token() || ' {"e":"rows","t":' || to_json(relation)::text || ',"k":"' || kind
        || '","o":' || array_to_json(o)::text || ',"n":' || array_to_json(n)::text
        || CASE WHEN last THEN ',"last":true}' ELSE ',"last":false}' END;
END
$$;

CREATE FUNCTION steel.capture_insert() RETURNS trigger
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
    FOR line IN SELECT record_out(steel_new.*)::text FROM steel_new LOOP
        IF steel.full(held, bytes) THEN
            PERFORM steel.report_rows(relation, 'I', o, n, false);
            o := '{}'; n := '{}'; held := 0; bytes := 0;
        END IF;
        n := array_append(n, line);
        held := held + 1;
        bytes := bytes + octet_length(line);
    END LOOP;
    IF held > 0 THEN
        PERFORM steel.report_rows(relation, 'I', o, n, true);
    END IF;
    RETURN NULL;
END
$$;

-- Old and new rows are in the same order: the i-th old row became the i-th new one.
CREATE FUNCTION steel.capture_update() RETURNS trigger
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

CREATE FUNCTION steel.capture_delete() RETURNS trigger
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

CREATE FUNCTION steel.capture_truncate() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
    SET client_encoding = 'UTF8'
    SET quote_all_identifiers = off
AS $$
BEGIN
    PERFORM steel.report_truncate(quote_ident(TG_TABLE_SCHEMA) || '.' || quote_ident(TG_TABLE_NAME));
    RETURN NULL;
END
$$;

CREATE FUNCTION steel.report_truncate(relation text) RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    RAISE NOTICE USING ERRCODE = 'ST001', MESSAGE =
        steel.token() || ' {"e":"truncate","t":' || to_json(relation)::text || '}';
END
$$;
