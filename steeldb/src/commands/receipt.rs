//! `steeldb receipt`: what the replicas signed of a committed transaction, checked without them.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use client_shim::{Receipt, Wanted};
use cluster::Cluster;
use consensus::View;
use txn::TxId;
use txn::receipt::{BEGINS, MAX_TEXT, Sort};

use crate::commands::Where;
use crate::failure::Failure;
use crate::members;
use crate::operator::Operator;

/// How long a quorum may take to be reached.
const CONNECT: Duration = Duration::from_secs(10);
/// A file may hold a little beside the receipt: what psql said of the statements before.
const MAX_FILE: u64 = MAX_TEXT as u64 + (1 << 20);

/// Check or fetch the signed receipt of a committed transaction
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Where,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Check a receipt offline: exit 0 and what it proves, or exit 1 and what is wrong with it
    Verify {
        /// What `SHOW steel.receipt` answered
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The cluster file to trust, instead of the one of --data; `genesis.toml` beside it counts, if there is one
        #[arg(long, value_name = "FILE")]
        cluster: Option<PathBuf>,
        /// Check too that these SQL statements, and no others, are what the transaction executed
        #[arg(long, value_name = "FILE")]
        sql: Option<PathBuf>,
    },
    /// Have a receipt signed by the running cluster, and print it
    Get {
        /// By place: the height
        #[arg(
            long,
            value_name = "H",
            requires = "index",
            conflicts_with = "transaction"
        )]
        height: Option<u64>,
        /// By place: the number in the batch
        #[arg(long, value_name = "I", requires = "height")]
        index: Option<u32>,
        /// By name, as a receipt tells it: among the last 65,536 transactions
        #[arg(long, value_name = "NAME")]
        transaction: Option<String>,
    },
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    match &args.what {
        What::Verify { file, cluster, sql } => {
            let trusted = match cluster {
                Some(file) => file.clone(),
                None => args.place.layout()?.cluster_file(),
            };
            println!("{}", verify(file, &trusted, sql.as_deref())?);
        }
        What::Get {
            height,
            index,
            transaction,
        } => {
            let wanted = wanted(*height, *index, transaction.as_deref())?;
            println!("{}", get(&args.place, wanted).await?);
        }
    }
    Ok(())
}

fn verify(file: &Path, trusted: &Path, sql: Option<&Path>) -> Result<String, Failure> {
    let genesis = Cluster::load_genesis(trusted).map_err(|error| {
        Failure::usage("there is no cluster file to check against")
            .cause(error)
            .next("give --cluster FILE or --data DIR")
    })?;
    let refused = |cause: String| {
        Failure::new(format!("the receipt in {} proves nothing", file.display())).cause(cause)
    };
    let text = read(file, MAX_FILE)?;
    let receipt = Receipt::parse(line(file, &text)?).map_err(|e| refused(e.to_string()))?;
    let view = receipt
        .verify(&genesis.membership())
        .map_err(|e| refused(e.to_string()))?;
    let mut report = report(&receipt, &view);
    if let Some(sql) = sql {
        let texts = statements(&read(sql, MAX_FILE)?, sql)?;
        if !receipt.fact.executed(texts.iter().map(String::as_str)) {
            return Err(Failure::new(format!(
                "the receipt is good, and of other statements than those in {}",
                sql.display()
            ))
            .cause(format!(
                "it covers {} statements, the file has {}",
                receipt.fact.steps,
                texts.len()
            ))
            .next("give the statements as the application sent them, without those that only read settings"));
        }
        let _ = write!(report, "\ntexts        those in {}", sql.display());
    }
    Ok(report)
}

fn read(file: &Path, most: u64) -> Result<String, Failure> {
    let unreadable =
        |cause: String| Failure::usage(format!("cannot read {}", file.display())).cause(cause);
    let opened = File::open(file).map_err(|error| unreadable(error.to_string()))?;
    let mut text = Vec::new();
    let read = opened.take(most + 1).read_to_end(&mut text);
    read.map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > most {
        return Err(unreadable(format!("it has more than {most} bytes")));
    }
    String::from_utf8(text).map_err(|_| unreadable("it is not UTF-8 text".into()))
}

/// The one line that is a receipt; psql may have written others before it.
fn line<'a>(file: &Path, text: &'a str) -> Result<&'a str, Failure> {
    let mut lines = text.lines().filter(|line| line.starts_with(BEGINS));
    match (lines.next(), lines.next()) {
        (Some(line), None) => Ok(line),
        (None, _) => Err(
            Failure::usage(format!("there is no receipt in {}", file.display()))
                .cause(format!("no line begins with {BEGINS}"))
                .next("save one: psql -At -c 'INSERT …' -c 'SHOW steel.receipt' > FILE"),
        ),
        (Some(_), Some(_)) => Err(Failure::usage(format!(
            "there are several receipts in {}",
            file.display()
        ))
        .next("check them one by one")),
    }
}

