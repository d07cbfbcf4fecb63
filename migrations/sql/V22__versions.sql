-- What a replica reports does not depend on its PostgreSQL's major version: replicas may run different ones (docs/versions.md).
-- Tried on 15, 16, 17 and 18.

-- The text of a view's query without the qualifiers of its columns: since 16 they are left out where there is one table only.
-- What a name belongs to is told by steel.columns_read.
CREATE FUNCTION steel.unqualified(query text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT
    SET search_path = pg_catalog, pg_temp
    RETURN regexp_replace(query, '("([^"]|"")+"|\m[[:alpha:]_][[:alnum:]_$]*)\.', '', 'g');

-- The relations and columns that a view reads, each once. 15 names the view itself too.
CREATE FUNCTION steel.columns_read(relation oid) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (
        SELECT jsonb_agg(DISTINCT jsonb_build_array(d.refobjid::regclass::text, a.attname))
          FROM pg_rewrite r
          JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
          LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid AND a.attnum <> 0
         WHERE r.ev_class = relation AND r.rulename = '_RETURN' AND d.refobjid <> relation);
END
$$;

-- A view's query, for digests.
CREATE FUNCTION steel.view_query(relation oid) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    RETURN jsonb_build_array(steel.unqualified(pg_get_viewdef(relation)), steel.columns_read(relation));

-- As before, but for views, and for NOT NULL: what 18 (of domains: 17) also lists among the constraints is with the columns.
CREATE OR REPLACE FUNCTION steel.relation_definition(relation oid) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (
        SELECT jsonb_build_array(
            c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity, c.reloptions, c.relreplident,
            pg_get_userbyid(c.relowner), pg_get_expr(c.relpartbound, c.oid),
            CASE WHEN c.relkind IN ('v', 'm') THEN steel.view_query(c.oid) END,
            CASE WHEN c.relkind IN ('i', 'I') THEN pg_get_indexdef(c.oid) END,
            CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END,
            (SELECT jsonb_build_array(format_type(q.seqtypid, NULL), q.seqstart, q.seqincrement, q.seqmax, q.seqmin,
                                      q.seqcache, q.seqcycle)
               FROM pg_sequence q WHERE q.seqrelid = c.oid),
            (SELECT jsonb_agg(i.inhparent::regclass::text ORDER BY i.inhseqno) FROM pg_inherits i WHERE i.inhrelid = c.oid),
            (SELECT jsonb_agg(jsonb_build_array(a.attname, format_type(a.atttypid, a.atttypmod), a.attcollation::regcollation::text,
                                                a.attnotnull, a.attidentity, a.attgenerated,
                                                pg_get_expr(d.adbin, d.adrelid), a.attmissingval::text, a.attoptions)
                              ORDER BY a.attnum)
               FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
            (SELECT jsonb_agg(jsonb_build_array(k.conname, pg_get_constraintdef(k.oid), k.convalidated) ORDER BY k.conname)
               FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype <> 'n'),
            (SELECT jsonb_agg(jsonb_build_array(p.polname, p.polcmd, p.polpermissive, pg_get_expr(p.polqual, p.polrelid),
                                                pg_get_expr(p.polwithcheck, p.polrelid)) ORDER BY p.polname)
               FROM pg_policy p WHERE p.polrelid = c.oid),
            (SELECT jsonb_agg(pg_get_ruledef(r.oid) ORDER BY r.rulename)
               FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN'))
          FROM pg_class c WHERE c.oid = relation);
END
$$;

CREATE OR REPLACE FUNCTION steel.type_definition(type oid) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (
        SELECT jsonb_build_array(
            t.typtype, t.typnotnull, t.typdefault, pg_get_userbyid(t.typowner),
            CASE WHEN t.typbasetype <> 0 THEN format_type(t.typbasetype, t.typtypmod) END,
            (SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
            (SELECT format_type(r.rngsubtype, NULL) FROM pg_range r WHERE r.rngtypid = t.oid),
            (SELECT jsonb_agg(jsonb_build_array(k.conname, pg_get_constraintdef(k.oid)) ORDER BY k.conname)
               FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype <> 'n'),
            steel.relation_definition(t.typrelid))
          FROM pg_type t WHERE t.oid = type);
END
$$;

-- As in V11, but for what an extension's script makes (its versions come with the majors, and it is reported itself), and
-- for REINDEX, which sets off event triggers since 17 and changes nothing that a client could see. And for what V21 refuses and
-- captures.
CREATE OR REPLACE FUNCTION steel.on_ddl() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
    SET client_encoding = 'UTF8'
    SET quote_all_identifiers = off
AS $$
DECLARE
    command record;
    relation oid;
    reported boolean := TG_TAG ~ '^DROP ';
BEGIN
    IF TG_TAG = 'REINDEX' THEN
        RETURN;
    END IF;
    FOR command IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP
        -- What protect() itself does arrives here too.
        IF command.classid = 'pg_trigger'::regclass
           AND EXISTS (SELECT FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
                        WHERE t.oid = command.objid AND p.pronamespace = 'steel'::regnamespace) THEN
            IF TG_TAG <> 'CREATE TRIGGER' THEN
                RAISE EXCEPTION 'permission denied: % is a system trigger', command.object_identity
                    USING ERRCODE = '42501';
            END IF;
            RETURN;
        END IF;
        IF command.schema_name = 'steel' OR command.object_identity = 'steel'
           OR (command.object_type = 'extension' AND command.object_identity = 'plpgsql') THEN
            RETURN;
        END IF;
        reported := true;
        CONTINUE WHEN command.in_extension;
        -- Nor what steel does to an extension's functions later: which there are is the extension's, and a version's, own affair.
        CONTINUE WHEN EXISTS (SELECT FROM pg_depend d WHERE d.classid = command.classid AND d.objid = command.objid AND d.deptype = 'e');
        -- Of a client's session: steel's own functions may make what they like.
        IF session_user <> current_user THEN
            PERFORM steel.refuse_unseen(command.classid, command.objid, command.schema_name, command.object_identity);
        END IF;
        CONTINUE WHEN command.schema_name = 'pg_temp';
        PERFORM steel.report_ddl(command.command_tag, command.object_identity,
                                 CASE WHEN command.objid IS NOT NULL
                                      THEN steel.definition_digest(command.classid, command.objid) END);
        IF command.classid = 'pg_class'::regclass THEN
            IF steel.is_captured(command.objid) THEN
                PERFORM steel.protect(command.objid);
            END IF;
            IF command.command_tag IN ('CREATE TABLE AS', 'SELECT INTO', 'CREATE MATERIALIZED VIEW',
                                       'REFRESH MATERIALIZED VIEW') THEN
                PERFORM steel.report_contents(command.objid);
            END IF;
        END IF;
    END LOOP;
    IF TG_TAG IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE SCHEMA') THEN
        PERFORM steel.protect_trees();
    END IF;
    IF NOT reported THEN
        PERFORM steel.report_ddl(TG_TAG, NULL);
    END IF;
    FOR relation IN DELETE FROM steel.rewritten r RETURNING r.relation LOOP
        PERFORM steel.report_contents(relation);
    END LOOP;
END
$$;

-- As in V11, but for constraints that an ALTER takes away: 17 and 18 name NOT NULL too, and the altered object is reported with its
-- definition. And for the row triggers of V21.
CREATE OR REPLACE FUNCTION steel.on_drop() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
    SET client_encoding = 'UTF8'
    SET quote_all_identifiers = off
AS $$
DECLARE
    dropped record;
    relation oid;
    tables boolean := false;
BEGIN
    FOR dropped IN SELECT * FROM pg_event_trigger_dropped_objects() LOOP
        CONTINUE WHEN TG_TAG ~ '^ALTER ' AND dropped.object_type IN ('table constraint', 'domain constraint');
        -- A trigger of ours goes with its table, or when an identity column is none any more.
        IF dropped.object_type = 'trigger' AND dropped.original
           AND dropped.address_names[3] ~ '^ ?steel_(capture|identity)_' THEN
            relation := to_regclass(format('%I.%I', dropped.address_names[1], dropped.address_names[2]));
            IF dropped.address_names[3] ~ '^steel_capture_(?!row$)'
               OR dropped.address_names[3] = 'steel_capture_row' AND relation IN (SELECT steel.trees())
               OR dropped.address_names[3] IN (SELECT i.trigger FROM steel.identity_triggers(relation) i) THEN
                RAISE EXCEPTION 'permission denied: % is a system trigger', dropped.object_identity
                    USING ERRCODE = '42501';
            END IF;
            CONTINUE;
        END IF;
        IF dropped.original AND NOT dropped.is_temporary AND dropped.schema_name IS DISTINCT FROM 'steel' THEN
            PERFORM steel.report_ddl(TG_TAG, dropped.object_identity);
        END IF;
        tables := tables OR dropped.object_type = 'table';
    END LOOP;
    IF tables THEN
        PERFORM steel.protect_trees();
    END IF;
END
$$;

-- Functions of newer majors that draw on chance past setseed(), or look at the clock. Where a major does not have one it stays
-- unknown there.

-- Version 7 (RFC 9562): milliseconds of the clock, then 12 bits of its fraction of a millisecond, then chance. The clock never
-- stands still, so the values of a transaction grow.
CREATE FUNCTION steel.uuidv7(moment timestamptz) RETURNS uuid
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
DECLARE
    micros numeric := pg_catalog.floor(extract(epoch FROM moment) OPERATOR(pg_catalog.*) 1000000);
    millis bigint := pg_catalog.div(micros, 1000)::bigint;
    fraction integer := pg_catalog.div(pg_catalog.mod(micros, 1000) OPERATOR(pg_catalog.*) 4096, 1000)::integer;
    chance text := pg_catalog.replace(pg_catalog.gen_random_uuid()::text, '-', '');
BEGIN
    RETURN (pg_catalog.lpad(pg_catalog.to_hex(millis), 12, '0') OPERATOR(pg_catalog.||) '7'
            OPERATOR(pg_catalog.||) pg_catalog.lpad(pg_catalog.to_hex(fraction), 3, '0')
            OPERATOR(pg_catalog.||) pg_catalog.substr(chance, 17))::uuid;
END
$$;

-- What is sorted by equal chances would be in the order of the plan: the place decides.
CREATE FUNCTION steel.array_sample(from_array anyarray, n integer) RETURNS anyarray
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
DECLARE
    low integer := pg_catalog.array_lower(from_array, 1);
    picked integer[];
    result from_array%TYPE := '{}';
BEGIN
    IF from_array IS NULL OR n IS NULL THEN
        RETURN NULL;
    END IF;
    IF n OPERATOR(pg_catalog.<) 0 OR n OPERATOR(pg_catalog.>) coalesce(pg_catalog.array_length(from_array, 1), 0) THEN
        RAISE EXCEPTION 'sample size must be between 0 and %', coalesce(pg_catalog.array_length(from_array, 1), 0)
            USING ERRCODE = '22023';
    END IF;
    SELECT pg_catalog.array_agg(d.place ORDER BY d.chance, d.place) INTO picked
      FROM (SELECT s.place, pg_catalog.random() AS chance
              FROM pg_catalog.generate_series(low, low OPERATOR(pg_catalog.+) pg_catalog.array_length(from_array, 1)
                                                   OPERATOR(pg_catalog.-) 1) AS s(place)) d;
    FOR i IN 1 .. n LOOP
        IF pg_catalog.array_ndims(from_array) OPERATOR(pg_catalog.>) 1 THEN
            result := pg_catalog.array_cat(result, from_array[picked[i]:picked[i]]);
        ELSE
            result := pg_catalog.array_append(result, from_array[picked[i]]);
        END IF;
    END LOOP;
    RETURN result;
END
$$;

-- As PostgreSQL's own, it keeps the place where the array begins (of one with several dimensions, only if that is 1).
CREATE FUNCTION steel.array_shuffle(from_array anyarray) RETURNS anyarray
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
DECLARE
    low integer := pg_catalog.array_lower(from_array, 1);
    size integer := coalesce(pg_catalog.array_length(from_array, 1), 0);
    shuffled from_array%TYPE := steel.array_sample(from_array, size);
    result from_array%TYPE := from_array;
BEGIN
    IF low IS NULL OR low OPERATOR(pg_catalog.=) 1 OR size OPERATOR(pg_catalog.=) 0 OR pg_catalog.array_ndims(from_array) OPERATOR(pg_catalog.>) 1 THEN
        RETURN shuffled;
    END IF;
    FOR i IN 1 .. size LOOP
        result[low OPERATOR(pg_catalog.+) i OPERATOR(pg_catalog.-) 1] := shuffled[i];
    END LOOP;
    RETURN result;
END
$$;

GRANT EXECUTE ON FUNCTION steel.uuidv7(timestamptz), steel.array_sample(anyarray, integer), steel.array_shuffle(anyarray) TO PUBLIC;

DO $$
DECLARE
    replaced record;
BEGIN
    FOR replaced IN
        SELECT * FROM (VALUES
            ('uuidv4()', 'uuid', 'gen_random_uuid()'),
            ('uuidv7()', 'uuid', 'steel.uuidv7(clock_timestamp())'),
            ('uuidv7(shift interval)', 'uuid', 'steel.uuidv7(clock_timestamp() + shift)'),
            ('array_shuffle(anyarray)', 'anyarray', 'steel.array_shuffle($1)'),
            ('array_sample(anyarray, integer)', 'anyarray', 'steel.array_sample($1, $2)')) f(signature, result, body)
    LOOP
        CONTINUE WHEN pg_catalog.to_regprocedure('pg_catalog.' || pg_catalog.regexp_replace(replaced.signature, 'shift ', '')) IS NULL;
        -- Inlined, or the C function behind the same OID runs: see V3.
        EXECUTE 'CREATE OR REPLACE FUNCTION pg_catalog.' || replaced.signature || ' RETURNS ' || replaced.result
                || ' LANGUAGE sql VOLATILE PARALLEL UNSAFE AS ''SELECT ' || replaced.body || '''';
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION steel.unqualified(text), steel.columns_read(oid), steel.view_query(oid) FROM PUBLIC;

-- As in V13: pg_dump leaves out what belongs to an extension.
ALTER EXTENSION plpgsql ADD FUNCTION steel.unqualified(text);
ALTER EXTENSION plpgsql ADD FUNCTION steel.columns_read(oid);
ALTER EXTENSION plpgsql ADD FUNCTION steel.view_query(oid);
ALTER EXTENSION plpgsql ADD FUNCTION steel.uuidv7(timestamptz);
ALTER EXTENSION plpgsql ADD FUNCTION steel.array_sample(anyarray, integer);
ALTER EXTENSION plpgsql ADD FUNCTION steel.array_shuffle(anyarray);
