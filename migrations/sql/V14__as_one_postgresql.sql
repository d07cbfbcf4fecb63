-- What one PostgreSQL does and the functions above did not, found by the differential test.

-- A materialized view WITH NO DATA has no contents to report.
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
    -- WITH NO DATA: PostgreSQL refuses to read it.
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

-- nextval of a sequence at its end fails at the master before it has a value to record: a follower whose sequence stands
-- there too says the same.
CREATE FUNCTION steel.refuse_exhausted(sequence regclass) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $$
DECLARE
    q record;
    last bigint;
    called boolean;
BEGIN
    SELECT s.seqcycle, s.seqincrement, s.seqmax, s.seqmin, c.relname INTO q
      FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid WHERE s.seqrelid = sequence;
    EXECUTE format('SELECT last_value, is_called FROM %s', sequence) INTO last, called;
    IF q.seqcycle OR NOT called THEN
        RETURN;
    END IF;
    -- In numeric: the sum may be past the end of bigint.
    IF q.seqincrement > 0 AND last::numeric + q.seqincrement > q.seqmax THEN
        RAISE EXCEPTION 'nextval: reached maximum value of sequence "%" (%)', q.relname, q.seqmax
            USING ERRCODE = '2200H';
    ELSIF q.seqincrement < 0 AND last::numeric + q.seqincrement < q.seqmin THEN
        RAISE EXCEPTION 'nextval: reached minimum value of sequence "%" (%)', q.relname, q.seqmin
            USING ERRCODE = '2200H';
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION steel.replay_nextval(sequence regclass) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
    SET quote_all_identifiers = off
AS $$
DECLARE
    value bigint;
BEGIN
    IF sequence::text ~ '^pg_temp' THEN
        RETURN steel.orig_nextval(sequence);
    END IF;
    value := steel.take_value(sequence);
    IF value IS NULL THEN
        PERFORM steel.refuse_exhausted(sequence);
        RAISE EXCEPTION 'no recorded value is left for sequence %', sequence
            USING ERRCODE = 'ST002';
    END IF;
    RETURN value;
END
$$;

REVOKE ALL ON FUNCTION steel.refuse_exhausted(regclass) FROM PUBLIC;
ALTER EXTENSION plpgsql ADD FUNCTION steel.refuse_exhausted(regclass);
