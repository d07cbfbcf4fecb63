-- What pg_dump's text of a database leaves out: roles, extensions, owners, privileges, settings; a line each, of which everything after the
-- first two characters is SQL for a session of steel, to be run in the order of the lines. 1: before the dump's text; 2 and on: after it.
-- Run as steel with search_path = pg_catalog.
WITH kind AS (
    -- (what GRANT calls it, what it is called, owner, privileges, the default ones)
    SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, c.oid::regclass::text AS name, c.relowner AS owner,
           c.relacl AS acl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner) AS usual,
           'pg_class'::regclass AS class, c.oid
      FROM pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    UNION ALL
    SELECT 'ROUTINE', p.oid::regprocedure::text, p.proowner, p.proacl, acldefault('f', p.proowner), 'pg_proc'::regclass, p.oid FROM pg_proc p
    UNION ALL
    SELECT 'TYPE', t.oid::regtype::text, t.typowner, t.typacl, acldefault('T', t.typowner), 'pg_type'::regclass, t.oid
      FROM pg_type t
     WHERE t.typelem = 0 AND (t.typrelid = 0 OR EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c')) AND t.typtype <> 'm'
    UNION ALL
    SELECT 'SCHEMA', n.oid::regnamespace::text, n.nspowner, n.nspacl, acldefault('n', n.nspowner), 'pg_namespace'::regclass, n.oid
      FROM pg_namespace n
    UNION ALL
    SELECT 'DATABASE', quote_ident(d.datname), d.datdba, d.datacl, acldefault('d', d.datdba), 'pg_database'::regclass, d.oid
      FROM pg_database d WHERE d.datname = current_database()
), mine AS (
    SELECT k.* FROM kind k
     WHERE (k.oid >= 16384 OR k.kind = 'DATABASE' OR k.kind = 'SCHEMA' AND k.name = 'public')
       AND k.name !~ '^(steel(\.|$)|pg_toast|pg_temp)'
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = k.class AND d.objid = k.oid AND d.deptype = 'e')
), granted AS (
    SELECT m.kind, m.name, m.owner, '' AS columns, e.* FROM mine m, aclexplode(m.acl) e
    UNION ALL
    SELECT m.kind, m.name, m.owner, format(' (%I)', a.attname), e.*
      FROM mine m JOIN pg_attribute a ON m.class = 'pg_class'::regclass AND a.attrelid = m.oid AND a.attacl IS NOT NULL AND NOT a.attisdropped,
           aclexplode(a.attacl) e
), spelled AS (
    SELECT g.kind, g.name, g.owner, g.grantor, g.privilege_type || g.columns AS privilege,
           CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END AS grantee,
           CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS option
      FROM granted g
), role AS (
    SELECT a.* FROM pg_authid a WHERE a.rolname !~ '^pg_' AND a.rolname <> 'steel'
)
SELECT format('1aCREATE ROLE %I', r.rolname) FROM role r WHERE r.rolname <> 'postgres'
UNION ALL
SELECT format('1bALTER ROLE %I WITH %s %s %s %s %s %s %s CONNECTION LIMIT %s PASSWORD %s%s', r.rolname,
              CASE WHEN r.rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END, CASE WHEN r.rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END,
              CASE WHEN r.rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END, CASE WHEN r.rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
              CASE WHEN r.rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END,
              CASE WHEN r.rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END,
              CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END, r.rolconnlimit, quote_nullable(r.rolpassword),
              CASE WHEN r.rolvaliduntil IS NOT NULL THEN format(' VALID UNTIL %L', r.rolvaliduntil) ELSE '' END)
  FROM role r
UNION ALL
SELECT format('1cGRANT %I TO %I%s', pg_get_userbyid(m.roleid), pg_get_userbyid(m.member),
              CASE WHEN m.admin_option THEN ' WITH ADMIN OPTION' ELSE '' END)
  FROM pg_auth_members m WHERE m.roleid >= 16384 OR m.member >= 16384
