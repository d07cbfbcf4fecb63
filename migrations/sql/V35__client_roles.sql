-- The roles that each client key may act as (decision 32), and what roles other than the owner of everything may not.
--
-- A client's session logs in as the role that its transaction names; this is asked before anything of the client's runs in it, at the
-- transaction's snapshot, so that all replicas answer alike. Whoever changes it changes the schema, which ends what is older.

-- What was decided. Without a row a client may act as postgres, and as nobody else.
CREATE TABLE steel.client_role (
    client bigint,
    role name,
    allowed boolean NOT NULL,
    PRIMARY KEY (client, role)
);

-- Fails unless the session is one of the role that is wanted, and this client may have it. Each transaction and each read asks it, and
-- almost all of them for the owner: that case comes first, and costs as little as can be (no SET, hence the names).
CREATE FUNCTION steel.act_as(client bigint, wanted text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
AS $$
BEGIN
    IF wanted OPERATOR(pg_catalog.=) 'postgres' AND session_user OPERATOR(pg_catalog.=) 'postgres'
       AND NOT EXISTS (SELECT FROM steel.client_role r
                        WHERE r.client OPERATOR(pg_catalog.=) act_as.client AND r.role OPERATOR(pg_catalog.=) 'postgres' AND NOT r.allowed) THEN
        RETURN;
    END IF;
    PERFORM steel.act_as_checked(client, wanted);
END
$$;

CREATE FUNCTION steel.act_as_checked(client bigint, wanted text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Elsewhere than at this log-in a role of this name cannot be met: the session is another's then (replica/src/executor/pool.rs).
    -- Sessions outlive what is decided about their role, so that is asked too.
    IF wanted IS DISTINCT FROM session_user::text
       OR NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = wanted AND r.rolcanlogin
                         AND has_database_privilege(r.oid, current_database(), 'CONNECT')) THEN
        IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = wanted) THEN
            RAISE EXCEPTION 'role % is not permitted to log in', to_json(wanted) USING ERRCODE = '28000';
        END IF;
        RAISE EXCEPTION 'role % does not exist', to_json(wanted) USING ERRCODE = '28000',
            HINT = 'An administrator makes it: steeldb role make.';
    END IF;
    IF NOT coalesce((SELECT r.allowed FROM steel.client_role r WHERE r.client = act_as_checked.client AND r.role = wanted), wanted = 'postgres') THEN
        RAISE EXCEPTION 'client c% may not act as the role %', client, to_json(wanted) USING ERRCODE = '42501',
            HINT = 'An administrator binds its key to the role: steeldb role bind.';
    END IF;
    -- A server that somebody else cares for may have roles that no administrator of the cluster made.
    IF wanted <> 'postgres' AND EXISTS (
        SELECT FROM pg_roles r
         WHERE (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls OR r.rolname ~ '^pg_'
                OR r.rolname = 'postgres')
           AND pg_has_role(wanted, r.oid, 'MEMBER')) THEN
        RAISE EXCEPTION 'the role % has privileges over the server, or is a member of one that has', to_json(wanted) USING ERRCODE = '42501',
            HINT = 'No session of a client has them: bind its key to another role.';
    END IF;
END
$$;

-- Everything belongs to postgres, and stays so: rows that are adopted are written with its rights, and then a CHECK or a domain of
-- somebody else's could do as postgres what its owner may not. (What steel does for a client it does as steel, and a SECURITY
-- DEFINER function of postgres as postgres.)
CREATE FUNCTION steel.on_ddl_start() RETURNS event_trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_roles r WHERE r.rolname IN (session_user, current_user) AND (r.rolsuper OR r.rolname = 'postgres')) THEN
        RAISE EXCEPTION '%: the schema is changed by the role postgres alone', tg_tag USING ERRCODE = '42501',
            HINT = 'Connect as postgres to change it, and GRANT what the role needs.';
    END IF;
END
$$;

CREATE EVENT TRIGGER steel_owner ON ddl_command_start EXECUTE FUNCTION steel.on_ddl_start();

-- As in V18, but what a request does not name stays as it is, and without the limit of connections: sessions with PostgreSQL are the replica's and not the role's clients', so it would end
-- transactions, at one replica and not at another. How many clients there are is the proxies' business.
CREATE OR REPLACE FUNCTION steel.provision_role(request jsonb) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    role text := steel.check_role(request ->> 'name');
    verifier text := request ->> 'password';
    -- A role that is there keeps a limit that is not given: there is no way to take one away.
    until text := request ->> 'until';
    exists boolean := EXISTS (SELECT FROM pg_roles WHERE rolname = role);
