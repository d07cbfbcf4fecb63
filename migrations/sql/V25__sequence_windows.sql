-- Two rules about the values of sequences: how far a recorded one may lie ahead, and what a session drew last.
--
-- A master that lies could give out a value at the sequence's end, and nobody would ever draw from it again. So a replica that
-- replays takes a value only within a window above where its own sequence stands, which is where ordered evidence has moved it,
-- whatever became of the transactions. The window is counted in draws: CACHE lets a session skip so many, and an increment is one
-- step however wide. Nor is it more than a sixty-fourth of what the sequence holds, so that a short one is not used up by one lie;
-- but a thousand draws may always be under way.

-- The first value of each range of recorded ones; those after it follow one by one, and the statement uses them all.
CREATE FUNCTION steel.check_window(sequence regclass, value bigint, steps bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $$
DECLARE
    q pg_sequence;
    stands numeric := pg_sequence_last_value(sequence);
    draw numeric;
    reach numeric;
BEGIN
    SELECT s.* INTO q FROM pg_sequence s WHERE s.seqrelid = sequence;
    IF stands IS NULL THEN
        -- Nothing was drawn since it was made, or set to give this next.
        EXECUTE format('SELECT last_value FROM %s', sequence) INTO stands;
        stands := stands - q.seqincrement;
    END IF;
    -- In numeric: sums may be past the end of bigint.
    draw := abs(q.seqincrement::numeric) * q.seqcache;
    reach := least(steps * draw, greatest(1000 * draw,
                   div(q.seqmax::numeric - q.seqmin, 64 * abs(q.seqincrement::numeric)) * abs(q.seqincrement::numeric)));
    IF value BETWEEN q.seqmin AND q.seqmax AND (value - stands) * sign(q.seqincrement::numeric) <= reach THEN
        RETURN;
    END IF;
    -- Draws that were rolled back can have moved an honest master as far: the window follows, by its own length at a time.
    IF value BETWEEN q.seqmin AND q.seqmax THEN
        PERFORM steel.advance(sequence, (stands + sign(q.seqincrement::numeric) * reach)::bigint);
    END IF;
    RAISE EXCEPTION 'the recorded value % of sequence % is out of its window', value, sequence
        USING ERRCODE = 'ST003', DETAIL = format('The sequence stands at %s here, and %s further is too far.', stands, reach);
END
$$;

ALTER EXTENSION plpgsql DROP FUNCTION steel.replay(text, jsonb);
DROP FUNCTION steel.replay(text, jsonb);

-- The values for the next operation, by sequence, as ranges [first, count] or [first, count, step], in order
-- of use, and the length of the window, in draws. What an earlier operation left unused is forgotten.
CREATE FUNCTION steel.replay(token text, seqs jsonb, steps bigint) RETURNS void
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
                steel.orig_setval(format('steel.place_%s', cardinality(keys))::regclass, steel.place(1, 0), true);
    END LOOP;
    PERFORM set_config('steel.recorded', array_to_string(keys, ','), true);
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
        PERFORM steel.check_window(sequence, value, parts[4]::bigint);
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

-- What the client's session drew last, in transactions before this one: it travels with the transaction, since sessions with
-- PostgreSQL are shared. 'steel.drawn': "value name"; 'steel.last': the name of the sequence that lastval tells of.
CREATE FUNCTION steel.carry(setting text, value text) RETURNS void
    LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    cut integer := pg_catalog.strpos(value, ' ');
    sequence pg_catalog.oid;
BEGIN
    IF setting OPERATOR(pg_catalog.=) 'steel.last' THEN
        sequence := pg_catalog.to_regclass(value);
        PERFORM pg_catalog.set_config('steel.carried_last', coalesce(sequence::pg_catalog.text, ''), true);
    ELSE
        sequence := pg_catalog.to_regclass(pg_catalog.substr(value, cut OPERATOR(pg_catalog.+) 1));
        IF sequence IS NOT NULL THEN
            PERFORM pg_catalog.set_config('steel.carried_' OPERATOR(pg_catalog.||) sequence::pg_catalog.text,
                        pg_catalog.left(value, cut OPERATOR(pg_catalog.-) 1)::bigint::pg_catalog.text, true);
        END IF;
    END IF;
EXCEPTION WHEN OTHERS THEN
    -- Gone, or in a schema that the role may not use any more: currval says so when it is asked.
    NULL;
END
$$;

CREATE OR REPLACE FUNCTION steel.begin_tx(now timestamptz, nonce text, mode text, names text[], vals text[]) RETURNS void
    LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM pg_catalog.set_config('steel.now',
                pg_catalog.to_char(pg_catalog.timezone('UTC', begin_tx.now), 'YYYY-MM-DD HH24:MI:SS.US+00'), true),
            pg_catalog.set_config('steel.nonce', begin_tx.nonce, true),
            pg_catalog.set_config('steel.mode', begin_tx.mode, true),
            pg_catalog.set_config('steel.clock', '', true),
            pg_catalog.setseed(steel.seed(begin_tx.nonce, 0));
    FOR i IN 1 .. coalesce(pg_catalog.cardinality(names), 0) LOOP
        IF names[i] OPERATOR(pg_catalog.=) ANY ('{steel.drawn,steel.last}'::text[]) THEN
            PERFORM steel.carry(names[i], vals[i]);
        ELSIF NOT pg_catalog.starts_with(pg_catalog.lower(names[i]), 'steel.') THEN
            PERFORM pg_catalog.set_config(names[i], vals[i], true);
        END IF;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION steel.currval(sequence regclass) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
DECLARE
    value text;
BEGIN
    -- Where PostgreSQL would refuse (42501, 42809), let it.
    IF pg_catalog.has_sequence_privilege(sequence, 'USAGE, SELECT') THEN
        IF pg_catalog.current_setting('steel.mode', true) OPERATOR(pg_catalog.=) 'replay' THEN
            value := pg_catalog.current_setting('steel.currval_' OPERATOR(pg_catalog.||) sequence::oid::text, true);
        ELSE
            BEGIN
                RETURN steel.orig_currval(sequence);
            EXCEPTION WHEN object_not_in_prerequisite_state THEN
                NULL;
            END;
        END IF;
        IF coalesce(value, '') OPERATOR(pg_catalog.=) '' THEN
            value := pg_catalog.current_setting('steel.carried_' OPERATOR(pg_catalog.||) sequence::oid::text, true);
        END IF;
        IF value OPERATOR(pg_catalog.<>) '' THEN
            RETURN value::bigint;
        END IF;
    END IF;
    RETURN steel.orig_currval(sequence);
END
$$;

CREATE OR REPLACE FUNCTION steel.lastval() RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
DECLARE
    last text;
BEGIN
    IF pg_catalog.current_setting('steel.mode', true) OPERATOR(pg_catalog.=) 'replay' THEN
        last := pg_catalog.current_setting('steel.lastval', true);
    ELSE
        BEGIN
            RETURN steel.orig_lastval();
        EXCEPTION WHEN object_not_in_prerequisite_state THEN
            NULL;
        END;
    END IF;
    IF coalesce(last, '') OPERATOR(pg_catalog.=) '' THEN
        last := pg_catalog.current_setting('steel.carried_last', true);
    END IF;
    IF last OPERATOR(pg_catalog.<>) '' THEN
        RETURN steel.currval(last::pg_catalog.oid);
    END IF;
    RETURN steel.orig_lastval();
END
$$;

-- A call of setval is what currval tells from then on, where the value counts as drawn.
CREATE OR REPLACE FUNCTION steel.setval(sequence regclass, value bigint, called boolean) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
BEGIN
    IF sequence IS NULL OR value IS NULL OR called IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM steel.orig_setval(sequence, value, called);
    IF called THEN
        PERFORM pg_catalog.set_config('steel.currval_' OPERATOR(pg_catalog.||) sequence::oid::text, value::text, true);
    END IF;
    PERFORM steel.report_setval(sequence, value, called);
    RETURN value;
END
$$;

REVOKE ALL ON FUNCTION steel.check_window(regclass, bigint, bigint), steel.replay(text, jsonb, bigint), steel.carry(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steel.replay(text, jsonb, bigint), steel.carry(text, text) TO PUBLIC;

-- As in V13: pg_dump leaves out what belongs to an extension.
ALTER EXTENSION plpgsql ADD FUNCTION steel.check_window(regclass, bigint, bigint);
ALTER EXTENSION plpgsql ADD FUNCTION steel.replay(text, jsonb, bigint);
ALTER EXTENSION plpgsql ADD FUNCTION steel.carry(text, text);
