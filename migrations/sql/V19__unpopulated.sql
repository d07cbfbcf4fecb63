-- A materialized view WITH NO DATA has no contents to be reported, and refuses to be read: only that it is empty is told.
CREATE OR REPLACE FUNCTION steel.report_contents(relation oid) RETURNS void
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
    name text := (SELECT quote_ident(s.nspname) || '.' || quote_ident(c.relname)
                    FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace WHERE c.oid = relation);
    line text;
    n text[] := '{}';
    held bigint := 0;
    bytes bigint := 0;
BEGIN
    PERFORM steel.report_truncate(name);
    IF NOT (SELECT c.relispopulated FROM pg_class c WHERE c.oid = relation) THEN
        RETURN;
    END IF;
    FOR line IN EXECUTE format('SELECT record_out(steel_new.*)::text FROM ONLY %s AS steel_new', name) LOOP
        IF steel.full(held, bytes) THEN
            PERFORM steel.report_rows(name, 'I', '{}', n, false);
            n := '{}'; held := 0; bytes := 0;
        END IF;
        n := array_append(n, line);
        held := held + 1;
        bytes := bytes + octet_length(line);
    END LOOP;
    IF held > 0 THEN
        PERFORM steel.report_rows(name, 'I', '{}', n, true);
    END IF;
END
$$;
