//! Where a report goes: a page in a file, JSON on standard output.

use std::path::PathBuf;

use serde::Serialize;
use testbed::comparison::Comparison;
use tpcc::report::page;
use tpcc::report::run::Run;

use crate::failure::Failure;

/// Where the report goes
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Print the report as JSON on standard output
    #[arg(long)]
    pub json: bool,
    /// Write the report as a page that can be opened in a browser and sent to others [default: steeldb-bench-WHAT.html
    /// in the current directory]
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

impl Args {
    /// Writes the page, and says where. Comes last: who measured for minutes has the figures, whatever becomes of it.
    pub fn write_page(
        &self,
        what: &str,
        title: &str,
        runs: &[Run],
        comparison: Option<&Comparison>,
    ) -> Result<(), Failure> {
        let default = format!("steeldb-bench-{what}.html");
        let file = self.report.clone().unwrap_or_else(|| default.into());
        std::fs::write(&file, page::page(title, runs, comparison)).map_err(|error| {
            Failure::new(format!("cannot write the report {}", file.display()))
                .cause(error)
                .next("give another place with --report FILE")
        })?;
        eprintln!("the report is in {}", file.display());
        Ok(())
    }
}

/// One JSON document on standard output.
pub fn print_json(report: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(report)
        .map_err(|error| Failure::new("cannot write the report").cause(error))?;
    println!("{text}");
    Ok(())
}
