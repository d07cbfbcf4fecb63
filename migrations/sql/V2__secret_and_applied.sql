-- The secret that tells a true report of a trigger from a client's RAISE NOTICE, and the record of what
-- this server has applied.

CREATE TABLE steel.secret (
    one   boolean PRIMARY KEY DEFAULT true CHECK (one),
    token text NOT NULL CHECK (token ~ '^[0-9a-f]{64}$')
);
COMMENT ON TABLE steel.secret IS 'the token before every report of a capture trigger; steel only';

-- Two version 4 UUIDs hold 244 bits from pg_strong_random; hashed, so that no fixed bit shows.
INSERT INTO steel.secret (token)
SELECT encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'hex');

CREATE TABLE steel.applied (
    height  bigint,
    "index" integer,
    PRIMARY KEY (height, "index")
);
COMMENT ON TABLE steel.applied IS 'each ordered transaction that committed here, read back as a set after a kill';

-- IMMUTABLE, so that a cached plan holds the token as a constant and the hot path reads no table. It must be
-- called only where client_min_messages is fixed: a client can have plans printed (debug_print_plan), to the server's log
-- but, with that setting, not to itself.
CREATE FUNCTION steel.token() RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT token FROM steel.secret);
END
$$;

-- The last statement before COMMIT. A second mark of one place fails with 23505: nothing applies twice.
CREATE FUNCTION steel.mark(token text, height bigint, index integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
AS $$
BEGIN
    IF mark.token IS DISTINCT FROM steel.token() THEN
        RAISE EXCEPTION 'permission denied for function mark' USING ERRCODE = '42501';
    END IF;
    INSERT INTO steel.applied VALUES (mark.height, mark.index);
END
$$;
