//! An existing database, brought into a cluster through the total order (docs/decisions/0018-import.md).
//!
//! One snapshot of the source is the moment that is imported: `pg_dump` tells the schema at it, COPY the rows. What cannot be
//! carried is listed before anything is changed. Everything goes in as transactions at a proxy of the import's own, roles and
//! extensions with an administrator's signature. In the end all replicas' digests are compared with the source's.

mod check;
mod dump;
mod front;
mod load;
mod owners;
mod precheck;
pub mod provision;
mod schema;
mod source;
pub mod state;

use std::time::{Duration, Instant};

use cluster::Cluster;
use net::Identity;

use crate::failure::Failure;
use crate::layout::Layout;
use crate::operator::{self, Operator};
use crate::progress::Progress;
use front::Front;
use source::Source;
use state::{Stage, State};

/// How long a quorum of replicas may take to be reached.
const CONNECT: Duration = Duration::from_secs(30);

/// How the import is to be done.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// The running PostgreSQL to import: postgresql://USER@HOST:PORT/DATABASE. USER should be a superuser there
    #[arg(long, value_name = "DSN")]
    pub from: Option<String>,
    /// Leave out what cannot be carried, instead of refusing
    #[arg(long, requires = "from")]
    pub skip_unsupported: bool,
    /// Drop what an interrupted import has left, and import again
    #[arg(long, requires = "from")]
    pub begin_anew: bool,
}

/// What was imported.
pub struct Done {
    pub tables: usize,
    pub rows: u64,
    pub bytes: u64,
    /// From the first row read to the last one committed.
    pub loading: Duration,
    pub height: u64,
}

/// Imports the source that the options name.
///
/// # Errors
/// When something cannot be carried, a statement fails, or the replicas do not hold what the source held.
pub async fn run(
    layout: &Layout,
    cluster: &Cluster,
    options: &Options,
    patience: Duration,
    progress: &Progress,
) -> Result<Done, Failure> {
    let dsn = options.from.as_deref().unwrap_or_default();
    progress.step("looking at the source");
    let source = Source::open(dsn).await?;
    let plan = precheck::plan(&source).await?;
    judge_findings(&plan, options.skip_unsupported, progress)?;
    let mut roles = provision::roles(&source).await?;
    roles.extend(provision::bindings(&roles, cluster));
    let extensions = provision::extensions(&source).await?;
    for note in provision::notes(&source).await? {
        progress.note(&format!("note: {note}"));
    }
    let tables = source.tables(&plan.left_out).await?;

    let target = Target::open(layout, cluster).await?;
    let client = target.front.connect().await?;
    let interrupted = State::read(layout)?.is_some_and(|state| state.stage == Stage::Begun);
    if interrupted && options.begin_anew {
        progress.step("dropping what the interrupted import has left");
        schema::drop_all(&client).await?;
    } else if interrupted {
        state::refuse_interrupted(layout)?;
    }
    schema::refuse_occupied(&client).await?;
    let mut state = State {
        stage: Stage::Begun,
        source: source.place(),
    };
    state.write(layout)?;

    let skipping = options.skip_unsupported;
    progress.step("roles");
    let shim = &target.operator.shim;
    provision::carry_out(shim, &target.administrator, &roles).await?;
    let mut skipped =
        schema::run_pre(&client, &target, &plan.pre, &extensions, skipping, progress).await?;
    let start = Instant::now();
    let bytes = load::tables(&source, &tables, &target.front, progress).await?;
    let loading = start.elapsed();
    let sequences = source.sequences().await?;
    schema::set_sequences(&client, &sequences).await?;
    skipped.extend(
        schema::run(
            &client,
            &plan.post,
            skipping,
            progress,
            "keys, indexes, triggers",
        )
        .await?,
    );
    let owners = owners::grants(&source, &plan.left_out).await?;
    skipped.extend(schema::run(&client, &owners, skipping, progress, "rights of owners").await?);
    for skipped in skipped {
        progress.note(&format!("left out: {skipped}"));
    }
    progress.step("gathering statistics");
    client
        .batch_execute("ANALYZE")
        .await
        .map_err(|error| sql_error("the tables cannot be analyzed", &error))?;

    let contents = check::digests(&source, &tables, progress).await?;
    let audit = check::audit(shim, cluster, patience, progress).await?;
    let mut differences = check::differences(&contents, &audit);
    differences.extend(check::sequences(&client, &sequences).await?);
    drop(client);
    target.close().await;
    if !differences.is_empty() {
        return Err(
            Failure::new("the cluster does not hold what the source held")
                .cause(differences.join("\n"))
                .next("look at the replicas with `steeldb verify`, then import again with --begin-anew"),
        );
    }
    state.stage = Stage::Verified;
    state.write(layout)?;
    Ok(Done {
        tables: tables.len(),
        rows: contents.iter().map(|(_, (rows, _))| rows).sum(),
        bytes,
        loading,
        height: audit.height,
    })
}

