-- The first statement of every SteelDB transaction; it takes the snapshot. Everything it sets is local
-- to the transaction, so a pooled session is clean after COMMIT or ROLLBACK.
--
-- It runs with the rights of the session, never more: it may set only what the client itself may.
-- Settings of the client that name steel's own are skipped. (A client that changes steel.* with set_config
-- sees other values than the followers do, and so aborts its own transaction.)
CREATE FUNCTION steel.begin_tx(now timestamptz, nonce text, mode text, names text[], vals text[]) RETURNS void
    LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM pg_catalog.set_config('steel.now',
                pg_catalog.to_char(pg_catalog.timezone('UTC', begin_tx.now), 'YYYY-MM-DD HH24:MI:SS.US+00'), true),
            pg_catalog.set_config('steel.nonce', begin_tx.nonce, true),
            pg_catalog.set_config('steel.mode', begin_tx.mode, true),
            pg_catalog.set_config('steel.clock', '', true),
            pg_catalog.setseed(steel.seed(begin_tx.nonce, 0));
    FOR i IN 1 .. coalesce(pg_catalog.cardinality(names), 0) LOOP
        IF NOT pg_catalog.starts_with(pg_catalog.lower(names[i]), 'steel.') THEN
            PERFORM pg_catalog.set_config(names[i], vals[i], true);
        END IF;
    END LOOP;
END
$$;

-- Before an operation, and again before it is run again: what a failed run drew from random() is forgotten.
CREATE FUNCTION steel.begin_op(operation integer) RETURNS void
    LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM pg_catalog.setseed(steel.seed(pg_catalog.current_setting('steel.nonce', true), operation));
END
$$;

-- The first statement of a transaction that applies an agreed write set: no capture, no cascades, no triggers of the client.
-- The session is one of the client's role all the same: a CHECK or a domain may call a function of the client, and in
-- a session of steel it would run as steel.
CREATE FUNCTION steel.begin_apply(token text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
AS $$
BEGIN
    IF begin_apply.token IS DISTINCT FROM steel.token() THEN
        RAISE EXCEPTION 'permission denied for function begin_apply' USING ERRCODE = '42501';
    END IF;
    PERFORM set_config('session_replication_role', 'replica', true);
END
$$;
