//! What the owners of objects could do with them. Everything belongs to `postgres` afterwards, and `pg_dump` says nothing of rights that
//! come with owning: an application that owned its tables would find them closed.

use super::precheck::Step;
use super::source::Source;
use super::sql_error;
use crate::failure::Failure;

/// A GRANT for each object of a role that is carried, of the rights that its owner has in the source.
const GRANTS: &str = "SELECT pg_catalog.format('GRANT %s ON %s %s TO %I', pg_catalog.string_agg(e.privilege_type, ', ' ORDER BY e.privilege_type),
             o.kind, o.name, r.rolname)
    FROM (
      SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::pg_catalog.regclass::text, c.relowner, c.relnamespace,
             COALESCE(c.relacl, pg_catalog.acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", c.relowner)),
             'pg_catalog.pg_class'::pg_catalog.regclass, c.oid
        FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S')
         AND NOT c.oid::pg_catalog.regclass::text = ANY ($1)
      UNION ALL
      SELECT 'ROUTINE', p.oid::pg_catalog.regprocedure::text, p.proowner, p.pronamespace,
             COALESCE(p.proacl, pg_catalog.acldefault('f', p.proowner)), 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid
        FROM pg_catalog.pg_proc p WHERE p.proacl IS NOT NULL AND p.prokind <> 'a'
      UNION ALL
      SELECT 'SCHEMA', n.oid::pg_catalog.regnamespace::text, n.nspowner, n.oid,
             COALESCE(n.nspacl, pg_catalog.acldefault('n', n.nspowner)), 'pg_catalog.pg_namespace'::pg_catalog.regclass, n.oid
        FROM pg_catalog.pg_namespace n
    ) o (kind, name, owner, namespace, acl, class, oid)
    JOIN pg_catalog.pg_namespace n ON n.oid = o.namespace AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    -- The owner of the schema public is whoever owns the database, on newer majors.
    JOIN pg_catalog.pg_roles r ON r.oid = CASE o.owner WHEN pg_catalog.to_regrole('pg_database_owner')
           THEN (SELECT d.datdba FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) ELSE o.owner END
     AND r.rolname !~ '^pg_' AND r.rolname NOT IN ('postgres', 'steel')
   CROSS JOIN pg_catalog.aclexplode(o.acl) e
   WHERE e.grantee = o.owner
     -- To make something in a schema is the owner's of everything.
     AND NOT (o.kind = 'SCHEMA' AND e.privilege_type = 'CREATE')
     -- Newer than some of the majors here.
     AND e.privilege_type <> 'MAINTAIN'
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = o.class AND d.objid = o.oid AND d.deptype = 'e')
   GROUP BY o.kind, o.name, r.rolname
   ORDER BY o.kind, o.name";

/// The statements, to be run when the schema and the roles are there. `left_out`: tables that are not carried.
pub async fn grants(source: &Source, left_out: &[String]) -> Result<Vec<Step>, Failure> {
    let rows = source.client.query(GRANTS, &[&left_out]).await;
    let rows = rows.map_err(|error| sql_error("the source's owners cannot be read", &error))?;
    let statement = |row: &tokio_postgres::Row| Step::Execute(row.get(0));
    Ok(rows.iter().map(statement).collect())
}
