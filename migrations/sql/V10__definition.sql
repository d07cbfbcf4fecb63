-- What an object is, as text: names and expressions as PostgreSQL prints them, no OIDs. Its digest is part of a DDL
-- report, since the text of a statement does not tell what it does: DO blocks, defaults computed from
-- volatile things (a missing value is kept in the catalog, not in rows), functions made of strings.

CREATE FUNCTION steel.relation_definition(relation oid) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (
        SELECT jsonb_build_array(
            c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity, c.reloptions, c.relreplident,
            pg_get_userbyid(c.relowner), pg_get_expr(c.relpartbound, c.oid),
            CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
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
               FROM pg_constraint k WHERE k.conrelid = c.oid),
            (SELECT jsonb_agg(jsonb_build_array(p.polname, p.polcmd, p.polpermissive, pg_get_expr(p.polqual, p.polrelid),
                                                pg_get_expr(p.polwithcheck, p.polrelid)) ORDER BY p.polname)
               FROM pg_policy p WHERE p.polrelid = c.oid),
            (SELECT jsonb_agg(pg_get_ruledef(r.oid) ORDER BY r.rulename)
               FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN'))
          FROM pg_class c WHERE c.oid = relation);
END
$$;

CREATE FUNCTION steel.type_definition(type oid) RETURNS jsonb
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
               FROM pg_constraint k WHERE k.contypid = t.oid),
            steel.relation_definition(t.typrelid))
          FROM pg_type t WHERE t.oid = type);
END
$$;

CREATE FUNCTION steel.definition_digest(class oid, object oid) RETURNS text
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
            (SELECT jsonb_build_array(pg_get_userbyid(p.proowner), pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
                                      CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END,
                                      (SELECT jsonb_build_array(a.aggtransfn::regproc::text, a.aggfinalfn::regproc::text, a.agginitval)
                                         FROM pg_aggregate a WHERE a.aggfnoid = p.oid))
               FROM pg_proc p WHERE p.oid = object)
        WHEN 'pg_trigger'::regclass THEN
            (SELECT jsonb_build_array(pg_get_triggerdef(t.oid), t.tgenabled) FROM pg_trigger t WHERE t.oid = object)
        WHEN 'pg_rewrite'::regclass THEN to_jsonb(pg_get_ruledef(object))
        WHEN 'pg_constraint'::regclass THEN to_jsonb(pg_get_constraintdef(object))
        WHEN 'pg_policy'::regclass THEN
            (SELECT steel.relation_definition(p.polrelid) FROM pg_policy p WHERE p.oid = object)
        WHEN 'pg_namespace'::regclass THEN
            (SELECT to_jsonb(pg_get_userbyid(n.nspowner)) FROM pg_namespace n WHERE n.oid = object)
    END;
    comments jsonb := (SELECT jsonb_agg(d.description ORDER BY d.objsubid)
                         FROM pg_description d WHERE d.classoid = class AND d.objoid = object);
BEGIN
    RETURN encode(sha256(convert_to(jsonb_build_array(definition, comments)::text, 'UTF8')), 'hex');
END
$$;
