-- pg_dump leaves out what belongs to an extension, and plpgsql is in every database. Without this a dump by the role
-- postgres would stop at steel.secret, and a restore would install half a SteelDB.
DO $$
DECLARE
    member record;
BEGIN
    FOR member IN
        SELECT format('%s %s', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass) AS what
          FROM pg_catalog.pg_class c WHERE c.relnamespace = 'steel'::regnamespace AND c.relkind IN ('r', 'S')
        UNION ALL
        SELECT format('FUNCTION %s', p.oid::regprocedure)
          FROM pg_catalog.pg_proc p
         WHERE p.pronamespace = 'steel'::regnamespace
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_proc'::regclass
                            AND d.objid = p.oid AND d.deptype = 'e')
        UNION ALL
        SELECT format('EVENT TRIGGER %I', e.evtname) FROM pg_catalog.pg_event_trigger e WHERE e.evtname ~ '^steel_'
        UNION ALL
        SELECT 'SCHEMA steel'
    LOOP
        EXECUTE 'ALTER EXTENSION plpgsql ADD ' || member.what;
    END LOOP;
END
$$;
