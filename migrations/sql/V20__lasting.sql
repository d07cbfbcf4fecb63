-- What an EXCEPTION block takes back was reported all the same: a notice has left before the block fails. So each
-- report tells how many reports before it still hold, and after a statement `steel.journal()` tells how many do then.
-- Reports are a stack: whoever reads them drops those above the number that the next one begins with.
--
-- The count lies in a setting, since what ends with a subtransaction is to take it back, however deep. It must be one that no
-- client can set, so it is one of PostgreSQL's own for superusers; this one is looked at when a session starts and never again,
-- and only superusers can read it. RESET ALL, which anybody may say, empties it: that is told from
-- a count taken back because a count begins at a number of chance, never at nothing.

-- These two run in every transaction. A SET clause would cost more than all the rest, so every name and operator is qualified.
CREATE FUNCTION steel.open_journal() RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
AS $$
DECLARE
    -- 62 bits of chance; the sums of 2^61 reports have room.
    begun pg_catalog.text := pg_catalog.set_config('session_preload_libraries',
        (pg_catalog.uuid_hash_extended(steel.orig_gen_random_uuid(), 0) OPERATOR(pg_catalog.>>) 2)::pg_catalog.text, true);
BEGIN
END
$$;

-- Where the count stands: NULL where none was begun, or RESET ALL ended it.
CREATE FUNCTION steel.journal() RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER
AS $$
DECLARE
    number pg_catalog.text := pg_catalog.current_setting('session_preload_libraries');
BEGIN
    IF pg_catalog.octet_length(number) OPERATOR(pg_catalog.>) 0 THEN
        RETURN number::pg_catalog.int8;
    END IF;
    RETURN NULL;
END
$$;

-- The end of a report: its number. A session without a count (one of the replica's own) says nothing of it. Assignments,
-- since plpgsql evaluates them without a query.
CREATE FUNCTION steel.number() RETURNS text
    LANGUAGE plpgsql
AS $$
DECLARE
    number text := current_setting('session_preload_libraries');
BEGIN
    IF number <> '' THEN
        number := ',"at":' || set_config('session_preload_libraries', (number::bigint + 1)::text, true);
    END IF;
    RETURN number || '}';
END
$$;

CREATE OR REPLACE FUNCTION steel.report_rows(relation text, kind text, o text[], n text[], last boolean) RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    RAISE NOTICE USING ERRCODE = 'ST001', MESSAGE =
        steel.token() || ' {"e":"rows","t":' || to_json(relation)::text || ',"k":"' || kind
        || '","o":' || array_to_json(o)::text || ',"n":' || array_to_json(n)::text
        || CASE WHEN last THEN ',"last":true' ELSE ',"last":false' END || steel.number();
END
$$;

CREATE OR REPLACE FUNCTION steel.report_truncate(relation text) RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    RAISE NOTICE USING ERRCODE = 'ST001', MESSAGE =
        steel.token() || ' {"e":"truncate","t":' || to_json(relation)::text || steel.number();
END
$$;

CREATE OR REPLACE FUNCTION steel.report_ddl(tag text, object text, digest text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    RAISE NOTICE USING ERRCODE = 'ST001', MESSAGE =
        steel.token() || ' {"e":"ddl","tag":' || to_json(tag)::text || ',"o":' || coalesce(to_json(object)::text, 'null')
        || coalesce(',"d":"' || digest || '"', '') || steel.number();
END
$$;

-- No block takes a position back, but for that of a sequence which it made or altered.
CREATE OR REPLACE FUNCTION steel.report_setval(sequence regclass, value bigint, called boolean) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
    SET client_encoding = 'UTF8'
    SET quote_all_identifiers = off
AS $$
DECLARE
    stands boolean;
BEGIN
    IF called THEN
        stands := value = steel.orig_currval(sequence);
    ELSE
        EXECUTE format('SELECT last_value = $1 AND NOT is_called FROM %s', sequence) INTO stands USING value;
    END IF;
    IF stands AND sequence::text !~ '^pg_temp' THEN
        RAISE NOTICE USING ERRCODE = 'ST001', MESSAGE =
            steel.token() || ' {"e":"setval","s":' || to_json(sequence::text)::text || ',"v":' || value
            || ',"called":' || called::text || steel.number();
    END IF;
END
$$;

-- An error that the replica has to say, raised by PostgreSQL so that it fails the transaction as any other.
CREATE FUNCTION steel.refuse(sqlstate text, message text, hint text) RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = refuse.sqlstate, MESSAGE = refuse.message, HINT = refuse.hint;
END
$$;

REVOKE ALL ON FUNCTION steel.open_journal(), steel.journal(), steel.number(), steel.refuse(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steel.open_journal(), steel.journal(), steel.refuse(text, text, text) TO PUBLIC;
ALTER EXTENSION plpgsql ADD FUNCTION steel.open_journal();
ALTER EXTENSION plpgsql ADD FUNCTION steel.journal();
ALTER EXTENSION plpgsql ADD FUNCTION steel.number();
ALTER EXTENSION plpgsql ADD FUNCTION steel.refuse(text, text, text);
