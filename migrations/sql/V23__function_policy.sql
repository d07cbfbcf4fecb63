-- Functions that are VOLATILE by declaration and of which nothing else is known: written neither in sql nor in plpgsql, whose bodies
-- are read and run into what is replaced here, nor PostgreSQL's own, which have rules one by one. Extensions bring them. They
-- may draw chance, read a clock, or keep state in one session. Such a function is refused, with a message that names
-- it, until an administrator gives it a policy.
--
-- It is replaced in place, as the clock is: views, defaults, triggers and SQL made at run time meet the refusal too, and pg_dump shows
-- nothing of it, since members of extensions are not dumped.

-- What was decided, by the function's qualified name. A function that is made anew under another name has no policy.
CREATE TABLE steel.function_policy (
    function text PRIMARY KEY,
    policy text NOT NULL CHECK (policy IN ('replicated', 'refused'))
);

-- The definitions of what is replaced now.
CREATE TABLE steel.refused_function (
    function text PRIMARY KEY,
    definition text NOT NULL
);

-- Functions that a policy can be about. One with an argument of an internal type is called by PostgreSQL alone.
CREATE FUNCTION steel.unknown_functions() RETURNS SETOF regprocedure
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.oid::regprocedure
      FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE p.provolatile = 'v' AND p.prokind IN ('f', 'p')
       AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'steel')
       AND NOT 'internal'::regtype = ANY (p.proargtypes::oid[])
       AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype)
       AND (l.lanname NOT IN ('sql', 'plpgsql')
            OR EXISTS (SELECT FROM steel.refused_function r WHERE r.function = p.oid::regprocedure::text))
     ORDER BY p.oid::regprocedure::text COLLATE "C"
$$;

-- Brings each of them to its policy.
CREATE FUNCTION steel.enforce_function_policies() RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    f regprocedure;
    wanted text;
    original text;
BEGIN
    FOR f IN SELECT * FROM steel.unknown_functions() LOOP
        wanted := coalesce((SELECT p.policy FROM steel.function_policy p WHERE p.function = f::text), 'refused');
        SELECT r.definition INTO original FROM steel.refused_function r WHERE r.function = f::text;
        IF wanted = 'refused' AND original IS NULL THEN
            INSERT INTO steel.refused_function VALUES (f::text, pg_get_functiondef(f));
            EXECUTE steel.refusing_definition(f);
        ELSIF wanted = 'replicated' AND original IS NOT NULL THEN
            DELETE FROM steel.refused_function r WHERE r.function = f::text;
            EXECUTE original;
        END IF;
    END LOOP;
END
$$;

-- The same function, refusing. Not STRICT: it refuses NULL too.
CREATE FUNCTION steel.refusing_definition(f regprocedure) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format(
        'CREATE OR REPLACE %s %s.%I(%s) %s LANGUAGE plpgsql AS %L',
        CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END,
        p.pronamespace::regnamespace, p.proname, pg_get_function_arguments(p.oid),
        CASE p.prokind WHEN 'f' THEN 'RETURNS ' || pg_get_function_result(p.oid) ELSE '' END,
        format('BEGIN RAISE EXCEPTION USING ERRCODE = ''0A000'', MESSAGE = %L, DETAIL = %L, HINT = %L; END',
               format('the function %s is not supported by SteelDB', f),
               format('It is VOLATILE and written in %s: what it gives may differ between replicas.', l.lanname),
               format('Compute the value in the client, or have an administrator allow it: steeldb policy %L replicated', f)))
      FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
     WHERE p.oid = f
$$;

CREATE FUNCTION steel.provision_function_policy(request jsonb) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    named regprocedure := (request ->> 'function')::regprocedure;
    wanted text := request ->> 'policy';
BEGIN
    IF named IS NULL OR wanted IS NULL OR wanted NOT IN ('replicated', 'refused') THEN
        RAISE EXCEPTION 'the policy of a function is replicated or refused, not %', quote_nullable(wanted) USING ERRCODE = '22023';
    END IF;
    IF named NOT IN (SELECT * FROM steel.unknown_functions()) THEN
        RAISE EXCEPTION 'the function % needs no policy', named
            USING ERRCODE = '42809',
                  DETAIL = 'Functions that are not VOLATILE, those in sql and plpgsql, and PostgreSQL''s own have rules already.';
    END IF;
    INSERT INTO steel.function_policy VALUES (named::text, wanted) ON CONFLICT (function) DO UPDATE SET policy = excluded.policy;
    PERFORM steel.enforce_function_policies();
END
$$;

-- Extensions that were looked through. What is volatile in them is refused as long as no policy allows it: chance and clocks in pgcrypto and
-- uuid-ossp, a setting of the session in pg_trgm.
CREATE OR REPLACE FUNCTION steel.extensions() RETURNS text[]
    LANGUAGE sql IMMUTABLE
    RETURN ARRAY['btree_gin', 'btree_gist', 'citext', 'cube', 'earthdistance', 'fuzzystrmatch', 'hstore', 'intarray',
                 'ltree', 'pg_trgm', 'pgcrypto', 'seg', 'unaccent', 'uuid-ossp'];

CREATE OR REPLACE FUNCTION steel.provision_extension(request jsonb) RETURNS void
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
    PERFORM steel.enforce_function_policies();
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
        ELSE RAISE EXCEPTION 'nothing is known of %', quote_nullable(request ->> 'do') USING ERRCODE = '22023';
    END CASE;
    PERFORM steel.report_ddl('PROVISION', request ->> 'do',
                             encode(sha256(convert_to(request::text, 'UTF8')), 'hex'));
    RETURN request ->> 'do';
END
$$;

REVOKE ALL ON TABLE steel.function_policy, steel.refused_function FROM PUBLIC;
REVOKE ALL ON FUNCTION steel.unknown_functions(), steel.enforce_function_policies(), steel.refusing_definition(regprocedure),
    steel.provision_function_policy(jsonb) FROM PUBLIC;

-- As in V13: pg_dump leaves out what belongs to an extension.
ALTER EXTENSION plpgsql ADD TABLE steel.function_policy;
ALTER EXTENSION plpgsql ADD TABLE steel.refused_function;
ALTER EXTENSION plpgsql ADD FUNCTION steel.unknown_functions();
ALTER EXTENSION plpgsql ADD FUNCTION steel.enforce_function_policies();
ALTER EXTENSION plpgsql ADD FUNCTION steel.refusing_definition(regprocedure);
ALTER EXTENSION plpgsql ADD FUNCTION steel.provision_function_policy(jsonb);

-- What is there already.
SELECT steel.enforce_function_policies();