/// Compares a source as it is now with what all replicas hold, and changes nothing.
///
/// # Errors
/// When they differ; each table is named.
pub async fn compare(
    layout: &Layout,
    cluster: &Cluster,
    dsn: &str,
    patience: Duration,
    progress: &Progress,
) -> Result<Done, Failure> {
    progress.step("looking at the source");
    let source = Source::open(dsn).await?;
    let findings = precheck::catalogs(&source).await?;
    let left_out: Vec<String> = findings
        .into_iter()
        .filter(|finding| finding.is_table)
        .map(|finding| finding.object)
        .collect();
    let tables = source.tables(&left_out).await?;
    let contents = check::digests(&source, &tables, progress).await?;
    let target = Target::open(layout, cluster).await?;
    let audit = check::audit(&target.operator.shim, cluster, patience, progress).await?;
    target.close().await;
    let differences = check::differences(&contents, &audit);
    if !differences.is_empty() {
        return Err(
            Failure::new("the cluster does not hold what the source holds")
                .cause(differences.join("\n")),
        );
    }
    Ok(Done {
        tables: tables.len(),
        rows: contents.iter().map(|(_, (rows, _))| rows).sum(),
        bytes: 0,
        loading: Duration::ZERO,
        height: audit.height,
    })
}

/// # Errors
/// When something cannot be carried and may not be left out.
fn judge_findings(
    plan: &precheck::Plan,
    skipping: bool,
    progress: &Progress,
) -> Result<(), Failure> {
    if plan.findings.is_empty() {
        return Ok(());
    }
    progress.note(&precheck::list(&plan.findings));
    if skipping {
        progress.note("these are left out, as --skip-unsupported says");
        return Ok(());
    }
    let kinds = plan.findings.len();
    Err(Failure::new("the source cannot be imported whole")
        .cause(format!(
            "{kinds} objects cannot be carried; nothing was changed"
        ))
        .next("change them in the source, or leave them out with --skip-unsupported"))
}

/// The cluster, spoken to as an operator.
struct Target {
    operator: Operator,
    /// Signs what no client may do.
    administrator: Identity,
    front: Front,
}

impl Target {
    async fn open(layout: &Layout, cluster: &Cluster) -> Result<Target, Failure> {
        let administrator = operator::administrator_key(layout, cluster)?;
        let operator = Operator::connect(layout, cluster).await?;
        let ready = operator.shim.ready(CONNECT).await;
        ready.map_err(|error| {
            Failure::new("the cluster cannot be reached")
                .cause(error)
                .next(format!("steeldb status --data {}", layout.root().display()))
        })?;
        let front = Front::open(operator.shim.clone()).await?;
        Ok(Target {
            operator,
            administrator,
            front,
        })
    }

    async fn close(self) {
        self.front.close().await;
    }
}

/// A failure with what a server said.
fn sql_error(what: &str, error: &tokio_postgres::Error) -> Failure {
    let cause = match error.as_db_error() {
        Some(said) => {
            let more = [said.detail(), said.hint()].into_iter().flatten();
            let more: String = more.map(|line| format!("\n{line}")).collect();
            format!("{} ({}){more}", said.message(), said.code().code())
        }
        None => {
            let source = std::error::Error::source(error);
            source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
        }
    };
    Failure::new(what).cause(cause)
}
