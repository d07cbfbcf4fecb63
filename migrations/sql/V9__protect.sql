-- The capture triggers of a table: made, and seen to be as they were made.

-- Tables of users: ordinary and partitioned ones that outlive the session and are neither ours nor the system's.
CREATE FUNCTION steel.is_captured(relation oid) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
         WHERE c.oid = relation AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
           AND s.nspname NOT IN ('steel', 'information_schema') AND s.nspname !~ '^pg_');
END
$$;

-- tgisinternal hides a trigger from \d and pg_dump, and makes ALTER TABLE ... DISABLE TRIGGER a
-- superuser's business. It is no SQL command's to set, hence the update of the catalog.
CREATE FUNCTION steel.hide_trigger(relation oid, trigger name) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE pg_trigger SET tgisinternal = true WHERE tgrelid = relation AND tgname = trigger;
END
$$;

-- Statement triggers, on a partitioned table and on each partition: they fire for the table that the statement names.
CREATE FUNCTION steel.protect(relation oid) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    want record;
    found_as record;
    part oid;
BEGIN
    FOR want IN VALUES
        ('insert', 'REFERENCING NEW TABLE AS steel_new'),
        ('update', 'REFERENCING OLD TABLE AS steel_old NEW TABLE AS steel_new'),
        ('delete', 'REFERENCING OLD TABLE AS steel_old'),
        ('truncate', '')
    LOOP
        SELECT t.tgisinternal, t.tgenabled, t.tgfoid INTO found_as
          FROM pg_trigger t
         WHERE t.tgrelid = relation AND t.tgname = 'steel_capture_' || want.column1;
        IF NOT FOUND THEN
            EXECUTE format('CREATE TRIGGER steel_capture_%s AFTER %s ON %s %s FOR EACH STATEMENT '
                           'EXECUTE FUNCTION steel.capture_%s()',
                           want.column1, want.column1, relation::regclass, want.column2, want.column1);
            PERFORM steel.hide_trigger(relation, 'steel_capture_' || want.column1);
        ELSIF NOT found_as.tgisinternal OR found_as.tgenabled <> 'O'
              OR found_as.tgfoid <> to_regprocedure('steel.capture_' || want.column1 || '()') THEN
            RAISE EXCEPTION 'permission denied: "steel_capture_%" is a system trigger', want.column1
                USING ERRCODE = '42501';
        END IF;
    END LOOP;
    -- They would fire where a write set is applied, and write what is in it already.
    IF EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = relation AND t.tgenabled IN ('A', 'R'))
       OR EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = relation AND r.ev_enabled IN ('A', 'R')) THEN
        RAISE EXCEPTION 'triggers and rules that fire in replicas are not supported'
            USING ERRCODE = '0A000', HINT = 'Enable it without ALWAYS or REPLICA.';
    END IF;
    -- Identity columns of a partitioned table concern the partitions, new and old.
    FOR part IN
        SELECT protect.relation UNION SELECT p.relid FROM pg_partition_tree(protect.relation) p
    LOOP
        PERFORM steel.protect_identity(part);
    END LOOP;
END
$$;

-- What a statement did to a table whole (CREATE TABLE AS, a rewrite, REFRESH), told as TRUNCATE and INSERT.
CREATE FUNCTION steel.report_contents(relation oid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
    SET client_encoding = 'UTF8'
    SET DateStyle = 'ISO, YMD'
    SET IntervalStyle = postgres
    SET TimeZone = 'UTC'
    SET extra_float_digits = 1
    SET bytea_output = hex
    SET lc_monetary = 'C'
    SET quote_all_identifiers = off
AS $$
DECLARE
    name text := (SELECT quote_ident(s.nspname) || '.' || quote_ident(c.relname)
                    FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace WHERE c.oid = relation);
    line text;
    n text[] := '{}';
    held bigint := 0;
    bytes bigint := 0;
BEGIN
    PERFORM steel.report_truncate(name);
    FOR line IN EXECUTE format('SELECT record_out(steel_new.*)::text FROM ONLY %s AS steel_new', name) LOOP
        IF steel.full(held, bytes) THEN
            PERFORM steel.report_rows(name, 'I', '{}', n, false);
            n := '{}'; held := 0; bytes := 0;
        END IF;
        n := array_append(n, line);
        held := held + 1;
        bytes := bytes + octet_length(line);
    END LOOP;
    IF held > 0 THEN
        PERFORM steel.report_rows(name, 'I', '{}', n, true);
    END IF;
END
$$;
