-- Statements that wait for all snapshots (… CONCURRENTLY) commit several times by themselves, so they cannot note their place
-- in the order in their own transaction. What was there before is noted first instead, and whatever an interrupted or failed run left is
-- told by it and taken back: what is done at a place is done as a whole or not at all.

CREATE TABLE steel.barrier (
    height    bigint,
    "index"   integer,
    indexes   oid[] NOT NULL,
    invalid   oid[] NOT NULL,
    detaching oid[] NOT NULL,
    PRIMARY KEY (height, "index")
);
COMMENT ON TABLE steel.barrier IS 'statements outside of transactions that are under way here, and what there was before';

-- Ends what was begun and cannot be undone (an index on its way out, a partition half detached), drops what was begun and is not
-- finished, and with `creates` what is finished too. Whether something was ended.
CREATE FUNCTION steel.take_back(before steel.barrier, creates boolean) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found_at record;
    ended boolean := false;
BEGIN
    FOR found_at IN
        SELECT i.indexrelid AS index, i.indexrelid = ANY (before.indexes) AS known
          FROM pg_index i
         WHERE NOT i.indisvalid AND i.indexrelid <> ALL (before.invalid)
            OR creates AND i.indexrelid <> ALL (before.indexes)
         ORDER BY i.indexrelid
    LOOP
        EXECUTE format('DROP INDEX %s', found_at.index::regclass);
        ended := ended OR found_at.known;
    END LOOP;
    FOR found_at IN
        SELECT h.inhparent AS parent, h.inhrelid AS partition
          FROM pg_inherits h
         WHERE h.inhdetachpending AND h.inhrelid <> ALL (before.detaching)
    LOOP
        EXECUTE format('ALTER TABLE %s DETACH PARTITION %s FINALIZE', found_at.parent::regclass, found_at.partition::regclass);
        ended := true;
    END LOOP;
    RETURN ended;
END
$$;

-- Before a run: notes what there is, or takes back what an earlier run left. True: that run is ended by it, there is nothing left
-- to run.
CREATE FUNCTION steel.begin_barrier(height bigint, "index" integer, creates boolean) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before steel.barrier;
BEGIN
    SELECT b.* INTO before FROM steel.barrier b
     WHERE b.height = begin_barrier.height AND b.index = begin_barrier.index;
    IF FOUND THEN
        RETURN steel.take_back(before, creates);
    END IF;
    INSERT INTO steel.barrier
    SELECT begin_barrier.height, begin_barrier.index,
           ARRAY(SELECT i.indexrelid FROM pg_index i),
           ARRAY(SELECT i.indexrelid FROM pg_index i WHERE NOT i.indisvalid),
           ARRAY(SELECT h.inhrelid FROM pg_inherits h WHERE h.inhdetachpending);
    RETURN false;
END
$$;

-- After a run, whatever it came to: nothing half done stays, and the place is noted.
CREATE FUNCTION steel.end_barrier(height bigint, "index" integer) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before steel.barrier;
BEGIN
    DELETE FROM steel.barrier b
     WHERE b.height = end_barrier.height AND b.index = end_barrier.index
    RETURNING b.* INTO before;
    PERFORM steel.take_back(before, false);
    INSERT INTO steel.applied VALUES (end_barrier.height, end_barrier.index);
END
$$;

-- For the replica's own sessions only.
REVOKE ALL ON TABLE steel.barrier FROM PUBLIC;
REVOKE ALL ON FUNCTION steel.take_back(steel.barrier, boolean), steel.begin_barrier(bigint, integer, boolean),
    steel.end_barrier(bigint, integer) FROM PUBLIC;

-- As in V13: pg_dump leaves out what belongs to an extension.
ALTER EXTENSION plpgsql ADD TABLE steel.barrier;
ALTER EXTENSION plpgsql ADD FUNCTION steel.take_back(steel.barrier, boolean);
ALTER EXTENSION plpgsql ADD FUNCTION steel.begin_barrier(bigint, integer, boolean);
ALTER EXTENSION plpgsql ADD FUNCTION steel.end_barrier(bigint, integer);
