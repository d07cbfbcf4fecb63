//! What a load leaves, and what it does not touch.

use std::sync::Mutex;

use tokio::sync::Notify;
use tpcc::{Config, Error, load};

use crate::runs::two_warehouses_serve_each_other;
use crate::server::{Server, number};

pub async fn a_table_of_somebody_else_is_left_alone(server: &Server) {
    let client = server.connect("postgres").await;
    client
        .batch_execute("CREATE DATABASE shop; ")
        .await
        .unwrap();
    let shop = server.connect("shop").await;
    shop.batch_execute("CREATE TABLE item (mine text); INSERT INTO item VALUES ('dear')")
        .await
        .unwrap();
    let refused = load(&Config::new(server.dsn("shop")), |_, _| {}).await;
    assert!(
        matches!(&refused, Err(Error::Foreign(table)) if table == "item"),
        "{refused:?}"
    );
    assert_eq!(number(&shop, "SELECT count(*) FROM item").await, 1);
    // A mark that is not ours is none.
    shop.batch_execute("CREATE TABLE tpcc_load (notes text)")
        .await
        .unwrap();
    let refused = load(&Config::new(server.dsn("shop")), |_, _| {}).await;
    assert!(matches!(refused, Err(Error::Foreign(_))), "{refused:?}");
    assert_eq!(number(&shop, "SELECT count(*) FROM item").await, 1);
}

pub async fn the_warehouse_is_loaded_once(server: &Server) {
    let client = server.connect("postgres").await;
    client
        .batch_execute("CREATE DATABASE loaded")
        .await
        .unwrap();
    let config = Config::new(server.dsn("loaded"));
    let told = Mutex::new(Vec::new());
    let first = load(&config, |done, of| told.lock().unwrap().push((done, of)))
        .await
        .unwrap();
    assert_eq!((first.warehouses, first.seed), (1, config.seed));
    let told = told.into_inner().unwrap();
    assert!(told.len() > 30, "progress: {told:?}");
    assert!(
        told.iter()
            .all(|(done, of)| done <= of && *of == first.rows)
    );
    assert!(told.contains(&(first.rows, first.rows)), "the last row");

    let again = load(&config, |_, _| panic!("nothing is missing"))
        .await
        .unwrap();
    assert_eq!((again.rows, again.c_last), (0, first.c_last));
    let more = tpcc::run(
        &Config {
            warehouses: 2,
            ..config
        },
        tpcc::Events::default(),
        |_| {},
    )
    .await;
    assert!(
        matches!(
            more,
            Err(Error::NotLoaded {
                loaded: 1,
                asked: 2
            })
        ),
        "{more:?}"
    );
}

/// Clause 1.2.1; ORDER-LINE may differ by its random lines.
pub async fn cardinalities_are_those_of_the_specification(server: &Server) {
    let client = server.connect("loaded").await;
    for (table, rows) in [
        ("warehouse", 1),
        ("district", 10),
        ("customer", 30_000),
        ("history", 30_000),
        ("orders", 30_000),
        ("new_order", 9_000),
        ("stock", 100_000),
        ("item", 100_000),
    ] {
        let count = number(&client, &format!("SELECT count(*) FROM {table}")).await;
        assert_eq!(count, rows, "{table}");
    }
    let lines = number(&client, "SELECT count(*) FROM order_line").await;
    // 30,000 orders of 5 to 15 lines: five sigmas are 2,740.
    assert!((lines - 300_000).abs() < 2_740, "{lines} order lines");
}

