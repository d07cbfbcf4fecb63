//! Applications that log in as roles of their own, with passwords.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::support::{Cluster, text};

/// psql as a role, with a password.
fn psql(cluster: &Cluster, role: &str, password: &str, sql: &str) -> Output {
    Command::new("psql")
        .args(["-XAtw", "-h", "127.0.0.1", "-U", role, "-d", "postgres"])
        .args(["-p", &cluster.port.to_string(), "-c", sql])
        .env("PGPASSWORD", password)
        .output()
        .unwrap()
}

/// The line that `steeldb password` prints.
fn verifier(role: &str, password: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steeldb"));
    command.args(["password", role]);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut asked = piped.spawn().unwrap();
    writeln!(asked.stdin.take().unwrap(), "{password}").unwrap();
    let output = asked.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

#[test]
fn an_application_logs_in_as_its_own_role_with_its_password() {
    let cluster = Cluster::start();
    let sql = |role: &str, password: &str, sql: &str| {
        let output = psql(&cluster, role, password, sql);
        match output.status.success() {
            true => Ok(text(&output.stdout).trim_end().to_owned()),
            false => Err(text(&output.stderr)),
        }
    };
    let refused = sql("app", "", "SELECT 1").unwrap_err();
    assert!(refused.contains("role \"app\" does not exist"), "{refused}");
    assert!(refused.contains("steeldb role make"), "{refused}");
    let setup = "CREATE TABLE orders (id serial PRIMARY KEY, who text DEFAULT current_user); CREATE TABLE kept (a int)";
    sql("postgres", "", setup).unwrap();
    cluster.succeed(&["role", "make", "readers", "--no-login"]);
    cluster.succeed(&["role", "make", "app", "--member-of", "readers"]);
    let granted = "GRANT SELECT ON orders TO readers; GRANT INSERT ON orders TO app; GRANT USAGE ON orders_id_seq TO app";
    sql("postgres", "", granted).unwrap();
    let order = "INSERT INTO orders DEFAULT VALUES RETURNING id || who";
    assert!(sql("app", "", order).unwrap().starts_with("1app"));
    let refused = sql("app", "", "SELECT * FROM kept").unwrap_err();
    assert!(
        refused.contains("permission denied for table kept"),
        "{refused}"
    );
    let refused = sql("readers", "", "SELECT 1").unwrap_err();
    assert!(refused.contains("not permitted to log in"), "{refused}");
    cluster.succeed(&["role", "unbind", "app"]);
    let refused = sql("app", "", "SELECT 1").unwrap_err();
    assert!(refused.contains("steeldb role bind"), "{refused}");
    cluster.succeed(&["role", "bind", "app", "--client", "proxy"]);
    let said = cluster.refuse(&["role", "bind", "app", "--client", "nobody"], 2);
    assert!(said.contains("\"nobody\""), "{said}");
    let said = cluster.refuse(&["role", "bind", "stranger"], 1);
    assert!(said.contains("stranger"), "{said}");
    let said = cluster.refuse(&["role", "make", "pg_monitor"], 1);
    assert!(said.contains("reserved"), "{said}");

    // A proxy need not be the owner; with passwords nobody comes in without.
    cluster.succeed(&["role", "unbind", "postgres"]);
    let refused = sql("postgres", "", "SELECT 1").unwrap_err();
    assert!(refused.contains("may not act as the role"), "{refused}");
    cluster.succeed(&["down"]);
    cluster.up();
    assert!(sql("app", "", order).unwrap().starts_with("2app"));
    cluster.succeed(&["down"]);
    let path = cluster.data().join("proxy/proxy.toml");
    let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    writeln!(file, "\n[front.passwords]\n{}", verifier("app", "pencil")).unwrap();
    cluster.up();
    assert!(sql("app", "pencil", order).unwrap().starts_with("3app"));
    for (role, password) in [
        ("app", "pen"),
        ("app", ""),
        ("postgres", "pencil"),
        ("readers", "pencil"),
    ] {
        let refused = sql(role, password, "SELECT 1").unwrap_err();
        let wrong = refused.contains("password authentication failed")
            || refused.contains("no password supplied");
        assert!(wrong, "{role} {password:?}: {refused}");
    }
    let said = cluster.verify();
    assert!(said.contains("all 4 replicas are identical"), "{said}");
    assert_eq!(
        cluster.ask(3, "SELECT string_agg(who, ' ') FROM public.orders"),
        "app app app"
    );
}
