-- What the databases of a server share has no event triggers, and a client may change some of it by SQL that a function builds at run
-- time: the settings and the password of its own role (ALTER ROLE), the database's (ALTER DATABASE), and rights and comments on it.

-- Rows of the shared catalogs that this transaction has inserted, updated or deleted, also where it took that back. (What GRANT and
-- DDL note in pg_shdepend is not counted.)
--
-- PostgreSQL counts rows for a session until it adds them to the statistics of all, which it does from time to time between transactions. So
-- whoever has found some has them added at once; whoever has the session next begins at 0.
CREATE FUNCTION steel.shared_changes() RETURNS bigint
    LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    -- pg_authid, pg_auth_members, pg_database, pg_db_role_setting, pg_parameter_acl, pg_shdescription, pg_shseclabel, pg_tablespace
    shared constant pg_catalog.oid[] := '{1260, 1261, 1262, 2964, 6243, 2396, 3592, 1213}';
    relation pg_catalog.oid;
    changes pg_catalog.int8 := 0;
BEGIN
    FOREACH relation IN ARRAY shared LOOP
        changes := changes
            OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_inserted(relation)
            OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_updated(relation)
            OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_deleted(relation);
    END LOOP;
    IF changes OPERATOR(pg_catalog.>) 0 THEN
        PERFORM pg_catalog.pg_stat_force_next_flush();
    END IF;
    RETURN changes;
END
$$;
ALTER EXTENSION plpgsql ADD FUNCTION steel.shared_changes();
