//! The page that shows runs and a comparison to people: one HTML file that needs nothing else, with its data inside.

mod axis;
mod consistency;
mod cpu;
mod figures;
mod headline;
mod html;
mod kinds;
mod labels;
mod method;
mod plot;
mod subject;
mod system;
mod timeline;
mod versus;

use testbed::comparison::Comparison;

use super::run::Run;
use html::{Html, tag, tag_with};
use subject::Subject;

/// One self-contained HTML file: the result in a sentence per system, the comparison, each system's run with the median
/// throughput in full, how it was measured, and everything as JSON in the element `data`. `runs` may be of several systems,
/// those of one in the order in which they ran; there may be none where the comparison ran another workload.
pub fn page(title: &str, runs: &[Run], comparison: Option<&Comparison>) -> String {
    let subject = Subject { runs, comparison };
    let systems = subject.systems();
    let mut main = headline::section(title, &subject);
    main.extend([navigation(&subject, &systems)]);
    main.extend(comparison.map(|comparison| versus::section(comparison, &subject)));
    for (i, system) in systems.iter().enumerate() {
        main.extend(system::section(i, system, &subject));
    }
    main.extend([method::section(&subject)]);
    let head = [
        Html::meta(),
        tag("title", title),
        Html::style(include_str!("page.css")),
    ];
    let document = [tag("head", head), tag("body", tag("main", main))];
    let html = tag("html lang=\"en\"", document).into_string();
    format!("<!DOCTYPE html>\n{html}\n")
}

/// Links to the sections.
fn navigation(subject: &Subject<'_>, systems: &[&str]) -> Html {
    let link = |to: String, name: &str| tag_with("a", &[("href", format!("#{to}"))], name);
    let mut all = Html::default();
    all.extend(
        subject
            .comparison
            .map(|_| link("comparison".into(), "Comparison")),
    );
    for (i, system) in systems.iter().enumerate() {
        let has_runs = !subject.runs_of(system).is_empty();
        all.extend(has_runs.then(|| link(format!("system-{i}"), system)));
    }
    all.extend([link("method".into(), "How it was measured")]);
    tag("nav aria-label=\"Sections\"", all)
}
