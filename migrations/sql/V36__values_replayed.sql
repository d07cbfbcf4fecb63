-- Values that are replayed are reported as recorded ones are. So a replica that judges compares what a statement took from sequences, and
-- in which order beside setval, with what the master says that it took: no value enters what is agreed on that nobody drew.

CREATE OR REPLACE FUNCTION steel.replay_nextval(sequence regclass) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
    SET client_encoding = 'UTF8'
    SET quote_all_identifiers = off
AS $$
DECLARE
    value bigint;
BEGIN
    IF sequence::text ~ '^pg_temp' THEN
        RETURN steel.orig_nextval(sequence);
    END IF;
    value := steel.take_value(sequence);
    IF value IS NULL THEN
        PERFORM steel.refuse_exhausted(sequence);
        RAISE EXCEPTION 'no recorded value is left for sequence %', sequence
            USING ERRCODE = 'ST002';
    END IF;
    RAISE NOTICE USING ERRCODE = 'ST001', MESSAGE =
        steel.token() || ' {"e":"seq","s":' || to_json(sequence::text)::text || ',"v":' || value || '}';
    RETURN value;
END
$$;
