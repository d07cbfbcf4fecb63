-- Time inside a SteelDB transaction is the time of the batch that began it, given as steel.now.
--
-- The functions are replaced in place, so that views, defaults and qualified calls see them. Such a body
-- must be inlined, else the C function behind the same OID runs silently: no STRICT, no SET, no SECURITY
-- DEFINER, and no callee more volatile than the declaration. doctor() proves each.

CREATE FUNCTION steel.orig_now() RETURNS timestamptz
    LANGUAGE internal STABLE STRICT PARALLEL SAFE AS 'now';
CREATE FUNCTION steel.orig_statement_timestamp() RETURNS timestamptz
    LANGUAGE internal STABLE STRICT PARALLEL SAFE AS 'statement_timestamp';
CREATE FUNCTION steel.orig_clock_timestamp() RETURNS timestamptz
    LANGUAGE internal VOLATILE STRICT PARALLEL SAFE AS 'clock_timestamp';
CREATE FUNCTION steel.orig_timeofday() RETURNS text
    LANGUAGE internal VOLATILE STRICT PARALLEL SAFE AS 'timeofday';

-- A clock that moves one microsecond per look. A rollback to a savepoint turns it back, as it turns
-- back everything that the looks could have been stored in.
CREATE FUNCTION steel.clock() RETURNS timestamptz
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
DECLARE
    base text := pg_catalog.current_setting('steel.now', true);
    tick bigint;
BEGIN
    IF base IS NULL OR base OPERATOR(pg_catalog.=) '' THEN
        RETURN steel.orig_clock_timestamp();
    END IF;
    tick := ('0' OPERATOR(pg_catalog.||) coalesce(pg_catalog.current_setting('steel.clock', true), ''))::bigint
            OPERATOR(pg_catalog.+) 1;
    PERFORM pg_catalog.set_config('steel.clock', tick::text, true);
    RETURN base::timestamptz OPERATOR(pg_catalog.+)
           (tick::double precision OPERATOR(pg_catalog.*) '1 microsecond'::interval);
END
$$;

CREATE OR REPLACE FUNCTION pg_catalog.now() RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(nullif(current_setting('steel.now', true), '')::timestamptz, steel.orig_now());
CREATE OR REPLACE FUNCTION pg_catalog.transaction_timestamp() RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(nullif(current_setting('steel.now', true), '')::timestamptz, steel.orig_now());
CREATE OR REPLACE FUNCTION pg_catalog.statement_timestamp() RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(nullif(current_setting('steel.now', true), '')::timestamptz, steel.orig_statement_timestamp());
-- Not parallel: the clock's counter is a setting, and workers cannot move settings.
CREATE OR REPLACE FUNCTION pg_catalog.clock_timestamp() RETURNS timestamptz
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    RETURN steel.clock();
CREATE OR REPLACE FUNCTION pg_catalog.timeofday() RETURNS text
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    RETURN to_char(steel.clock(), 'Dy Mon DD HH24:MI:SS.US YYYY TZ');

-- Stock bodies of these two read CURRENT_DATE, a keyword that no function can stand in for.
CREATE OR REPLACE FUNCTION pg_catalog.age(timestamptz) RETURNS interval
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN age(CAST(CAST(now() AS date) AS timestamptz), $1);
CREATE OR REPLACE FUNCTION pg_catalog.age(timestamp) RETURNS interval
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN age(CAST(CAST(now() AS date) AS timestamp), $1);
