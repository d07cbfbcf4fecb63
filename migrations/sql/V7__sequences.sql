-- Sequences are not transactional, and two servers hand out different values. So the master's values are
-- recorded and the followers replay them, by the setting steel.mode:
--   record   nextval as ever, and each value is reported: {"e":"seq","s":"public.t_id_seq","v":17}
--   replay   nextval takes the next recorded value; the own sequence moves on to it, never back
--   other    as ever
-- Sequences of temporary tables are the session's own: as ever in every mode.
--
-- Recorded values lie in transaction-local settings, one per sequence, sealed with the token, since a client could
-- write settings too and push another's sequence to its end.
--
-- The place reached in them must survive a rollback to a savepoint (an EXCEPTION block is one), as the master's sequence
-- does, and no setting does. What does is the session's currval of a sequence: each of these holds one place.
-- They are shared by nobody in truth, setval and currval of one session being all that is used.

DO $$
BEGIN
    FOR slot IN 1 .. 32 LOOP
        EXECUTE format('CREATE UNLOGGED SEQUENCE steel.place_%s MINVALUE 0', slot);
    END LOOP;
END
$$;

CREATE FUNCTION steel.orig_nextval(regclass) RETURNS bigint
    LANGUAGE internal VOLATILE STRICT PARALLEL UNSAFE AS 'nextval_oid';
CREATE FUNCTION steel.orig_currval(regclass) RETURNS bigint
    LANGUAGE internal VOLATILE STRICT PARALLEL UNSAFE AS 'currval_oid';
CREATE FUNCTION steel.orig_lastval() RETURNS bigint
    LANGUAGE internal VOLATILE STRICT PARALLEL UNSAFE AS 'lastval';
CREATE FUNCTION steel.orig_setval(regclass, bigint, boolean) RETURNS bigint
    LANGUAGE internal VOLATILE STRICT PARALLEL UNSAFE AS 'setval3_oid';

