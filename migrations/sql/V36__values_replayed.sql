-- Values that are replayed are reported as recorded ones are, each range when its first value is taken. So a replica that judges compares
-- what a statement took from sequences, and in which order beside setval, with what the master says that it took: nothing enters what is
-- agreed on that nobody drew.
--
-- And the values of one operation lie within one window together, from where the sequence stood when it took the first: each range is
-- near the one before it, which has moved the sequence on.

-- Moves this server's own sequence on to the value, never back, and not past its end: whoever goes round or stands there by setval cannot
-- be followed by steps. In numeric: a difference may be past the end of bigint.
CREATE OR REPLACE FUNCTION steel.advance(sequence regclass, value bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    own bigint := pg_sequence_last_value(sequence);
    q pg_sequence;
BEGIN
    IF own = value THEN
        RETURN;
    END IF;
    SELECT s.* INTO q FROM pg_sequence s WHERE s.seqrelid = sequence;
    IF own IS NOT NULL AND div(value::numeric - own, q.seqincrement) > 1000 THEN
        PERFORM pg_advisory_lock(sequence::oid::bigint);
        BEGIN
            own := pg_sequence_last_value(sequence);
            IF own IS NULL OR div(value::numeric - own, q.seqincrement) > 1000 THEN
                PERFORM steel.orig_setval(sequence, value, true);
            END IF;
        EXCEPTION WHEN query_canceled OR OTHERS THEN
            PERFORM pg_advisory_unlock(sequence::oid::bigint);
            RAISE;
        END;
        PERFORM pg_advisory_unlock(sequence::oid::bigint);
        own := pg_sequence_last_value(sequence);
    END IF;
    WHILE own IS NULL OR (value::numeric - own) * sign(q.seqincrement::numeric) > 0 LOOP
        EXIT WHEN own::numeric + q.seqincrement NOT BETWEEN q.seqmin AND q.seqmax;
        own := steel.orig_nextval(sequence);
    END LOOP;
END
$$;

-- How far the values of one operation may lead: one window past where the sequence stood, and as many draws as they are. Kept for the
-- operation, and made anew behind each setval and each restart.
CREATE FUNCTION steel.check_reach(sequence regclass, name text, value bigint, ranges text, at bigint, steps bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $$
DECLARE
    setting text := 'steel.limit_' || md5(name);
    furthest numeric := nullif(current_setting(setting, true), '')::numeric;
    stands numeric := pg_sequence_last_value(sequence);
    draw numeric;
    draws numeric;
    q pg_sequence;
BEGIN
    SELECT s.* INTO q FROM pg_sequence s WHERE s.seqrelid = sequence;
    IF furthest IS NULL OR stands IS NULL THEN
        IF stands IS NULL THEN
            -- Nothing was drawn since it was made, or restarted, or set to give this next.
            EXECUTE format('SELECT last_value FROM %s', sequence) INTO stands;
            stands := stands - q.seqincrement;
        END IF;
        SELECT sum(split_part(r.range, ',', 2)::numeric) INTO draws
          FROM unnest(string_to_array(ranges, ';')) WITH ORDINALITY r(range, i) WHERE r.i >= at;
        -- As in steel.check_window.
        draw := abs(q.seqincrement::numeric) * q.seqcache;
        furthest := stands + sign(q.seqincrement::numeric) * (draws * draw + least(steps * draw, greatest(1000 * draw,
                       div(q.seqmax::numeric - q.seqmin, 64 * abs(q.seqincrement::numeric)) * abs(q.seqincrement::numeric))));
        PERFORM set_config(setting, furthest::text, true);
    END IF;
    IF (value - furthest) * sign(q.seqincrement::numeric) > 0 THEN
        RAISE EXCEPTION 'the recorded value % of sequence % is out of its window', value, sequence
            USING ERRCODE = 'ST003', DETAIL = format('The values of one operation lead to %s at most.', furthest);
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION steel.take_value(sequence regclass) RETURNS bigint
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
    IF parts[1] IS DISTINCT FROM steel.seal(name, parts[2] || ' ' || parts[3] || ' ' || parts[4]) THEN
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
    IF used = 0 THEN
        PERFORM steel.check_window(sequence, value, parts[4]::bigint),
                steel.check_reach(sequence, name, value, parts[3], place >> 40, parts[4]::bigint);
        RAISE NOTICE USING ERRCODE = 'ST001', MESSAGE =
            steel.token() || ' {"e":"seq","s":' || to_json(name)::text || ',"v":' || value || ',"n":' || range[2] || '}';
    END IF;
    PERFORM steel.orig_setval(slot, CASE WHEN used + 1 < range[2]::bigint THEN place + 1
                                         ELSE steel.place((place >> 40) + 1, 0) END, true),
            set_config('steel.currval_' || sequence::oid, value::text, true),
            set_config('steel.own_' || sequence::oid, value::text, true),
            set_config('steel.lastval', sequence::oid::text, true);
    PERFORM steel.advance(sequence, value);
    RETURN value;
END
$$;

-- With the encoding in which reports are read, as in steel.report_value.
CREATE OR REPLACE FUNCTION steel.replay_nextval(sequence regclass) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
    SET client_encoding = 'UTF8'
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

CREATE OR REPLACE FUNCTION steel.replay(token text, seqs jsonb, steps bigint) RETURNS void
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
        ranges := cardinality(keys) || ' ' || ranges || ' ' || steps;
        PERFORM set_config('steel.values_' || key, steel.seal(name, ranges) || ' ' || ranges, true),
                set_config('steel.limit_' || key, '', true),
                steel.orig_setval(format('steel.place_%s', cardinality(keys))::regclass, steel.place(1, 0), true);
    END LOOP;
    PERFORM set_config('steel.recorded', array_to_string(keys, ','), true);
END
$$;

-- A report of a setval is behind it: what is recorded further on is measured from there.
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
    PERFORM set_config('steel.limit_' || md5(sequence::text), '', true);
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

REVOKE ALL ON FUNCTION steel.check_reach(regclass, text, bigint, text, bigint, bigint) FROM PUBLIC;
-- As in V13: pg_dump leaves out what belongs to an extension.
ALTER EXTENSION plpgsql ADD FUNCTION steel.check_reach(regclass, text, bigint, text, bigint, bigint);