UNION ALL
SELECT format('1dCOMMENT ON ROLE %I IS %L', r.rolname, d.description)
  FROM role r JOIN pg_shdescription d ON d.classoid = 'pg_authid'::regclass AND d.objoid = r.oid
UNION ALL
SELECT format('1eCREATE SCHEMA IF NOT EXISTS %I AUTHORIZATION postgres', n.nspname)
  FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname <> 'plpgsql' AND n.oid >= 16384
UNION ALL
SELECT format('1fCREATE EXTENSION IF NOT EXISTS %I SCHEMA %I VERSION %L', e.extname, n.nspname, e.extversion)
  FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname <> 'plpgsql'
UNION ALL
SELECT format('1gINSERT INTO steel.function_policy VALUES (%L, %L)', f.function, f.policy) FROM steel.function_policy f
UNION ALL
SELECT format('1gINSERT INTO steel.client_role VALUES (%s, %L, %L)', c.client, c.role, c.allowed) FROM steel.client_role c
UNION ALL
SELECT '1hSELECT steel.enforce_function_policies()' WHERE EXISTS (SELECT FROM pg_extension e WHERE e.extname <> 'plpgsql')
UNION ALL
SELECT format('2aALTER %s %s OWNER TO %I', CASE i.type WHEN 'statistics object' THEN 'STATISTICS' ELSE upper(i.type) END, i.identity,
              pg_get_userbyid(o.owner))
  FROM (SELECT m.class, m.oid, m.owner FROM mine m
         WHERE m.kind <> 'DATABASE'
           -- These follow their table.
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE m.kind = 'SEQUENCE' AND d.classid = m.class AND d.objid = m.oid
                            AND d.refclassid = m.class AND d.deptype IN ('a', 'i'))
        UNION ALL SELECT 'pg_collation'::regclass, x.oid, x.collowner FROM pg_collation x WHERE x.oid >= 16384
        UNION ALL SELECT 'pg_conversion'::regclass, x.oid, x.conowner FROM pg_conversion x WHERE x.oid >= 16384
        UNION ALL SELECT 'pg_operator'::regclass, x.oid, x.oprowner FROM pg_operator x WHERE x.oid >= 16384
        UNION ALL SELECT 'pg_statistic_ext'::regclass, x.oid, x.stxowner FROM pg_statistic_ext x
        UNION ALL SELECT 'pg_ts_dict'::regclass, x.oid, x.dictowner FROM pg_ts_dict x WHERE x.oid >= 16384
        UNION ALL SELECT 'pg_ts_config'::regclass, x.oid, x.cfgowner FROM pg_ts_config x WHERE x.oid >= 16384
        UNION ALL SELECT 'pg_publication'::regclass, x.oid, x.pubowner FROM pg_publication x) o (class, oid, owner),
       pg_identify_object(o.class, o.oid, 0) i
 WHERE pg_get_userbyid(o.owner) <> 'postgres' AND NOT (i.identity = 'public' AND i.type = 'schema' AND pg_get_userbyid(o.owner) = 'pg_database_owner')
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.class AND d.objid = o.oid AND d.deptype IN ('e', 'i'))
UNION ALL
SELECT format('2bREVOKE ALL ON %s %s FROM PUBLIC, %I', m.kind, m.name, pg_get_userbyid(m.owner))
  FROM mine m
 WHERE m.acl IS NOT NULL
   AND (SELECT array_agg(e::text ORDER BY e::text) FROM unnest(m.acl) e) IS DISTINCT FROM
       (SELECT array_agg(e::text ORDER BY e::text) FROM unnest(m.usual) e)
UNION ALL
SELECT CASE WHEN s.grantor = s.owner THEN format('2cGRANT %s ON %s %s TO %s%s', s.privilege, s.kind, s.name, s.grantee, s.option)
            ELSE format('2dSET LOCAL ROLE %I; GRANT %s ON %s %s TO %s%s; SET LOCAL ROLE none', pg_get_userbyid(s.grantor), s.privilege,
                        s.kind, s.name, s.grantee, s.option) END
  FROM spelled s