pub async fn the_population_follows_its_rules(server: &Server) {
    let client = server.connect("loaded").await;
    // Clause 4.3.3.1: each of these finds nothing.
    for wrong in [
        "SELECT count(*) FROM customer WHERE c_id = 372 AND c_last <> 'PRICALLYOUGHT'",
        "SELECT count(*) FROM (SELECT FROM customer WHERE c_id <= 1000 GROUP BY c_w_id, c_d_id
           HAVING count(DISTINCT c_last) <> 1000) x",
        "SELECT count(*) FROM (SELECT FROM orders GROUP BY o_w_id, o_d_id HAVING count(DISTINCT o_c_id) <> 3000) x",
        "SELECT count(*) FROM orders WHERE (o_id >= 2101) <> (o_carrier_id IS NULL)",
        "SELECT count(*) FROM orders WHERE o_ol_cnt NOT BETWEEN 5 AND 15 OR o_all_local <> 1",
        "SELECT count(*) FROM order_line WHERE (ol_o_id >= 2101) <> (ol_delivery_d IS NULL)",
        "SELECT count(*) FROM order_line WHERE (ol_o_id >= 2101) <> (ol_amount > 0) OR ol_quantity <> 5",
        "SELECT count(*) FROM new_order WHERE no_o_id NOT BETWEEN 2101 AND 3000",
        "SELECT count(*) FROM warehouse WHERE w_zip NOT LIKE '____11111' OR w_ytd <> 300000 OR w_tax > 0.2",
        "SELECT count(*) FROM district WHERE d_next_o_id <> 3001 OR d_ytd <> 30000",
        "SELECT count(*) FROM customer WHERE c_balance <> -10 OR c_discount > 0.5 OR c_middle <> 'OE'
           OR length(c_data) NOT BETWEEN 300 AND 500 OR c_phone !~ '^[0-9]{16}$'",
        "SELECT count(*) FROM stock WHERE s_quantity NOT BETWEEN 10 AND 100 OR length(s_dist_07) <> 24",
        "SELECT count(*) FROM item WHERE i_price NOT BETWEEN 1 AND 100 OR length(i_data) NOT BETWEEN 26 AND 50",
        "SELECT count(*) - 1 FROM (SELECT DISTINCT c_since FROM customer) x",
    ] {
        assert_eq!(number(&client, wrong).await, 0, "{wrong}");
    }
    let permuted = "SELECT count(*) FROM orders WHERE o_c_id <> o_id";
    assert!(number(&client, permuted).await > 29_900);
    // Ten references of Clause 1.3; HISTORY has no key of its own.
    let constraints = "SELECT count(*) FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype = ";
    assert_eq!(number(&client, &format!("{constraints}'f'")).await, 10);
    assert_eq!(number(&client, &format!("{constraints}'p'")).await, 9);
}

/// As after a crash in the last step; then a commit fails and connections are lost. The new load has the same seed, and so
/// the same rows for the first warehouse.
pub async fn an_interrupted_load_begins_anew(server: &Server) {
    let sums = "SELECT (SELECT sum(hashtext(c.*::text)::bigint) FROM customer c WHERE c_w_id = 1)
                     + (SELECT sum(hashtext(l.*::text)::bigint) FROM order_line l WHERE ol_w_id = 1)
                     + (SELECT sum(hashtext(s.*::text)::bigint) FROM stock s WHERE s_w_id = 1)";
    let client = server.connect("loaded").await;
    let before = number(&client, sums).await;
    drop(client);
    let config = Config {
        warehouses: 2,
        ..Config::new(server.copy("cut", "loaded").await)
    };
    let client = server.connect("cut").await;
    client
        .batch_execute(
            "UPDATE tpcc_load SET complete = false; DELETE FROM history WHERE h_c_id = 7",
        )
        .await
        .unwrap();
    let run = tpcc::run(&config, tpcc::Events::default(), |_| {}).await;
    assert!(
        matches!(run, Err(Error::NotLoaded { loaded: 0, .. })),
        "{run:?}"
    );
    // The first COMMIT of rows of NEW_ORDER fails, once, after COPY itself was well.
    let stumble = "
        CREATE SEQUENCE commits;
        CREATE FUNCTION stumble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('commits') = 1 THEN RAISE EXCEPTION 'told to' USING ERRCODE = '40001'; END IF;
            RETURN NULL;
        END $$;
        CREATE FUNCTION lay() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
            IF EXISTS (SELECT 1 FROM pg_event_trigger_ddl_commands() WHERE object_identity = 'public.new_order') THEN
                CREATE CONSTRAINT TRIGGER stumble AFTER INSERT ON new_order DEFERRABLE INITIALLY DEFERRED
                    FOR EACH ROW EXECUTE FUNCTION stumble();
            END IF;
        END $$;
        CREATE EVENT TRIGGER lay ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION lay()";
    client.batch_execute(stumble).await.unwrap();
    // Meanwhile all that copy lose their connections, once.
    let begun = Notify::new();
    let (loaded, ()) = tokio::join!(
        load(&config, |done, of| if done > of / 3 {
            begun.notify_one();
        }),
        async {
            begun.notified().await;
            let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                        WHERE datname = 'cut' AND query LIKE 'COPY %'";
            let observer = server.connect("postgres").await;
            assert!(number(&observer, kill).await > 0);
        }
    );
    assert!(loaded.unwrap().rows > 1_000_000);
    assert!(number(&client, "SELECT last_value FROM commits").await > 1);
    for (table, rows) in [
        ("history", 60_000),
        ("stock", 200_000),
        ("item", 100_000),
        ("new_order", 18_000),
    ] {
        let count = number(&client, &format!("SELECT count(*) FROM {table}")).await;
        assert_eq!(count, rows, "{table}");
    }
    assert_eq!(number(&client, sums).await, before, "same seed, same rows");
    two_warehouses_serve_each_other(config.dsn, &client).await;
}