BEGIN
    -- Hashed here it would get another salt at each replica, and in clear it does not belong into the order.
    IF verifier !~ '^(SCRAM-SHA-256\$[0-9]+:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+|md5[0-9a-f]{32})$' THEN
        RAISE EXCEPTION 'the password of role % is not a verifier', quote_ident(role) USING ERRCODE = '22023';
    END IF;
    EXECUTE format('%s ROLE %I %s %s NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT -1 %s %s',
                   CASE WHEN exists THEN 'ALTER' ELSE 'CREATE' END, role,
                   CASE (request ->> 'login')::boolean WHEN true THEN 'LOGIN' WHEN false THEN 'NOLOGIN' ELSE '' END,
                   CASE (request ->> 'inherit')::boolean WHEN true THEN 'INHERIT' WHEN false THEN 'NOINHERIT' ELSE '' END,
                   CASE WHEN request ? 'password' THEN format('PASSWORD %L', verifier) ELSE '' END,
                   CASE WHEN until IS NOT NULL THEN format('VALID UNTIL %L', until) ELSE '' END);
    IF request ? 'comment' THEN
        EXECUTE format('COMMENT ON ROLE %I IS %L', role, request ->> 'comment');
    END IF;
END
$$;

CREATE FUNCTION steel.provision_client_role(request jsonb) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    client bigint := (request ->> 'client')::bigint;
    role text := CASE WHEN request ->> 'role' = 'postgres' THEN 'postgres' ELSE steel.check_role(request ->> 'role') END;
    allowed boolean := (request ->> 'allowed')::boolean;
BEGIN
    IF client IS NULL OR allowed IS NULL OR client NOT BETWEEN 0 AND 4294967295 THEN
        RAISE EXCEPTION 'a client and whether it is allowed are to be named' USING ERRCODE = '22023';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = role) THEN
        RAISE EXCEPTION 'role % does not exist', to_json(role) USING ERRCODE = '42704';
    END IF;
    INSERT INTO steel.client_role AS r VALUES (client, role, allowed)
        ON CONFLICT ON CONSTRAINT client_role_pkey DO UPDATE SET allowed = excluded.allowed;
END
$$;

CREATE OR REPLACE FUNCTION steel.provision(token text, request jsonb) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
    SET client_encoding = 'UTF8'
AS $$
BEGIN
    IF provision.token IS DISTINCT FROM steel.token() THEN
        RAISE EXCEPTION 'permission denied for function provision' USING ERRCODE = '42501';
    END IF;
    CASE request ->> 'do'
        WHEN 'role' THEN PERFORM steel.provision_role(request);
        WHEN 'member' THEN PERFORM steel.provision_member(request);
        WHEN 'extension' THEN PERFORM steel.provision_extension(request);
        WHEN 'function_policy' THEN PERFORM steel.provision_function_policy(request);
        WHEN 'client_role' THEN PERFORM steel.provision_client_role(request);
        ELSE RAISE EXCEPTION 'nothing is known of %', quote_nullable(request ->> 'do') USING ERRCODE = '22023';
    END CASE;
    PERFORM steel.report_ddl('PROVISION', request ->> 'do',
                             encode(sha256(convert_to(request::text, 'UTF8')), 'hex'));
    RETURN request ->> 'do';
END
$$;

-- What no event trigger has told of, in place of V34's count: rows of the shared catalogs that only an administrator's request may change,
-- rows of those that GRANT and COMMENT may change too, and what was made of relations. (EXPLAIN ANALYZE of CREATE TABLE AS, in SQL that is
-- built at run time, makes one and fires nothing.)
--
-- PostgreSQL's count of new rows in pg_class says only that there may be something to look for: it is not taken back with a savepoint, and
-- CLUSTER makes a row for as long as it works.
--
-- untold: a relation that is there and of which rows would not be reported, or that is the session's own; views: the
-- materialized views that this transaction made, of each of which an event trigger has to have told.
CREATE FUNCTION steel.unseen_relations(OUT untold text, OUT views json)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $$
BEGIN
    -- Rows that this transaction wrote are not older than it.
    SELECT format('%I.%I', n.nspname, c.relname) INTO untold
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relnamespace = pg_my_temp_schema()
        OR age(c.xmin) <= 0 AND steel.is_captured(c.oid)
           AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'steel_capture_insert' AND t.tgisinternal)
     LIMIT 1;
    SELECT json_agg(format('%I.%I', n.nspname, c.relname)) INTO views
      FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind = 'm' AND age(r.xmin) <= 0;