/// The texts as they are executed, without transaction control.
fn statements(text: &str, file: &Path) -> Result<Vec<String>, Failure> {
    use sql::Kind;
    let unreadable =
        |refusal: sql::Refusal| Failure::usage(format!("{}: {}", file.display(), refusal.message));
    let mut texts = Vec::new();
    for statement in sql::split(text).map_err(|error| unreadable(error.into()))? {
        let statement = statement.map_err(unreadable)?;
        match statement.kind {
            Kind::Empty
            | Kind::Begin(_)
            | Kind::Commit { .. }
            | Kind::Rollback { .. }
            | Kind::Show { .. } => {}
            _ => texts.push(statement.text),
        }
    }
    Ok(texts)
}

fn report(receipt: &Receipt, view: &View) -> String {
    let fact = &receipt.fact;
    let header = &fact.header;
    let time = i64::try_from(header.time_ms)
        .ok()
        .and_then(chrono::DateTime::from_timestamp_millis);
    let time = time.map_or_else(
        || format!("{} ms", header.time_ms),
        |time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
    );
    let sort = match fact.sort {
        Sort::Transaction => "a transaction block",
        Sort::Autocommit => "one statement",
    };
    let alone = match fact.unvalidated {
        0 => String::new(),
        n => format!("; {n} were answered by the master alone and are not covered"),
    };
    let writes = match fact.wrote_nothing() {
        true => "nothing was written".to_owned(),
        false => hex::encode(fact.writes.0),
    };
    let signers: Vec<String> = receipt
        .signatures
        .iter()
        .map(|(replica, _)| replica.0.to_string())
        .collect();
    let hex = |digest: consensus::Digest| hex::encode(digest.0);
    let lines = [
        format!("transaction  {}, {sort}, committed", fact.tx),
        format!(
            "place        height {}, number {} in its batch",
            header.height, fact.index
        ),
        format!("time         {time} (consensus time)"),
        format!("batch        {}", hex(header.digest)),
        format!("after        {}", hex(header.previous)),
        format!("request      {}", hex(fact.request)),
        format!("statements   {}: {}", fact.steps, hex(fact.statements)),
        format!("operations   {}", hex(fact.operations)),
        format!("results      {}{alone}", hex(fact.results)),
        format!("writes       {writes}"),
        format!("cluster      {}", hex(fact.cluster)),
        format!(
            "view         decided in view {}, signed in view {}",
            header.view, fact.view
        ),
        format!(
            "signed by    replicas {} ({} needed, f = {})",
            signers.join(", "),
            view.one_correct(),
            view.f
        ),
    ];
    format!("the receipt is good\n{}", lines.join("\n"))
}

fn wanted(
    height: Option<u64>,
    index: Option<u32>,
    transaction: Option<&str>,
) -> Result<Wanted, Failure> {
    if let (Some(height), Some(index)) = (height, index) {
        return Ok(Wanted::Place { height, index });
    }
    let name = transaction.ok_or_else(|| {
        Failure::usage("which transaction?").next("give --height and --index, or --transaction")
    })?;
    TxId::parse(name).map(Wanted::Transaction).ok_or_else(|| {
        Failure::usage(format!("{name:?} is no name of a transaction"))
            .next("names look like c65536.1764390000000000000.7")
    })
}

async fn get(place: &Where, wanted: Wanted) -> Result<String, Failure> {
    let layout = place.layout()?;
    let cluster = members::load(&layout)?;
    let operator = Operator::connect(&layout, &cluster).await?;
    let failed = |error: client_shim::ShimError| {
        Failure::new("there is no receipt")
            .cause(error)
            .next(format!("steeldb status --data {}", layout.root().display()))
    };
    operator.shim.ready(CONNECT).await.map_err(failed)?;
    let receipt = operator.shim.receipt_of(wanted).await.map_err(failed)?;
    Ok(receipt.to_text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receipt_is_found_among_what_psql_says() {
        let file = Path::new("f");
        let saved = format!("INSERT 0 1\n{BEGINS}…}}\n");
        assert_eq!(line(file, &saved).unwrap(), format!("{BEGINS}…}}"));
        for other in ["", "INSERT 0 1\n{}\n", &saved.repeat(2)] {
            assert_eq!(line(file, other).unwrap_err().code(), crate::failure::USAGE);
        }
    }

    #[test]
    fn which_transaction_is_said_by_place_or_by_name() {
        let place = Wanted::Place {
            height: 4,
            index: 0,
        };
        assert_eq!(wanted(Some(4), Some(0), None), Ok(place));
        assert!(matches!(
            wanted(None, None, Some("c65536.7.9")),
            Ok(Wanted::Transaction(_))
        ));
        for bad in [
            None,
            Some("7"),
            Some("c1.2"),
            Some("c1.2.03"),
            Some("c1.2.3.4"),
        ] {
            assert!(wanted(None, None, bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn transaction_control_is_no_statement_of_the_receipt() {
        let text = "BEGIN; UPDATE t SET a = 1 -- here\n; SAVEPOINT s; COMMIT;";
        let texts = statements(text, Path::new("f")).unwrap();
        assert_eq!(texts, ["UPDATE t SET a = 1", "SAVEPOINT s"]);
    }
}
