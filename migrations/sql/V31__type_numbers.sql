-- Drivers keep the OIDs of types and send them back, in binary arrays and records too. PostgreSQL takes them from a counter that
-- no two servers keep alike, so a type is given another number when the command that made it ends: from its name, which is
-- the same at all replicas. At that moment nothing but the catalog refers to it.

-- Between 2^30 and 2^31, where the counter does not come soon, and where drivers that take OIDs for signed still read them.
CREATE FUNCTION steel.type_number(name text) RETURNS oid
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    place bigint := ('x' || left(encode(sha256(convert_to(name, 'UTF8')), 'hex'), 8))::bit(32)::bigint & 1073741823;
BEGIN
    WHILE EXISTS (SELECT FROM pg_type t WHERE t.oid = (1073741824 + place)::oid) LOOP
        place := (place + 1) & 1073741823;
    END LOOP;
    RETURN 1073741824 + place;
END
$$;

-- Gives a type a number that is free. Types of the system, and those that were given theirs, stay as they are.
CREATE FUNCTION steel.renumber_type(type oid, number oid) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t pg_type := (SELECT t FROM pg_type t WHERE t.oid = type);
BEGIN
    IF t.oid IS NULL OR t.oid < 16384 OR t.oid >= 1073741824 THEN
        RETURN;
    END IF;
    -- A CHECK that names the whole row is stored as a tree with the number in it.
    IF t.typrelid <> 0 AND EXISTS (
        SELECT FROM pg_constraint k WHERE k.conrelid = t.typrelid AND k.conbin::text ~* format('type(id)? %s\M', type)) THEN
        RETURN;
    END IF;
    UPDATE pg_type p SET oid = number WHERE p.oid = type;
    UPDATE pg_type p SET typarray = number WHERE p.oid = t.typelem AND p.typarray = type;
    UPDATE pg_type p SET typelem = number WHERE p.oid = t.typarray;
    UPDATE pg_enum e SET enumtypid = number WHERE e.enumtypid = type;
    UPDATE pg_constraint k SET contypid = number WHERE k.contypid = type;
    UPDATE pg_class c SET reltype = number WHERE c.oid = t.typrelid;
    UPDATE pg_depend d SET objid = number WHERE d.classid = 'pg_type'::regclass AND d.objid = type;
    UPDATE pg_depend d SET refobjid = number WHERE d.refclassid = 'pg_type'::regclass AND d.refobjid = type;
    UPDATE pg_shdepend d SET objid = number WHERE d.classid = 'pg_type'::regclass AND d.objid = type
       AND d.dbid = (SELECT b.oid FROM pg_database b WHERE b.datname = current_database());
    UPDATE pg_description d SET objoid = number WHERE d.classoid = 'pg_type'::regclass AND d.objoid = type;
    UPDATE pg_init_privs d SET objoid = number WHERE d.classoid = 'pg_type'::regclass AND d.objoid = type;
    -- Ranges come with functions and casts; functions can come before the type that they take.
    IF t.typtype IN ('r', 'm', 'b', 'p') THEN
        UPDATE pg_range r SET rngtypid = number WHERE r.rngtypid = type;
        UPDATE pg_range r SET rngmultitypid = number WHERE r.rngmultitypid = type;
        UPDATE pg_cast c SET castsource = number WHERE c.castsource = type;
        UPDATE pg_cast c SET casttarget = number WHERE c.casttarget = type;
        UPDATE pg_proc p
           SET prorettype = CASE p.prorettype WHEN type THEN number ELSE p.prorettype END,
               provariadic = CASE p.provariadic WHEN type THEN number ELSE p.provariadic END,
               proargtypes = array_to_string(array_replace(string_to_array(p.proargtypes::text, ' '), type::text, number::text), ' ')::oidvector,
               proallargtypes = array_replace(p.proallargtypes, type, number)
         WHERE p.oid >= 16384
           AND (p.prorettype = type OR p.provariadic = type OR type = ANY (p.proargtypes) OR type = ANY (p.proallargtypes));
    END IF;
END
$$;

-- Types come by themselves, as the row type of a table or view, as arrays and multiranges of others.
CREATE FUNCTION steel.on_types() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
AS $$
DECLARE
    made record;
BEGIN
    FOR made IN
        WITH command AS (
            SELECT t.oid, t.typarray
              FROM pg_event_trigger_ddl_commands() c
              JOIN pg_type t ON (c.classid = 'pg_type'::regclass AND t.oid = c.objid)
                             OR (c.classid = 'pg_class'::regclass AND t.typrelid = c.objid)
             WHERE c.schema_name IS DISTINCT FROM 'pg_temp'),
        with_ranges AS (
            SELECT command.oid, command.typarray FROM command
            UNION
            SELECT m.oid, m.typarray FROM command JOIN pg_range r ON r.rngtypid = command.oid JOIN pg_type m ON m.oid = r.rngmultitypid)
        SELECT t.oid, format('%s.%s', t.typnamespace::regnamespace, t.typname) AS name
          FROM with_ranges w JOIN pg_type t ON t.oid IN (w.oid, w.typarray)
         ORDER BY name
    LOOP
        PERFORM steel.renumber_type(made.oid, steel.type_number(made.name));
    END LOOP;
END
$$;

CREATE EVENT TRIGGER steel_types ON ddl_command_end
    WHEN TAG IN ('CREATE TYPE', 'CREATE DOMAIN', 'CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'CREATE VIEW',
                 'CREATE MATERIALIZED VIEW', 'CREATE FOREIGN TABLE', 'CREATE SCHEMA', 'CREATE EXTENSION')
    EXECUTE FUNCTION steel.on_types();

REVOKE ALL ON FUNCTION steel.type_number(text), steel.renumber_type(oid, oid), steel.on_types() FROM PUBLIC;
ALTER EXTENSION plpgsql ADD FUNCTION steel.type_number(text);
ALTER EXTENSION plpgsql ADD FUNCTION steel.renumber_type(oid, oid);
ALTER EXTENSION plpgsql ADD FUNCTION steel.on_types();
ALTER EXTENSION plpgsql ADD EVENT TRIGGER steel_types;
