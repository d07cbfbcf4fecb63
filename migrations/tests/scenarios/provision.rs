//! Roles and extensions by `steel.provision`: with the token only, nothing that reaches past SteelDB, reported, rolled back with the rest.

use crate::server::{Session, connect, database, pg_dump, session};

/// What the replica runs for an administrator; the SQLSTATE when it is refused.
async fn provision(session: &Session, request: &str) -> Result<(), String> {
    let done = session
        .client
        .query_typed(
            "SELECT steel.provision($1, $2::text::jsonb)",
            &[
                (&session.token(), tokio_postgres::types::Type::TEXT),
                (&request, tokio_postgres::types::Type::TEXT),
            ],
        )
        .await;
    done.map(drop).map_err(|error| {
        error
            .code()
            .map_or(error.to_string(), |code| code.code().into())
    })
}

const SCRAM: &str = "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0$c3RvcmVkc3RvcmVkc3RvcmVkc3RvcmVkc3Q=:c2VydmVyc2VydmVyc2VydmVyc2VydmVyc2U=";

#[tokio::test]
async fn roles_and_members_are_made_for_whoever_has_the_token() {
    database("roles").await;
    let s = session("roles").await;
    let role = format!(
        r#"{{"do":"role","name":"Some \"one\"","login":true,"inherit":true,"limit":3,"until":null,"password":"{SCRAM}","comment":"it's"}}"#
    );
    provision(&s, &role).await.unwrap();
    let reports = s.take_captured();
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert_eq!(
        (reports[0]["e"].as_str(), reports[0]["tag"].as_str()),
        (Some("ddl"), Some("PROVISION"))
    );
    provision(
        &s,
        r#"{"do":"role","name":"group1","login":false,"inherit":false}"#,
    )
    .await
    .unwrap();
    provision(
        &s,
        r#"{"do":"member","role":"group1","member":"Some \"one\"","admin":true}"#,
    )
    .await
    .unwrap();
    // Again: it becomes what is asked for.
    provision(
        &s,
        r#"{"do":"role","name":"group1","login":false,"inherit":true}"#,
    )
    .await
    .unwrap();
    let steel = connect("roles", "steel").await;
    let rows = steel
        .rows(
            "SELECT rolname, rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls, rolcanlogin, rolinherit, rolconnlimit,
                    rolpassword LIKE 'SCRAM-SHA-256$4096:%' FROM pg_authid WHERE rolname IN ('group1', 'Some \"one\"')",
        )
        .await;
    assert_eq!(
        rows,
        ["(\"Some \"\"one\"\"\",f,t,t,-1,t)", "(group1,f,f,t,-1,)"]
    );
    let members = steel
        .rows("SELECT roleid::regrole, member::regrole, admin_option FROM pg_auth_members WHERE roleid = 'group1'::regrole")
        .await;
    assert_eq!(members, ["(group1,\"\"\"Some \"\"\"\"one\"\"\"\"\"\"\",t)"]);
    s.run("BEGIN").await;
    provision(&s, r#"{"do":"role","name":"undone"}"#)
        .await
        .unwrap();
    s.run("ROLLBACK").await;
    assert!(
        steel
            .rows("SELECT rolname FROM pg_roles WHERE rolname = 'undone'")
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn nothing_that_reaches_past_steeldb_is_made() {
    database("reach").await;
    let s = session("reach").await;
    for (request, sqlstate) in [
        (r#"{"do":"role","name":"steel"}"#, "42939"),
        (r#"{"do":"role","name":"postgres"}"#, "42939"),
        (r#"{"do":"role","name":"pg_mine"}"#, "42939"),
        (r#"{"do":"role"}"#, "42939"),
        (
            r#"{"do":"role","name":"clear","password":"secret"}"#,
            "22023",
        ),
        (
            r#"{"do":"member","role":"steel","member":"postgres"}"#,
            "42939",
        ),
        (
            r#"{"do":"member","role":"pg_write_server_files","member":"postgres"}"#,
            "42939",
        ),
        (
            r#"{"do":"member","role":"postgres","member":"postgres"}"#,
            "42939",
        ),
        (r#"{"do":"extension","name":"pageinspect"}"#, "0A000"),
        (r#"{"do":"extension","name":"file_fdw"}"#, "0A000"),
        (r#"{"do":"extension"}"#, "0A000"),
        (
            r#"{"do":"client_role","client":65536,"role":"steel","allowed":true}"#,
            "42939",
        ),
        (
            r#"{"do":"client_role","client":65536,"role":"pg_monitor","allowed":true}"#,
            "42939",
        ),
        (
            r#"{"do":"client_role","client":65536,"role":"nobody","allowed":true}"#,
            "42704",
        ),
        (
            r#"{"do":"client_role","client":65536,"role":"postgres"}"#,
            "22023",
        ),
        (
            r#"{"do":"client_role","client":-1,"role":"postgres","allowed":true}"#,
            "22023",
        ),
        (
            r#"{"do":"client_role","role":"postgres","allowed":true}"#,
            "22023",
        ),
        (r#"{"do":"nothing"}"#, "22023"),
        ("{}", "22023"),
    ] {
        assert_eq!(
            provision(&s, request).await.unwrap_err(),
            sqlstate,
            "{request}"
        );
    }
    let unknown = r#"{"do":"role","name":"guessed"}"#;
    for token in ["'guess'", "NULL", "''"] {
        let call = format!("SELECT steel.provision({token}, '{unknown}')");
        assert_eq!(s.refused(&call).await, "42501");
    }
    for call in [
        "provision_role('{}')",
        "provision_member('{}')",
        "provision_extension('{}')",
        "extensions()",
        "provision_function_policy('{}')",
        "provision_client_role('{}')",
        "enforce_function_policies()",
    ] {
        assert_eq!(
            s.refused(&format!("SELECT steel.{call}")).await,
            "42501",
            "{call}"
        );
    }
}

#[tokio::test]
async fn every_extension_of_the_list_can_be_had_and_is_dumped_as_itself() {
    database("extensions").await;
    let s = session("extensions").await;
    let steel = connect("extensions", "steel").await;
    let listed = steel.rows("SELECT unnest(steel.extensions())").await;
    let expected: Vec<String> = migrations::EXTENSIONS
        .iter()
        .map(|name| format!("({name})"))
        .collect();
    assert_eq!(listed, expected, "the two lists differ");
    s.run("CREATE SCHEMA ext").await;
    for name in migrations::EXTENSIONS {
        let request = format!(r#"{{"do":"extension","name":"{name}","schema":"ext"}}"#);
        provision(&s, &request).await.unwrap();
        let reports = s.take_captured();
        assert!(
            reports
                .iter()
                .any(|report| report["tag"] == "CREATE EXTENSION"),
            "{name}: {reports:?}"
        );
    }
    s.run("CREATE TABLE t (h ext.hstore, c ext.citext)").await;
    let dump = pg_dump("extensions", "postgres");
    assert!(
        dump.contains("CREATE EXTENSION IF NOT EXISTS hstore WITH SCHEMA ext"),
        "{dump}"
    );
    assert!(!dump.contains("steel"), "{dump}");
    let mut steel = steel;
    assert_eq!(migrations::doctor(&mut steel.client).await.unwrap(), []);
}

/// SQLSTATE, message and hint of a statement's error.
async fn error(session: &Session, sql: &str) -> [String; 3] {
    let error = session.client.simple_query(sql).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    let hint = error.hint().unwrap_or_default();
    [error.code().code(), error.message(), hint].map(str::to_owned)
}

#[tokio::test]
async fn a_volatile_function_of_an_extension_is_refused_by_name_until_a_policy_allows_it() {
    database("policy").await;
    let s = session("policy").await;
    for name in ["pg_trgm", "pgcrypto", "uuid-ossp"] {
        let request = format!(r#"{{"do":"extension","name":"{name}"}}"#);
        provision(&s, &request).await.unwrap();
    }
    // Wherever it stands: a default, a body, SQL made at run time, an argument that is NULL.
    s.run(
        "CREATE TABLE t (id uuid DEFAULT uuid_generate_v4(), a int);
         CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT gen_salt('bf') $$",
    )
    .await;
    for (call, function) in [
        ("SELECT set_limit(0.3)", "public.set_limit(real)"),
        ("SELECT set_limit(NULL)", "public.set_limit(real)"),
        ("INSERT INTO t (a) VALUES (1)", "public.uuid_generate_v4()"),
        ("SELECT f()", "public.gen_salt(text)"),
        (
            "DO $$ BEGIN EXECUTE 'SELECT ' || 'gen_random_bytes(8)'; END $$",
            "public.gen_random_bytes(integer)",
        ),
        (
            "SELECT public.gen_random_uuid()",
            "public.gen_random_uuid()",
        ),
    ] {
        let [sqlstate, message, hint] = error(&s, call).await;
        assert_eq!(sqlstate, "0A000", "{call}: {message}");
        assert!(message.contains(function), "{call}: {message}");
        assert!(
            hint.contains(&format!("steeldb policy '{function}' replicated")),
            "{call}: {hint}"
        );
    }
    // What depends on its arguments only is as it was, and so are PostgreSQL's own and the clients' functions.
    s.run("SELECT digest('a', 'md5'), uuid_generate_v5(uuid_nil(), 'a'), similarity('a', 'b'), gen_random_uuid(), random()")
        .await;
    s.take_captured();

    let policy = |function: &str, policy: &str| {
        format!(r#"{{"do":"function_policy","function":"{function}","policy":"{policy}"}}"#)
    };
    let allow = policy("public.set_limit(real)", "replicated");
    s.run("BEGIN").await;
    provision(&s, &allow).await.unwrap();
    s.run("ROLLBACK").await;
    assert_eq!(error(&s, "SELECT set_limit(0.3)").await[0], "0A000");
    provision(&s, &allow).await.unwrap();
    let reports = s.take_captured();
    assert_eq!(
        reports.last().unwrap()["o"],
        "function_policy",
        "{reports:?}"
    );
    s.run("SELECT set_limit(0.3)").await;
    let mut steel = connect("policy", "steel").await;
    let kept = "SELECT function, policy FROM steel.function_policy";
    assert_eq!(
        steel.rows(kept).await,
        ["(\"public.set_limit(real)\",replicated)"]
    );
    // Another extension, another start: the policy stands.
    provision(&s, r#"{"do":"extension","name":"citext"}"#)
        .await
        .unwrap();
    migrations::migrate(&mut steel.client).await.unwrap();
    s.run("SELECT set_limit(0.3)").await;
    assert_eq!(migrations::doctor(&mut steel.client).await.unwrap(), []);
    provision(&s, &policy("public.set_limit(real)", "refused"))
        .await
        .unwrap();
    assert_eq!(error(&s, "SELECT set_limit(0.3)").await[0], "0A000");

    for (function, wanted, sqlstate) in [
        ("pg_catalog.random()", "refused", "42809"),
        ("public.f()", "refused", "42809"),
        ("public.digest(text,text)", "refused", "42809"),
        ("public.set_limit(real)", "master", "22023"),
        ("public.nothing()", "replicated", "42883"),
    ] {
        let refused = provision(&s, &policy(function, wanted)).await.unwrap_err();
        assert_eq!(refused, sqlstate, "{function}");
    }
    // A dump holds the extensions and nothing of this.
    let dump = pg_dump("policy", "postgres");
    assert!(
        !dump.contains("steel") && !dump.contains("set_limit"),
        "{dump}"
    );
    // The doctor sees what was put back past the rule.
    steel
        .client
        .batch_execute("DELETE FROM steel.refused_function WHERE function = 'public.set_limit(real)'; \
                        CREATE OR REPLACE FUNCTION public.set_limit(real) RETURNS real LANGUAGE c STRICT AS '$libdir/pg_trgm', 'set_limit'")
        .await
        .unwrap();
    let found = migrations::doctor(&mut steel.client).await.unwrap();
    assert!(
        found
            .iter()
            .any(|finding| finding.subject == "public.set_limit(real)"),
        "{found:?}"
    );
}
