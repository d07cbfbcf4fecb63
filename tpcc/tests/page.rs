//! The report page: what it must show, that it needs nothing else, and that no data becomes markup.

use tpcc::report::page::page;
use tpcc::report::run::{Event, Percentiles, Run};

#[path = "page/sample.rs"]
mod sample;
use sample::{RULES, comparison, killed_and_back, run, runs};

fn full() -> String {
    let comparison = comparison("TPC-C, 1 warehouse, 8 terminals, 60 s", "tpmC");
    page(
        "SteelDB and PostgreSQL under TPC-C",
        &runs(),
        Some(&comparison),
    )
}

/// Tags balance, attributes are quoted, no ampersand or angle is loose; data in `style` and `script` is passed over.
fn well_formed(html: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html.strip_prefix("<!DOCTYPE html>").expect("a doctype");
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "loose >: {}", &rest[..start]);
        let end = start + rest[start..].find('>').expect("a tag that ends");
        let inside = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = inside.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closed in another order");
            continue;
        }
        let name = inside.split(' ').next().expect("a name");
        assert!(
            name.chars().all(|c| c.is_ascii_alphanumeric()),
            "no tag: {inside}"
        );
        assert_eq!(inside.matches('"').count() % 2, 0, "quotes: {inside}");
        if name == "style" || name == "script" {
            rest = &rest[rest.find(&format!("</{name}")).expect("its end")..];
        }
        if name != "meta" {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

fn needs_nothing_else(html: &str) {
    for reference in [
        "src=",
        "url(",
        "@import",
        "<link",
        "href=\"http",
        "<iframe",
        "javascript:",
    ] {
        assert!(!html.contains(reference), "{reference}");
    }
}

/// No figure of nothing on the page: neither as a number nor as a coordinate.
fn sound(html: &str) {
    well_formed(html);
    needs_nothing_else(html);
    let shown = html.split("<script").next().expect("a part");
    for word in ["NaN", "inf ", "inf\"", "inf<", "Infinity"] {
        assert!(!shown.contains(word), "{word}");
    }
}

/// Leaves a page in the target directory for whoever wants to look at it.
fn keep(name: &str, html: &str) {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{name}.html"));
    std::fs::write(path, html).expect("a target directory");
}

#[test]
fn a_full_page_is_sound() {
    let html = full();
    sound(&html);
    keep("full", &html);
    for shown in [
        "no official TPC-C results",
        "median of 3 rounds",
        "8\u{202f}820",
        "fdatasync",
        "pgpool is not installed",
        "0.50 cores a host",
        "bytes_sent_per_transaction",
        "1.10 %",
        "repeatable read",
        "closed loop",
        "2026-11-20 14:01 UTC",
    ] {
        assert!(html.contains(shown), "{shown}");
    }
}

#[test]
fn every_event_and_every_condition_is_shown() {
    let html = full();
    for event in killed_and_back() {
        // A label in each of the three charts over time, beside the words below them.
        let label = format!(">{}</span>", event.what);
        assert_eq!(html.matches(&label).count(), 3, "{label}");
    }
    for rule in RULES {
        assert_eq!(
            html.matches(&format!("<span>{rule}</span>")).count(),
            2,
            "{rule}"
        );
    }
    assert!(html.contains("The longest pause without a commit: 3 s, from second 35."));
}

#[test]
fn a_broken_condition_is_loud_even_in_a_round_not_shown_in_full() {
    let mut runs = runs();
    assert!(!page("t", &runs, None).contains("BROKEN"));
    let worst = runs
        .iter_mut()
        .filter(|run| run.system == "steeldb")
        .min_by(|a, b| a.tpm_c.total_cmp(&b.tpm_c))
        .unwrap();
    worst.consistency = "broken: 6".to_owned();
    worst.conditions[5].holds = false;
    worst.conditions[5].detail = Some("2 rows, the first: (1, 4, 3017)".to_owned());
    let html = page("t", &runs, None);
    sound(&html);
    keep("broken", &html);
    assert!(html.contains("class=\"card alarm\""));
    assert!(html.contains("steeldb: 3\u{202f}660 NEW-ORDERs a minute"));
    // On the card, and in the row of its round.
    assert_eq!(html.matches("✗ CONSISTENCY BROKEN: condition 6").count(), 2);
    assert!(html.contains("✗ BROKEN") && html.contains("2 rows, the first: (1, 4, 3017)"));
}

#[test]
fn a_run_that_says_it_is_broken_is_never_called_ok() {
    let mut run = run("steeldb", 1, 60.0, 10.0);
    run.consistency = "condition 3 could not be read".to_owned();
    let html = page("t", &[run.clone()], None);
    assert!(html.contains("CONSISTENCY BROKEN: condition 3 could not be read"));
    run.conditions.clear();
    for said in ["ok", "not checked"] {
        run.consistency = said.to_owned();
        let html = page("t", &[run.clone()], None);
        assert!(html.contains("consistency not checked") && !html.contains("consistency ok"));
        assert!(!html.contains("BROKEN"));
    }
}

#[test]
fn a_check_after_the_last_round_is_one_of_all() {
    let mut runs = runs();
    let before_the_last = runs.len() - 2;
    for run in &mut runs[..before_the_last] {
        run.conditions.clear();
        run.consistency = "not checked".to_owned();
    }
    let html = page("t", &runs, None);
    sound(&html);
    // The round of steeldb that is shown in full is the first, which was not checked.
    assert_eq!(html.matches("Clause 3.3.2, after round 3").count(), 2);
    assert_eq!(
        html.matches("hold (checked after 1 of 3 rounds)").count(),
        2
    );
    assert_eq!(
        html.matches(&format!("<span>{}</span>", RULES[11])).count(),
        2
    );
    runs.truncate(before_the_last);
    let unchecked = page("t", &runs, None);
    assert!(unchecked.contains("consistency not checked") && !unchecked.contains("consistency ok"));
}

#[test]
fn hostile_words_stay_words() {
    let evil = "</script><script>alert(1)</script>\"'&<!--\u{0}";
    let mut run = run(evil, 1, 60.0, 10.0);
    run.server = evil.to_owned();
    run.started = evil.to_owned();
    run.settings.isolation = evil.to_owned();
    run.errors[0].message = evil.to_owned();
    run.errors[0].sqlstate = evil.to_owned();
    run.events.push(Event {
        at_s: 5.0,
        what: evil.to_owned(),
    });
    run.kinds[0].name = evil.to_owned();
    run.conditions[0].holds = false;
    run.conditions[0].detail = Some(evil.to_owned());
    let mut comparison = comparison(evil, evil);
    comparison.systems[1].system = evil.to_owned();
    comparison.machine.cpu = evil.to_owned();
    comparison.skipped.insert(evil.to_owned(), evil.to_owned());
    let html = page(evil, &[run], Some(&comparison));
    sound(&html);
    assert!(!html.contains("<script>") && !html.contains("<!--") && !html.contains('\u{0}'));
    assert_eq!(html.matches("</script>").count(), 1);
    assert!(html.contains("&lt;script&gt;alert(1)"));
}

#[test]
fn nothing_committed_is_a_page_too() {
    let mut empty = run("steeldb", 1, 0.0, 1.0);
    for kind in &mut empty.kinds {
        let none = f64::NAN;
        kind.response_ms = Percentiles {
            mean: none,
            p50: none,
            p90: none,
            p95: none,
            p99: none,
            p999: none,
            max: none,
        };
        kind.share = none;
        kind.committed = 0;
        kind.histogram.clear();
    }
    empty.tpm_c = f64::NAN;
    let quiet = page("t", &[empty.clone()], None);
    sound(&quiet);
    empty.timeline.clear();
    empty.kinds.clear();
    empty.conditions.clear();
    empty.events.push(Event {
        at_s: f64::INFINITY,
        what: "the end".to_owned(),
    });
    let bare = page("t", &[empty], None);
    keep("quiet", &quiet);
    sound(&bare);
    assert!(bare.contains("This run has no timeline") && bare.contains("the end"));
    sound(&page("t", &[], None));
}

#[test]
fn one_run_alone_is_shown_in_full() {
    let html = page("t", &[run("steeldb", 1, 61.0, 13.0)], None);
    sound(&html);
    assert!(
        html.contains("(one round)")
            && !html.contains("id=\"comparison\"")
            && !html.contains("All rounds")
    );
}

#[test]
fn a_comparison_of_another_workload_needs_no_run() {
    let comparison = comparison("pgbench, TPC-B-like, scale 10, 8 clients, 60 s", "tps");
    let html = page("t", &[], Some(&comparison));
    sound(&html);
    keep("pgbench", &html);
    assert!(
        html.contains("transactions a second")
            && html.contains("0.430× (0.395–0.437) of postgresql")
    );
    assert!(!html.contains("official TPC-C") && !html.contains("class=\"badge"));
}

#[test]
fn the_data_is_in_the_page_as_json() {
    let html = full();
    let json = html
        .split("id=\"data\">")
        .nth(1)
        .unwrap()
        .split("</script>")
        .next()
        .unwrap();
    let data: serde_json::Value = serde_json::from_str(json).unwrap();
    let kept: Vec<Run> = serde_json::from_value(data["runs"].clone()).unwrap();
    assert_eq!(kept.len(), 6);
    assert_eq!(kept[1].events, killed_and_back());
    assert_eq!(data["comparison"]["systems"][1]["system"], "steeldb");
}