END
$$;

CREATE FUNCTION steel.unseen_changes(OUT roles bigint, OUT shared bigint, OUT untold text, OUT views json)
    LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    -- pg_authid, pg_auth_members, pg_db_role_setting, pg_parameter_acl, pg_tablespace
    of_roles constant pg_catalog.oid[] := '{1260, 1261, 2964, 6243, 1213}';
    -- pg_database, pg_shdescription, pg_shseclabel
    of_all constant pg_catalog.oid[] := '{1262, 2396, 3592}';
    relation pg_catalog.oid;
    -- pg_class
    made constant pg_catalog.int8 := pg_catalog.pg_stat_get_xact_tuples_inserted(1259);
BEGIN
    roles := 0;
    shared := 0;
    FOREACH relation IN ARRAY of_roles LOOP
        roles := roles
            OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_inserted(relation)
            OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_updated(relation)
            OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_deleted(relation);
    END LOOP;
    FOREACH relation IN ARRAY of_all LOOP
        shared := shared
            OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_inserted(relation)
            OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_updated(relation)
            OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_deleted(relation);
    END LOOP;
    IF roles OPERATOR(pg_catalog.+) shared OPERATOR(pg_catalog.+) made OPERATOR(pg_catalog.>) 0 THEN
        PERFORM pg_catalog.pg_stat_force_next_flush();
        IF made OPERATOR(pg_catalog.>) 0 THEN
            SELECT r.untold, r.views INTO untold, views FROM steel.unseen_relations() r;
        END IF;
    END IF;
END
$$;
ALTER EXTENSION plpgsql DROP FUNCTION steel.shared_changes();
DROP FUNCTION steel.shared_changes();

-- Names of prepared statements are a secret of the session: who knew one could put another statement in the place of one of the
-- replica's. (pg_dump must not carry it; see V1.)
REVOKE ALL ON pg_catalog.pg_prepared_statements FROM PUBLIC;
REVOKE ALL ON FUNCTION pg_catalog.pg_prepared_statement() FROM PUBLIC;
DELETE FROM pg_catalog.pg_init_privs
 WHERE (classoid, objoid) IN (('pg_class'::regclass, 'pg_catalog.pg_prepared_statements'::regclass::oid),
                              ('pg_proc'::regclass, 'pg_catalog.pg_prepared_statement()'::regprocedure::oid));
INSERT INTO pg_catalog.pg_init_privs (objoid, classoid, objsubid, privtype, initprivs)
SELECT c.oid, 'pg_class'::regclass, 0, 'i', c.relacl FROM pg_catalog.pg_class c
 WHERE c.oid = 'pg_catalog.pg_prepared_statements'::regclass AND c.relacl IS NOT NULL
UNION ALL
SELECT p.oid, 'pg_proc'::regclass, 0, 'i', p.proacl FROM pg_catalog.pg_proc p
 WHERE p.oid = 'pg_catalog.pg_prepared_statement()'::regprocedure AND p.proacl IS NOT NULL;

REVOKE ALL ON TABLE steel.client_role FROM PUBLIC;
REVOKE ALL ON FUNCTION steel.act_as(bigint, text), steel.act_as_checked(bigint, text), steel.on_ddl_start(), steel.provision_client_role(jsonb) FROM PUBLIC;
-- It tells whether the session may go on, and nothing that its role could not find out by logging in.
GRANT EXECUTE ON FUNCTION steel.act_as(bigint, text) TO PUBLIC;

-- As in V13: pg_dump leaves out what belongs to an extension.
ALTER EXTENSION plpgsql ADD TABLE steel.client_role;
ALTER EXTENSION plpgsql ADD FUNCTION steel.act_as(bigint, text);
ALTER EXTENSION plpgsql ADD FUNCTION steel.act_as_checked(bigint, text);
ALTER EXTENSION plpgsql ADD FUNCTION steel.on_ddl_start();
ALTER EXTENSION plpgsql ADD EVENT TRIGGER steel_owner;
ALTER EXTENSION plpgsql ADD FUNCTION steel.provision_client_role(jsonb);
ALTER EXTENSION plpgsql ADD FUNCTION steel.unseen_changes();
ALTER EXTENSION plpgsql ADD FUNCTION steel.unseen_relations();
