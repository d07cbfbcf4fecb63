-- Identity columns draw from their sequence inside the executor, where no function can be replaced. A BEFORE INSERT
-- ROW trigger, first in the order of names, reports the value or puts the recorded one in its place.
--
-- It has to tell a value that was drawn just now from one that the statement gave. A drawn one is the session's
-- currval, and was not that when the statement began; a BEFORE STATEMENT trigger notes what it was then, in the
-- setting steel.own_<oid>; each drawn value takes its place there, and each value of nextval, which reports for itself.

-- NULL where nothing was drawn in this session, or the sequence is gone with the partitioned table it belonged to.
CREATE FUNCTION steel.own_currval(sequence regclass) RETURNS bigint
    LANGUAGE plpgsql
AS $$
BEGIN
    RETURN steel.orig_currval(sequence);
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END
$$;

CREATE FUNCTION steel.identity_baseline(sequence regclass) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
AS $$
DECLARE
    own bigint := steel.own_currval(sequence);
    stands bigint := pg_sequence_last_value(sequence);
BEGIN
    -- A sequence that was restarted stands before the session's currval, and may well draw that again.
    IF own IS NOT NULL AND own IS DISTINCT FROM stands
       AND (stands IS NULL
            OR sign((stands - own)::numeric) <> (SELECT sign(s.seqincrement::numeric) FROM pg_sequence s WHERE s.seqrelid = sequence))
    THEN
        own := NULL;
    END IF;
    PERFORM set_config('steel.own_' || sequence::oid, coalesce(own::text, 'none'), true);
END
$$;

-- The value for a row in which the statement, or the sequence, put the value `given`.
CREATE FUNCTION steel.identity_value(sequence regclass, given bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
    SET quote_all_identifiers = off
AS $$
DECLARE
    seen text := coalesce(current_setting('steel.own_' || sequence::oid, true), '');
BEGIN
    -- No INSERT began (an UPDATE moves a row to another partition), or the value is known.
    IF seen = '' OR seen = given::text OR given IS DISTINCT FROM steel.own_currval(sequence)
       OR sequence::text ~ '^pg_temp' THEN
        RETURN given;
    END IF;
    IF current_setting('steel.mode', true) = 'replay' THEN
        RETURN steel.replay_nextval(sequence);
    END IF;
    PERFORM set_config('steel.own_' || sequence::oid, given::text, true), steel.report_value(sequence, given);
    RETURN given;
END
$$;

CREATE FUNCTION steel.is_ordered() RETURNS boolean
    LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN coalesce(pg_catalog.current_setting('steel.mode', true), '') OPERATOR(pg_catalog.=) ANY ('{record,replay}'::text[]);
END
$$;

CREATE FUNCTION steel.identity_begin() RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    IF steel.is_ordered() THEN
        PERFORM steel.identity_baseline(TG_ARGV[0]::pg_catalog.oid);
    END IF;
    RETURN NULL;
END
$$;

-- The row trigger's function for identity columns of one name; plpgsql needs the name in its text. The argument of
-- both triggers is the sequence's OID, which survives renames.
CREATE FUNCTION steel.identity_function(name name) RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    function text := 'identity_' || substr(encode(sha256(convert_to(name, 'UTF8')), 'hex'), 1, 32);
    body text := format($body$
        DECLARE
            value bigint;
        BEGIN
            IF steel.is_ordered() THEN
                value := steel.identity_value(TG_ARGV[0]::pg_catalog.oid, NEW.%1$I);
                IF value OPERATOR(pg_catalog.<>) NEW.%1$I THEN
                    NEW.%1$I := value;
                END IF;
            END IF;
            RETURN NEW;
        END
        $body$, name);
BEGIN
    IF to_regprocedure(format('steel.%I()', function)) IS NULL THEN
        -- The body as a quoted literal: a column's name may hold any dollar quote.
        EXECUTE format('CREATE FUNCTION steel.%I() RETURNS trigger LANGUAGE plpgsql AS %L', function, body);
        -- REVOKE ... FROM PUBLIC, without the report that the event trigger would make of it.
        UPDATE pg_proc p SET proacl = ARRAY[makeaclitem(p.proowner, p.proowner, 'EXECUTE', false)]
         WHERE p.oid = to_regprocedure(format('steel.%I()', function));
        EXECUTE format('ALTER EXTENSION plpgsql ADD FUNCTION steel.%I()', function);
    END IF;
    RETURN function;
END
$$;

-- The identity columns that a table's rows may have drawn from: its own, and those of the partitioned tables above
-- it. A row trigger is for tables that hold rows (on a partitioned one it would be cloned to the partitions).
CREATE FUNCTION steel.identity_triggers(relation oid)
    RETURNS TABLE (trigger name, row_of name, sequence oid)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
        SELECT w.trigger::name, w.row_of, s.oid
          FROM (SELECT identity_triggers.relation AS oid
                UNION SELECT p.relid FROM pg_partition_ancestors(identity_triggers.relation) p) r
          JOIN pg_attribute a ON a.attrelid = r.oid AND a.attidentity <> '' AND NOT a.attisdropped
          JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
                          AND d.refobjid = r.oid AND d.refobjsubid = a.attnum AND d.deptype = 'i'
          JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
          JOIN pg_class c ON c.oid = identity_triggers.relation,
               LATERAL (VALUES (' steel_identity_begin_' || s.oid, NULL::name),
                               (' steel_identity_' || s.oid || '_' || substr(md5(a.attname), 1, 16), a.attname))
                       AS w (trigger, row_of)
         WHERE w.row_of IS NULL OR c.relkind = 'r';
END
$$;

CREATE FUNCTION steel.protect_identity(relation oid) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old name;
    want record;
BEGIN
    FOR old IN
        SELECT t.tgname FROM pg_trigger t
         WHERE t.tgrelid = relation AND t.tgname ~ '^ steel_identity_'
           AND t.tgname NOT IN (SELECT i.trigger FROM steel.identity_triggers(relation) i)
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', old, relation::regclass);
    END LOOP;
    FOR want IN
        SELECT i.* FROM steel.identity_triggers(relation) i
         WHERE NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = relation AND t.tgname = i.trigger)
    LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE INSERT ON %s FOR EACH %s EXECUTE FUNCTION steel.%I(%L)',
                       want.trigger, relation::regclass,
                       CASE WHEN want.row_of IS NULL THEN 'STATEMENT' ELSE 'ROW' END,
                       CASE WHEN want.row_of IS NULL THEN 'identity_begin' ELSE steel.identity_function(want.row_of) END,
                       want.sequence);
        PERFORM steel.hide_trigger(relation, want.trigger);
    END LOOP;
END
$$;
