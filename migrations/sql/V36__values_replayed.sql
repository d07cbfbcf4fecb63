-- Values that are replayed are reported as recorded ones are, each range when its first value is taken. So a replica that judges compares
-- what a statement took from sequences, and in which order beside setval, with what the master says that it took: nothing enters what is
-- agreed on that nobody drew.

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
        -- What the group has agreed on is taken wherever it lies.
        IF parts[4] <> '9223372036854775807' THEN
            PERFORM steel.check_window(sequence, value, parts[4]::bigint);
        END IF;
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
