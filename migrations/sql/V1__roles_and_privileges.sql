-- Who may do what. `steel` is the bootstrap superuser and runs this; `postgres` is what applications
-- see: the owner of their database, and an ordinary role, so that no session of a client can lift itself
-- over the triggers and functions installed below.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'postgres') THEN
        CREATE ROLE postgres LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS;
    END IF;
END
$$;

-- What reaches past the transaction: locks that no snapshot covers, other sessions, large objects (no
-- trigger sees them), notifications, the WAL and logical decoding, snapshots handed to other sessions.
DO $$
DECLARE
    f record;
BEGIN
    FOR f IN
        SELECT p.oid::regprocedure AS signature
          FROM pg_catalog.pg_proc p
         WHERE p.pronamespace = 'pg_catalog'::regnamespace
           AND (p.proname ~ '^pg_(try_)?advisory_'
                OR p.proname ~ '^lo_'
                OR p.proname IN ('loread', 'lowrite')
                OR p.proname ~ '^pg_logical_'
                OR p.proname ~ '^pg_replication_'
                OR p.proname ~ '^pg_(create|drop|copy)_(logical|physical)?_?replication_'
                OR p.proname IN ('pg_notify', 'pg_cancel_backend', 'pg_terminate_backend',
                                 'pg_export_snapshot', 'pg_switch_wal', 'pg_create_restore_point',
                                 'pg_promote', 'pg_reload_conf', 'pg_rotate_logfile',
                                 'pg_log_backend_memory_contexts'))
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f.signature);
    END LOOP;
END
$$;

-- pg_dump prints every privilege of a system function that differs from the recorded initial one. A
-- client's dump must not carry ours to another server.
DELETE FROM pg_catalog.pg_init_privs i
 USING pg_catalog.pg_proc p
 WHERE i.classoid = 'pg_proc'::regclass AND i.objoid = p.oid AND p.pronamespace = 'pg_catalog'::regnamespace;
INSERT INTO pg_catalog.pg_init_privs (objoid, classoid, objsubid, privtype, initprivs)
SELECT p.oid, 'pg_proc'::regclass, 0, 'i', p.proacl
  FROM pg_catalog.pg_proc p
 WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proacl IS NOT NULL;