UNION ALL
SELECT format('2eALTER DEFAULT PRIVILEGES FOR ROLE %I%s REVOKE ALL ON %s FROM %s', pg_get_userbyid(d.defaclrole),
              coalesce(' IN SCHEMA ' || quote_ident(n.nspname), ''), w.what,
              CASE WHEN d.defaclnamespace = 0 THEN format('PUBLIC, %I', pg_get_userbyid(d.defaclrole)) ELSE 'PUBLIC' END)
  FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
  JOIN (VALUES ('r', 'TABLES'), ('S', 'SEQUENCES'), ('f', 'FUNCTIONS'), ('T', 'TYPES'), ('n', 'SCHEMAS')) w (type, what)
    ON w.type = d.defaclobjtype::text
UNION ALL
SELECT format('2fALTER DEFAULT PRIVILEGES FOR ROLE %I%s GRANT %s ON %s TO %s%s', pg_get_userbyid(d.defaclrole),
              coalesce(' IN SCHEMA ' || quote_ident(n.nspname), ''), e.privilege_type, w.what,
              CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(e.grantee)) END,
              CASE WHEN e.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
  FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
  JOIN (VALUES ('r', 'TABLES'), ('S', 'SEQUENCES'), ('f', 'FUNCTIONS'), ('T', 'TYPES'), ('n', 'SCHEMAS')) w (type, what)
    ON w.type = d.defaclobjtype::text,
       aclexplode(d.defaclacl) e
UNION ALL
SELECT format('2gCOMMENT ON DATABASE %I IS %L', current_database(), d.description)
  FROM pg_shdescription d JOIN pg_database b ON d.classoid = 'pg_database'::regclass AND d.objoid = b.oid AND b.datname = current_database()
 WHERE b.datname <> 'postgres' OR d.description <> 'default administrative connection database'
UNION ALL
-- A list of names is kept as it is quoted, so it goes through the setting itself; it holds for one statement.
SELECT CASE WHEN split_part(c.entry, '=', 1) IN ('search_path', 'temp_tablespaces')
            THEN format('2hSELECT set_config(%L, %L, true); ALTER %s SET %I FROM CURRENT; SET LOCAL search_path = pg_catalog, pg_temp',
                        split_part(c.entry, '=', 1), substr(c.entry, strpos(c.entry, '=') + 1), w.whose, split_part(c.entry, '=', 1))
            ELSE format('2iALTER %s SET %s TO %L', w.whose,
                        (SELECT string_agg(quote_ident(part), '.' ORDER BY i) FROM unnest(string_to_array(split_part(c.entry, '=', 1), '.'))
                            WITH ORDINALITY p (part, i)),
                        substr(c.entry, strpos(c.entry, '=') + 1)) END
  FROM pg_db_role_setting s, unnest(s.setconfig) c (entry),
       LATERAL (SELECT CASE WHEN s.setrole = 0 THEN format('DATABASE %I', current_database())
                            WHEN s.setdatabase = 0 THEN format('ROLE %I', pg_get_userbyid(s.setrole))
                            ELSE format('ROLE %I IN DATABASE %I', pg_get_userbyid(s.setrole), current_database()) END) w (whose)
 WHERE (s.setrole = 0 OR pg_get_userbyid(s.setrole) <> 'steel')
   AND (s.setdatabase = 0 OR s.setdatabase = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
UNION ALL
-- The clients' role owns the database: it could keep everybody out, or have provisioning pass it over.
SELECT format('2jALTER DATABASE %I WITH CONNECTION LIMIT %s IS_TEMPLATE %s', d.datname, d.datconnlimit, d.datistemplate::text)
  FROM pg_database d WHERE d.datname = current_database()
