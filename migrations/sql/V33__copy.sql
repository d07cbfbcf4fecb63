-- What a copy of a database needs (docs/decisions/0022-copy.md): a floor under steel.applied, and definitions that come to the same
-- text in a database that was made by statements one after another and in one that was made from pg_dump's text of the first.

-- A server whose contents were copied has everything up to this height, and names no place up to there in steel.applied.
CREATE TABLE steel.floor (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    height bigint NOT NULL CHECK (height > 0)
);
COMMENT ON TABLE steel.floor IS 'up to this height everything was applied when the contents of this server were copied';

-- PostgreSQL's text of an expression, read again, is the same expression, but not always the same text: a list of varchar that is
-- compared with text is one array that is cast when it is first read, and an array of casts when it is read from its own text.
CREATE FUNCTION steel.plain(text text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    item constant text := 'E?''(?:[^'']|'''')*''::character varying(?:\(\d+\))?';
    list constant text := '\(ARRAY\[(' || item || '(?:, ' || item || ')*)\]\)::text\[\]';
    found_in text[];
BEGIN
    LOOP
        found_in := regexp_match(text, list);
        IF found_in IS NULL THEN
            RETURN text;
        END IF;
        text := replace(text, '(ARRAY[' || found_in[1] || '])::text[]',
                        'ARRAY[' || regexp_replace(found_in[1], item, '(\&)::text', 'g') || ']');
    END LOOP;
END
$$;

-- A missing value (what a column added with a default has in rows that were there before) is in the catalog here and in the rows of a
-- copy. It is told by the command that makes it, and not by later ones: here is which were there before an ALTER TABLE,
-- and a row of relation 0 while one runs. No keys: sessions do not wait for each other, and each leaves nothing behind.
CREATE TABLE steel.missing_before (relation oid, number smallint);

CREATE FUNCTION steel.on_alter() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
AS $$
BEGIN
    DELETE FROM steel.missing_before;
    INSERT INTO steel.missing_before
    VALUES (0, 0) UNION ALL SELECT a.attrelid, a.attnum FROM pg_attribute a WHERE a.atthasmissing;
END
$$;

CREATE FUNCTION steel.on_altered() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
AS $$
BEGIN
    DELETE FROM steel.missing_before;
END
$$;

-- The values that the running ALTER TABLE has made, of all tables: one of a partitioned table concerns its partitions.
CREATE FUNCTION steel.missing_made() RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM steel.missing_before b WHERE b.relation = 0) THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT jsonb_agg(jsonb_build_array(a.attrelid::regclass::text, a.attname, a.attmissingval::text)
                         ORDER BY a.attrelid::regclass::text, a.attname)
          FROM pg_attribute a
         WHERE a.atthasmissing AND NOT a.attisdropped
           AND NOT EXISTS (SELECT FROM steel.missing_before b WHERE b.relation = a.attrelid AND b.number = a.attnum));
END
$$;

CREATE OR REPLACE FUNCTION steel.relation_definition(relation oid) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (
        SELECT jsonb_build_array(
            c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity, c.reloptions, c.relreplident,
            pg_get_userbyid(c.relowner), steel.plain(pg_get_expr(c.relpartbound, c.oid)),
            CASE WHEN c.relkind IN ('v', 'm') THEN steel.plain(steel.view_query(c.oid)::text) END,
            CASE WHEN c.relkind IN ('i', 'I') THEN steel.plain(pg_get_indexdef(c.oid)) END,
            CASE WHEN c.relkind = 'p' THEN steel.plain(pg_get_partkeydef(c.oid)) END,
            (SELECT jsonb_build_array(format_type(q.seqtypid, NULL), q.seqstart, q.seqincrement, q.seqmax, q.seqmin,
                                      q.seqcache, q.seqcycle)
               FROM pg_sequence q WHERE q.seqrelid = c.oid),
            (SELECT jsonb_agg(i.inhparent::regclass::text ORDER BY i.inhseqno) FROM pg_inherits i WHERE i.inhrelid = c.oid),
            (SELECT jsonb_agg(jsonb_build_array(a.attname, format_type(a.atttypid, a.atttypmod), a.attcollation::regcollation::text,
                                                a.attnotnull, a.attidentity, a.attgenerated,
                                                steel.plain(pg_get_expr(d.adbin, d.adrelid)), a.attoptions)
                              ORDER BY a.attnum)
               FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
            (SELECT jsonb_agg(jsonb_build_array(k.conname, steel.plain(pg_get_constraintdef(k.oid)), k.convalidated) ORDER BY k.conname)
               FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype <> 'n'),
            (SELECT jsonb_agg(jsonb_build_array(p.polname, p.polcmd, p.polpermissive, steel.plain(pg_get_expr(p.polqual, p.polrelid)),
                                                steel.plain(pg_get_expr(p.polwithcheck, p.polrelid))) ORDER BY p.polname)
               FROM pg_policy p WHERE p.polrelid = c.oid),
            (SELECT jsonb_agg(steel.plain(pg_get_ruledef(r.oid)) ORDER BY r.rulename)
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
            t.typtype, t.typnotnull, steel.plain(t.typdefault), pg_get_userbyid(t.typowner),
            CASE WHEN t.typbasetype <> 0 THEN format_type(t.typbasetype, t.typtypmod) END,
            (SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
            (SELECT format_type(r.rngsubtype, NULL) FROM pg_range r WHERE r.rngtypid = t.oid),
            (SELECT jsonb_agg(jsonb_build_array(k.conname, steel.plain(pg_get_constraintdef(k.oid))) ORDER BY k.conname)
               FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype <> 'n'),
            steel.relation_definition(t.typrelid))
          FROM pg_type t WHERE t.oid = type);
END
$$;

CREATE OR REPLACE FUNCTION steel.definition_digest(class oid, object oid) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET DateStyle = 'ISO, YMD'
    SET IntervalStyle = postgres
    SET TimeZone = 'UTC'
    SET extra_float_digits = 1
    SET bytea_output = hex
    SET lc_monetary = 'C'
    SET quote_all_identifiers = off
AS $$
DECLARE
    definition jsonb := CASE class
        WHEN 'pg_class'::regclass THEN steel.relation_definition(object)
        WHEN 'pg_type'::regclass THEN steel.type_definition(object)
        WHEN 'pg_proc'::regclass THEN
            (SELECT jsonb_build_array(pg_get_userbyid(p.proowner), steel.plain(pg_get_function_arguments(p.oid)), pg_get_function_result(p.oid),
                                      CASE WHEN p.prokind <> 'a' THEN steel.plain(pg_get_functiondef(p.oid)) END,
                                      (SELECT jsonb_build_array(a.aggtransfn::regproc::text, a.aggfinalfn::regproc::text, a.agginitval)
                                         FROM pg_aggregate a WHERE a.aggfnoid = p.oid))
               FROM pg_proc p WHERE p.oid = object)
        WHEN 'pg_trigger'::regclass THEN
            (SELECT jsonb_build_array(steel.plain(pg_get_triggerdef(t.oid)), t.tgenabled) FROM pg_trigger t WHERE t.oid = object)
        WHEN 'pg_rewrite'::regclass THEN to_jsonb(steel.plain(pg_get_ruledef(object)))
        WHEN 'pg_constraint'::regclass THEN to_jsonb(steel.plain(pg_get_constraintdef(object)))
        WHEN 'pg_policy'::regclass THEN
            (SELECT steel.relation_definition(p.polrelid) FROM pg_policy p WHERE p.oid = object)
        WHEN 'pg_namespace'::regclass THEN
            (SELECT to_jsonb(pg_get_userbyid(n.nspowner)) FROM pg_namespace n WHERE n.oid = object)
    END;
    comments jsonb := (SELECT jsonb_agg(d.description ORDER BY d.objsubid)
                         FROM pg_description d WHERE d.classoid = class AND d.objoid = object);
BEGIN
    RETURN encode(sha256(convert_to(jsonb_build_array(definition, comments, steel.missing_made())::text, 'UTF8')), 'hex');
END
$$;

-- Event triggers of one event run in the order of their names: steel_ddl reports before steel_forget forgets.
CREATE EVENT TRIGGER steel_alter ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION steel.on_alter();
CREATE EVENT TRIGGER steel_forget ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION steel.on_altered();

REVOKE ALL ON steel.floor, steel.missing_before FROM PUBLIC;
REVOKE ALL ON FUNCTION steel.plain(text), steel.on_alter(), steel.on_altered(), steel.missing_made() FROM PUBLIC;

-- As in V13: pg_dump leaves out what belongs to an extension.
ALTER EXTENSION plpgsql ADD TABLE steel.floor;
ALTER EXTENSION plpgsql ADD TABLE steel.missing_before;
ALTER EXTENSION plpgsql ADD FUNCTION steel.plain(text);
ALTER EXTENSION plpgsql ADD FUNCTION steel.on_alter();
ALTER EXTENSION plpgsql ADD FUNCTION steel.on_altered();
ALTER EXTENSION plpgsql ADD FUNCTION steel.missing_made();
ALTER EXTENSION plpgsql ADD EVENT TRIGGER steel_alter;
ALTER EXTENSION plpgsql ADD EVENT TRIGGER steel_forget;
