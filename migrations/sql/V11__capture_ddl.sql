-- Event triggers: DDL is reported, and what it leaves behind is captured from then on.

CREATE FUNCTION steel.report_ddl(tag text, object text, digest text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    RAISE NOTICE USING ERRCODE = 'ST001', MESSAGE =
        steel.token() || ' {"e":"ddl","tag":' || to_json(tag)::text || ',"o":' || coalesce(to_json(object)::text, 'null')
        || coalesce(',"d":"' || digest || '"', '') || '}';
END
$$;

-- Tables that the running command rewrites. A table and not a setting: a rewrite runs functions of the
-- client (ALTER TYPE ... USING), which could reset a setting.
CREATE TABLE steel.rewritten (relation oid PRIMARY KEY);

CREATE FUNCTION steel.on_rewrite() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
AS $$
BEGIN
    IF steel.is_captured(pg_event_trigger_table_rewrite_oid()) THEN
        INSERT INTO steel.rewritten VALUES (pg_event_trigger_table_rewrite_oid()) ON CONFLICT DO NOTHING;
    END IF;
END
$$;

CREATE FUNCTION steel.on_ddl() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
    SET client_encoding = 'UTF8'
    SET quote_all_identifiers = off
AS $$
DECLARE
    command record;
    relation oid;
    reported boolean := TG_TAG ~ '^DROP ';
BEGIN
    FOR command IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP
        -- What protect() itself does arrives here too.
        IF command.classid = 'pg_trigger'::regclass
           AND EXISTS (SELECT FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
                        WHERE t.oid = command.objid AND p.pronamespace = 'steel'::regnamespace) THEN
            IF TG_TAG <> 'CREATE TRIGGER' THEN
                RAISE EXCEPTION 'permission denied: % is a system trigger', command.object_identity
                    USING ERRCODE = '42501';
            END IF;
            RETURN;
        END IF;
        IF command.schema_name = 'steel' OR command.object_identity = 'steel'
           OR (command.object_type = 'extension' AND command.object_identity = 'plpgsql') THEN
            RETURN;
        END IF;
        reported := true;
        CONTINUE WHEN command.schema_name = 'pg_temp';
        PERFORM steel.report_ddl(command.command_tag, command.object_identity,
                                 CASE WHEN command.objid IS NOT NULL
                                      THEN steel.definition_digest(command.classid, command.objid) END);
        IF command.classid = 'pg_class'::regclass THEN
            IF steel.is_captured(command.objid) THEN
                PERFORM steel.protect(command.objid);
            END IF;
            IF command.command_tag IN ('CREATE TABLE AS', 'SELECT INTO', 'CREATE MATERIALIZED VIEW',
                                       'REFRESH MATERIALIZED VIEW') THEN
                PERFORM steel.report_contents(command.objid);
            END IF;
        END IF;
    END LOOP;
    IF NOT reported THEN
        PERFORM steel.report_ddl(TG_TAG, NULL);
    END IF;
    FOR relation IN DELETE FROM steel.rewritten r RETURNING r.relation LOOP
        PERFORM steel.report_contents(relation);
    END LOOP;
END
$$;

CREATE FUNCTION steel.on_drop() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = notice
    SET client_encoding = 'UTF8'
    SET quote_all_identifiers = off
AS $$
DECLARE
    dropped record;
    relation oid;
BEGIN
    FOR dropped IN SELECT * FROM pg_event_trigger_dropped_objects() LOOP
        -- A trigger of ours goes with its table, or when an identity column is none any more.
        IF dropped.object_type = 'trigger' AND dropped.original
           AND dropped.address_names[3] ~ '^ ?steel_(capture|identity)_' THEN
            relation := to_regclass(format('%I.%I', dropped.address_names[1], dropped.address_names[2]));
            IF dropped.address_names[3] ~ '^steel_capture_'
               OR dropped.address_names[3] IN (SELECT i.trigger FROM steel.identity_triggers(relation) i) THEN
                RAISE EXCEPTION 'permission denied: % is a system trigger', dropped.object_identity
                    USING ERRCODE = '42501';
            END IF;
            CONTINUE;
        END IF;
        IF dropped.original AND NOT dropped.is_temporary AND dropped.schema_name IS DISTINCT FROM 'steel' THEN
            PERFORM steel.report_ddl(TG_TAG, dropped.object_identity);
        END IF;
    END LOOP;
END
$$;

CREATE EVENT TRIGGER steel_rewrite ON table_rewrite EXECUTE FUNCTION steel.on_rewrite();
CREATE EVENT TRIGGER steel_ddl ON ddl_command_end EXECUTE FUNCTION steel.on_ddl();
CREATE EVENT TRIGGER steel_drop ON sql_drop EXECUTE FUNCTION steel.on_drop();

-- Tables that were here before.
DO $$
DECLARE
    relation oid;
BEGIN
    FOR relation IN SELECT c.oid FROM pg_catalog.pg_class c WHERE steel.is_captured(c.oid) LOOP
        PERFORM steel.protect(relation);
    END LOOP;
END
$$;