-- Whoever calls this can at most have a true value of his own reported twice.
CREATE FUNCTION steel.report_value(sequence regclass, value bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
    SET client_encoding = 'UTF8'
    SET quote_all_identifiers = off
AS $$
BEGIN
    IF value IS DISTINCT FROM steel.orig_currval(sequence) THEN
        RAISE EXCEPTION 'permission denied for function report_value' USING ERRCODE = '42501';
    END IF;
    IF sequence::text !~ '^pg_temp' THEN
        RAISE NOTICE USING ERRCODE = 'ST001', MESSAGE =
            steel.token() || ' {"e":"seq","s":' || to_json(sequence::text)::text || ',"v":' || value || '}';
    END IF;
END
$$;

CREATE FUNCTION steel.seal(name text, ranges text) RETURNS text
    LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN encode(sha256(convert_to(steel.token() || name || E'\n' || coalesce(current_setting('steel.nonce', true), '')
                                    || E'\n' || ranges || steel.token(), 'UTF8')), 'hex');
END
$$;

-- The values for the next operation, by sequence, as ranges [first, count] or [first, count, step], in order
-- of use. What an earlier operation left unused is forgotten.
CREATE FUNCTION steel.replay(token text, seqs jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
AS $$
DECLARE
    key text;
    name text;
    ranges text;
    keys text[] := '{}';
BEGIN
    IF replay.token IS DISTINCT FROM steel.token() THEN
        RAISE EXCEPTION 'permission denied for function replay' USING ERRCODE = '42501';
    END IF;
    FOREACH key IN ARRAY string_to_array(coalesce(current_setting('steel.recorded', true), ''), ',') LOOP
        PERFORM set_config('steel.values_' || key, '', true);
    END LOOP;
    FOR name IN SELECT jsonb_object_keys(seqs) LOOP
        -- By name: the operation itself may create the sequence.
        key := md5(name);
        SELECT string_agg((e.value->>0) || ',' || (e.value->>1) || ',' || coalesce(e.value->>2, '1'), ';'
                          ORDER BY e.ordinality)
          INTO ranges
          FROM jsonb_array_elements(seqs->name) WITH ORDINALITY e;
        CONTINUE WHEN ranges IS NULL;
        keys := array_append(keys, key);
        IF cardinality(keys) > 32 THEN
            RAISE EXCEPTION 'an operation drew from more than 32 sequences' USING ERRCODE = '54000';
        END IF;
        ranges := cardinality(keys) || ' ' || ranges;
        PERFORM set_config('steel.values_' || key, steel.seal(name, ranges) || ' ' || ranges, true),
                steel.orig_setval(format('steel.place_%s', cardinality(keys))::regclass, steel.place(1, 0), true);
    END LOOP;
    PERFORM set_config('steel.recorded', array_to_string(keys, ','), true);
END
$$;

-- A place is the number of the range, from 1, and how many of its values are used.
CREATE FUNCTION steel.place(range bigint, used bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE RETURN (range << 40) | used;

-- How many recorded values the operation left unused. Anything but 0: it did not do what the master's did.
CREATE FUNCTION steel.replay_rest() RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
AS $$
DECLARE
    key text;
    parts text[];
    place bigint;
    rest numeric := 0;
BEGIN
    FOREACH key IN ARRAY string_to_array(coalesce(current_setting('steel.recorded', true), ''), ',') LOOP
        parts := string_to_array(current_setting('steel.values_' || key), ' ');
        place := steel.orig_currval(format('steel.place_%s', parts[2])::regclass);
        rest := rest - (place & 1099511627775) + (
            SELECT coalesce(sum(split_part(r.range, ',', 2)::bigint), 0)
              FROM unnest(string_to_array(parts[3], ';')) WITH ORDINALITY r(range, i)
             WHERE r.i >= place >> 40);
    END LOOP;
    RETURN rest;
END
$$;

-- Moves this server's own sequence on to the value, never back. Steps of nextval are atomic among sessions; a long way is
-- jumped under a lock, and is longer than what others could step meanwhile.
CREATE FUNCTION steel.advance(sequence regclass, value bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    own bigint := pg_sequence_last_value(sequence);
    step bigint;
BEGIN
    IF own = value THEN
        RETURN;
    END IF;
    SELECT s.seqincrement INTO step FROM pg_sequence s WHERE s.seqrelid = sequence;
    IF own IS NOT NULL AND (value - own) / step > 1000 THEN
        PERFORM pg_advisory_lock(sequence::oid::bigint);
        BEGIN
            own := pg_sequence_last_value(sequence);
            IF (value - own) / step > 1000 THEN
                PERFORM steel.orig_setval(sequence, value, true);
            END IF;
        EXCEPTION WHEN query_canceled OR OTHERS THEN
            PERFORM pg_advisory_unlock(sequence::oid::bigint);
            RAISE;
        END;
        PERFORM pg_advisory_unlock(sequence::oid::bigint);
        own := pg_sequence_last_value(sequence);
    END IF;
    WHILE own IS NULL OR (step > 0 AND own < value) OR (step < 0 AND own > value) LOOP
        own := steel.orig_nextval(sequence);
    END LOOP;
END
$$;

-- Takes the next recorded value, or NULL when none is left.
CREATE FUNCTION steel.take_value(sequence regclass) RETURNS bigint
    LANGUAGE plpgsql
AS $$
DECLARE
    name text := sequence::text;
    parts text[] := string_to_array(current_setting('steel.values_' || md5(name), true), ' ');
    slot regclass;
    range text[];
    place bigint;
    used bigint;
    value bigint;
BEGIN
    IF parts IS NULL OR cardinality(parts) = 0 THEN
        RETURN NULL;
    END IF;
    IF parts[1] IS DISTINCT FROM steel.seal(name, parts[2] || ' ' || parts[3]) THEN
        RAISE EXCEPTION 'the recorded values of sequence % are not what this replica was given', name
            USING ERRCODE = 'ST002';
    END IF;
    slot := format('steel.place_%s', parts[2])::regclass;
    place := steel.orig_currval(slot);
    used := place & 1099511627775;
    range := string_to_array(split_part(parts[3], ';', (place >> 40)::integer), ',');
    IF cardinality(range) = 0 THEN
        RETURN NULL;
    END IF;
    value := range[1]::bigint + used * range[3]::bigint;
    PERFORM steel.orig_setval(slot, CASE WHEN used + 1 < range[2]::bigint THEN place + 1
                                         ELSE steel.place((place >> 40) + 1, 0) END, true),
            set_config('steel.currval_' || sequence::oid, value::text, true),
            set_config('steel.own_' || sequence::oid, value::text, true),
            set_config('steel.lastval', sequence::oid::text, true);
    PERFORM steel.advance(sequence, value);
    RETURN value;
END
$$;

CREATE FUNCTION steel.replay_nextval(sequence regclass) RETURNS bigint
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
        RAISE EXCEPTION 'no recorded value is left for sequence %', sequence
            USING ERRCODE = 'ST002';
    END IF;
    RETURN value;
END
$$;

-- These run with the caller's rights and search_path: names and operators are qualified.
CREATE FUNCTION steel.nextval(sequence regclass) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
DECLARE
    mode text := pg_catalog.current_setting('steel.mode', true);
    value bigint;
BEGIN
    IF mode OPERATOR(pg_catalog.=) 'record' THEN
        value := steel.orig_nextval(sequence);
        IF value IS NOT NULL THEN
            PERFORM steel.report_value(sequence, value),
                    pg_catalog.set_config('steel.own_' OPERATOR(pg_catalog.||) sequence::oid::text, value::text, true);
        END IF;
        RETURN value;
    END IF;
    -- Where PostgreSQL would refuse (25006, 42501), let it.
    IF mode OPERATOR(pg_catalog.=) 'replay'
       AND pg_catalog.current_setting('transaction_read_only') OPERATOR(pg_catalog.=) 'off'
       AND pg_catalog.has_sequence_privilege(sequence, 'USAGE, UPDATE') THEN
        RETURN steel.replay_nextval(sequence);
    END IF;
    RETURN steel.orig_nextval(sequence);
END
$$;

CREATE FUNCTION steel.currval(sequence regclass) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
DECLARE
    value text;
BEGIN
    IF pg_catalog.current_setting('steel.mode', true) OPERATOR(pg_catalog.=) 'replay' THEN
        value := pg_catalog.current_setting('steel.currval_' OPERATOR(pg_catalog.||) sequence::oid::text, true);
        IF value OPERATOR(pg_catalog.<>) '' THEN
            RETURN value::bigint;
        END IF;
    END IF;
    RETURN steel.orig_currval(sequence);
END
$$;

CREATE FUNCTION steel.lastval() RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
DECLARE
    last text;
BEGIN
    IF pg_catalog.current_setting('steel.mode', true) OPERATOR(pg_catalog.=) 'replay' THEN
        last := pg_catalog.current_setting('steel.lastval', true);
        IF last OPERATOR(pg_catalog.<>) '' THEN
            RETURN steel.currval(last::pg_catalog.oid);
        END IF;
    END IF;
    RETURN steel.orig_lastval();
END
$$;

-- setval is executed alike everywhere, and reported so that a replica that adopts can do it too. Unless the sequence really
-- stands so (this session's call, or nobody used it since), there is no report.
CREATE FUNCTION steel.report_setval(sequence regclass, value bigint, called boolean) RETURNS void
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
            || ',"called":' || called::text || '}';
    END IF;
END
$$;

CREATE FUNCTION steel.setval(sequence regclass, value bigint, called boolean) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
BEGIN
    IF sequence IS NULL OR value IS NULL OR called IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM steel.orig_setval(sequence, value, called);
    IF called THEN
        PERFORM pg_catalog.set_config('steel.currval_' OPERATOR(pg_catalog.||) sequence::oid::text, '', true);
    END IF;
    PERFORM steel.report_setval(sequence, value, called);
    RETURN value;
END
$$;

CREATE OR REPLACE FUNCTION pg_catalog.nextval(regclass) RETURNS bigint
    LANGUAGE sql VOLATILE PARALLEL UNSAFE RETURN steel.nextval($1);
CREATE OR REPLACE FUNCTION pg_catalog.currval(regclass) RETURNS bigint
    LANGUAGE sql VOLATILE PARALLEL UNSAFE RETURN steel.currval($1);
CREATE OR REPLACE FUNCTION pg_catalog.lastval() RETURNS bigint
    LANGUAGE sql VOLATILE PARALLEL UNSAFE RETURN steel.lastval();
CREATE OR REPLACE FUNCTION pg_catalog.setval(regclass, bigint) RETURNS bigint
    LANGUAGE sql VOLATILE PARALLEL UNSAFE RETURN steel.setval($1, $2, true);
CREATE OR REPLACE FUNCTION pg_catalog.setval(regclass, bigint, boolean) RETURNS bigint
    LANGUAGE sql VOLATILE PARALLEL UNSAFE RETURN steel.setval($1, $2, $3);
