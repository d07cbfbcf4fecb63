-- Roles and extensions, which no client may make: carried out for an administrator, in an ordered transaction like any
-- other, so that all replicas do it at one place, vote on it, and report it.
--
-- The replica passes the token where an administrator signed the request (see replica/src/executor/provision.rs). Nothing
-- that is made here can reach past SteelDB's triggers: roles get none of the privileges over the server, and an extension is
-- one of those known to hold nothing but functions of their arguments.

-- Extensions that were looked through: no function that draws chance, reads a clock or a file, writes, or keeps state. The list of
-- migrations::EXTENSIONS; a test compares the two.
CREATE FUNCTION steel.extensions() RETURNS text[]
    LANGUAGE sql IMMUTABLE
    RETURN ARRAY['btree_gin', 'btree_gist', 'citext', 'cube', 'earthdistance', 'fuzzystrmatch', 'hstore', 'intarray',
                 'ltree', 'pg_trgm', 'seg', 'unaccent'];

-- A role that the administrator may name.
CREATE FUNCTION steel.check_role(role text) RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF role IS NULL OR role IN ('steel', 'postgres', 'public', 'none') OR role ~ '^pg_' OR octet_length(role) NOT BETWEEN 1 AND 63 THEN
        RAISE EXCEPTION 'the role name % is reserved', quote_nullable(role) USING ERRCODE = '42939';
    END IF;
    RETURN role;
END
$$;

CREATE FUNCTION steel.provision_role(request jsonb) RETURNS void
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
    EXECUTE format('%s ROLE %I %s %s NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT %s PASSWORD %L %s',
                   CASE WHEN exists THEN 'ALTER' ELSE 'CREATE' END, role,
                   CASE WHEN (request ->> 'login')::boolean THEN 'LOGIN' ELSE 'NOLOGIN' END,
                   CASE WHEN (request ->> 'inherit')::boolean THEN 'INHERIT' ELSE 'NOINHERIT' END,
                   coalesce((request ->> 'limit')::integer, -1), verifier,
                   CASE WHEN until IS NOT NULL THEN format('VALID UNTIL %L', until) ELSE '' END);
    EXECUTE format('COMMENT ON ROLE %I IS %L', role, request ->> 'comment');
END
$$;

CREATE FUNCTION steel.provision_member(request jsonb) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    role text := steel.check_role(request ->> 'role');
    -- The owner of the database may be a member of a role; nobody may be a member of the owner's.
    member text := CASE WHEN request ->> 'member' = 'postgres' THEN 'postgres' ELSE steel.check_role(request ->> 'member') END;
BEGIN
    EXECUTE format('GRANT %I TO %I %s', role, member,
                   CASE WHEN (request ->> 'admin')::boolean THEN 'WITH ADMIN OPTION' ELSE '' END);
END
$$;

CREATE FUNCTION steel.provision_extension(request jsonb) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name text := request ->> 'name';
BEGIN
    IF name IS NULL OR name <> ALL (steel.extensions()) THEN
        RAISE EXCEPTION 'the extension % is not supported by SteelDB', quote_nullable(name) USING ERRCODE = '0A000';
    END IF;
    EXECUTE format('CREATE EXTENSION IF NOT EXISTS %I SCHEMA %I', name, coalesce(request ->> 'schema', 'public'));
END
$$;

-- What the administrator asks for; `do` says what. Event triggers see neither roles nor what differs in their attributes, so the
-- report is made here: a digest of the request, which says all of it.
CREATE FUNCTION steel.provision(token text, request jsonb) RETURNS text
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
        ELSE RAISE EXCEPTION 'nothing is known of %', quote_nullable(request ->> 'do') USING ERRCODE = '22023';
    END CASE;
    PERFORM steel.report_ddl('PROVISION', request ->> 'do',
                             encode(sha256(convert_to(request::text, 'UTF8')), 'hex'));
    RETURN request ->> 'do';
END
$$;

REVOKE ALL ON FUNCTION steel.extensions(), steel.check_role(text), steel.provision_role(jsonb), steel.provision_member(jsonb),
    steel.provision_extension(jsonb), steel.provision(text, jsonb) FROM PUBLIC;
-- It tells by the token whom it serves.
GRANT EXECUTE ON FUNCTION steel.provision(text, jsonb) TO PUBLIC;

-- As in V13: pg_dump leaves out what belongs to an extension.
ALTER EXTENSION plpgsql ADD FUNCTION steel.extensions();
ALTER EXTENSION plpgsql ADD FUNCTION steel.check_role(text);
ALTER EXTENSION plpgsql ADD FUNCTION steel.provision_role(jsonb);
ALTER EXTENSION plpgsql ADD FUNCTION steel.provision_member(jsonb);
ALTER EXTENSION plpgsql ADD FUNCTION steel.provision_extension(jsonb);
ALTER EXTENSION plpgsql ADD FUNCTION steel.provision(text, jsonb);
