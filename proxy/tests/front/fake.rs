//! A scripted database: what it is asked is written down, what it answers follows from the statement's words.

use bytes::{BufMut, Bytes, BytesMut};
use client_shim::{Isolation, Operation, Outcome, ShimError};
use proxy::{Autocommit, Database, Proxy, ProxyConfig, SessionSettings, Transaction};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

#[derive(Clone, Default)]
pub struct Fake {
    log: Arc<Mutex<Vec<String>>>,
    changed: Arc<Notify>,
}

impl Fake {
    fn note(&self, line: impl Into<String>) {
        self.log.lock().unwrap().push(line.into());
        self.changed.notify_waiters();
    }

    /// What was asked since the last call.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    /// Waits until this was asked.
    pub async fn until(&self, line: &str) {
        let found = async {
            loop {
                let changed = self.changed.notified();
                if self.log.lock().unwrap().iter().any(|known| known == line) {
                    return;
                }
                changed.await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(60), found).await;
        assert!(
            found.is_ok(),
            "{line:?} was never asked; asked: {:?}",
            self.asked()
        );
    }
}

/// A front with a scripted database behind it; it stops when this is dropped.
pub struct Front {
    pub address: SocketAddr,
    pub database: Fake,
    _stop: oneshot::Sender<()>,
}

impl Front {
    pub async fn start() -> Front {
        Front::with(ProxyConfig::default()).await
    }

    pub async fn with(config: ProxyConfig) -> Front {
        let database = Fake::default();
        let config = ProxyConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            ..config
        };
        let proxy = Proxy::bind(config, database.clone()).await.unwrap();
        let address = proxy.local_addr();
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(proxy.run(async move {
            let _ = stopped.await;
        }));
        Front {
            address,
            database,
            _stop: stop,
        }
    }
}

pub fn frame(kind: u8, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(kind);
    frame.put_u32(body.len() as u32 + 4);
    frame.put_slice(body);
    frame.freeze()
}

fn row(value: &str) -> Bytes {
    let mut body = vec![0, 1];
    body.put_u32(value.len() as u32);
    body.put_slice(value.as_bytes());
    frame(b'D', &body)
}

fn error(sqlstate: &str, message: &str) -> Bytes {
    frame(
        b'E',
        format!("SERROR\0VERROR\0C{sqlstate}\0M{message}\0\0").as_bytes(),
    )
}

fn outcome(frames: Vec<Bytes>, in_block: bool) -> Outcome {
    let failed = frames.iter().any(|frame| frame[0] == b'E');
    Outcome {
        frames,
        result: consensus::Digest([0; 32]),
        transaction: match (in_block, failed) {
            (false, _) => b'I',
            (true, true) => b'E',
            (true, false) => b'T',
        },
    }
}

/// A RowDescription of one column of this name.
fn described_as(name: u8) -> Bytes {
    let mut body = *b"\0\x01a\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";
    body[2] = name;
    frame(b'T', &body)
}

/// `rows N` in a statement gives N rows; `fail` an error; `doom` the end of the transaction; `hang` waits for a cancel; `twofaced` is described
/// otherwise in a block than outside; `typed` has a parameter of the type int8, or if it is
/// `twofaced` too float8 in a block; what will `fail late` describes its column as `b` before the error.
async fn run(
    operation: &Operation,
    in_block: bool,
    cancelled: impl Future<Output = ()>,
) -> Result<Outcome, ShimError> {
    let sql = operation.sql.as_str();
    let word = sql
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_ascii_uppercase();
    let number = |key: &str| {
        let rest = &sql[sql.find(key)? + key.len()..];
        rest.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse::<usize>()
            .ok()
    };
    if sql.contains("doom") {
        return Err(ShimError::retry("could not serialize access: doomed"));
    }
    if sql.contains("hang") && !operation.describe_only {
        cancelled.await;
        return Ok(outcome(
            vec![error("57014", "canceling statement due to user request")],
            in_block,
        ));
    }
    if sql.contains("fail") && !(sql.contains("late") && operation.describe_only) {
        let mut frames = vec![error("22012", "division by zero")];
        if sql.contains("late") {
            frames.insert(0, described_as(b'b'));
        }
        return Ok(outcome(frames, in_block));
    }
    let query = matches!(word.as_str(), "SELECT" | "SHOW" | "FETCH") || sql.contains("RETURNING");
    // What is twofaced has another column in a block.
    let name = match sql.contains("twofaced") && in_block {
        true => b'b',
        false => b'a',
    };
    let description = match query {
        true => described_as(name),
        false => frame(b'n', b""),
    };
    if operation.describe_only {
        let mut oids = operation.parameter_types.clone();
        if sql.contains("typed") && oids.is_empty() {
            oids.push(if name == b'b' { 701 } else { 20 });
        }
        let mut types = vec![0, oids.len() as u8];
        oids.iter().for_each(|oid| types.put_u32(*oid));
        return Ok(outcome(vec![frame(b't', &types), description], in_block));
    }
    let mut frames = vec![description];
    let rows = if query {
        number("rows ").unwrap_or(1)
    } else {
        0
    };
    frames.extend((1..=rows).map(|n| row(&n.to_string())));
    let tag = match word.as_str() {
        "SELECT" => format!("SELECT {rows}"),
        "INSERT" => "INSERT 0 1".to_owned(),
        "COPY" => {
            let bytes: usize = operation.copy_in.iter().flatten().map(Bytes::len).sum();
            frames.push(frame(b'G', b"\0\0\0"));
            format!("COPY {bytes}")
        }
        "CREATE" => "CREATE TABLE".to_owned(),
        word => word.to_owned(),
    };
    frames.push(frame(b'C', format!("{tag}\0").as_bytes()));
    if word == "SET"
        && let Some((_, zone)) = sql.split_once("timezone = ")
    {
        let value = zone.trim_matches('\'');
        frames.push(frame(b'S', format!("TimeZone\0{value}\0").as_bytes()));
    }
    Ok(outcome(frames, in_block))
}

fn shown(settings: &SessionSettings) -> String {
    let shown: Vec<_> = settings
        .iter()
        .map(|(name, value)| format!(" {name}={value}"))
        .collect();
    shown.concat()
}

fn described(operation: &Operation) -> String {
    let verb = if operation.describe_only {
        "describe "
    } else {
        ""
    };
    let types = match &operation.parameter_types[..] {
        types if operation.sql.contains("typed") && !types.is_empty() => format!(" {types:?}"),
        _ => String::new(),
    };
    format!("{verb}{}{types}", operation.sql)
}

impl Database for Fake {
    type Transaction = FakeTransaction;

    async fn parameters(&self) -> Result<SessionSettings, ShimError> {
        let reported = [("server_version", "15.0"), ("TimeZone", "UTC")];
        Ok(reported
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec())
    }

    async fn receipt(&self) -> Result<String, ShimError> {
        self.note("receipt");
        Ok("signed".into())
    }

    fn begin(
        &self,
        settings: SessionSettings,
        isolation: Isolation,
        read_only: bool,
    ) -> FakeTransaction {
        let mode = match (isolation, read_only) {
            (Isolation::Snapshot, false) => "",
            (Isolation::Snapshot, true) => " read only",
            (Isolation::Serializable, false) => " serializable",
            (Isolation::Serializable, true) => " serializable read only",
        };
        self.note(format!("begin{mode}{}", shown(&settings)));
        FakeTransaction {
            fake: self.clone(),
            cancelled: Arc::default(),
            abort: false,
            ended: false,
        }
    }

    async fn autocommit(
        &self,
        how: Autocommit,
        settings: SessionSettings,
        operation: Operation,
        cancelled: impl Future<Output = ()> + Send,
    ) -> Result<Outcome, ShimError> {
        // The replicas do not know this one.
        if settings.contains(&(client_shim::ROLE.to_owned(), "root".to_owned())) {
            let unknown = error("28000", "role \"root\" does not exist");
            return Ok(outcome(vec![unknown], false));
        }
        // The look at a COPY's table is not what these tests are about.
        if operation.sql.contains("to_regclass") {
            let exists = operation.parameters[0].as_deref() != Some(b"nowhere");
            let columns = [
                0,
                2,
                0,
                0,
                0,
                1,
                if exists { b't' } else { b'f' },
                0,
                0,
                0,
                1,
                b'3',
            ];
            return Ok(outcome(vec![frame(b'D', &columns)], false));
        }
        let how = match how {
            Autocommit::Read { unvalidated: true } => "master",
            Autocommit::Read { .. } => "read",
            Autocommit::Write => "auto",
            Autocommit::Exec => "exec",
        };
        let given_up = GivenUp(Some((self.clone(), described(&operation))));
        self.note(format!(
            "{how} {}{}",
            described(&operation),
            shown(&settings)
        ));
        let outcome = run(&operation, false, cancelled).await;
        given_up.done();
        outcome
    }
}

/// Notes that nobody waited for the end.
struct GivenUp(Option<(Fake, String)>);

impl GivenUp {
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        if let Some((fake, what)) = self.0.take() {
            fake.note(format!("given up {what}"));
        }
    }
}

pub struct FakeTransaction {
    fake: Fake,
    cancelled: Arc<Notify>,
    /// The replicas will not agree.
    abort: bool,
    ended: bool,
}

impl Transaction for FakeTransaction {
    async fn execute(
        &mut self,
        operation: Operation,
        unvalidated: bool,
    ) -> Result<Outcome, ShimError> {
        let who = if unvalidated { " at the master" } else { "" };
        if operation.sql.contains("to_regclass") {
            return Ok(outcome(
                vec![frame(b'D', &[0, 2, 0, 0, 0, 1, b't', 0, 0, 0, 1, b'3'])],
                true,
            ));
        }
        self.fake.note(format!("{}{who}", described(&operation)));
        self.abort |= operation.sql.contains("abort");
        let cancelled = self.cancelled.clone();
        let outcome = run(&operation, true, async move { cancelled.notified().await }).await;
        if outcome.is_err() {
            self.ended = true;
        }
        outcome
    }

    async fn commit(mut self) -> Result<(), ShimError> {
        self.ended = true;
        self.fake.note("commit");
        match self.abort {
            true => Err(ShimError::retry("could not serialize access: aborted")),
            false => Ok(()),
        }
    }

    async fn rollback(self) {}

    fn leaves_something(&self) -> bool {
        false
    }

    fn canceller(&self) -> impl Fn() + Send + Sync + 'static {
        let (cancelled, fake) = (self.cancelled.clone(), self.fake.clone());
        move || {
            fake.note("cancel");
            cancelled.notify_one();
        }
    }
}

impl Drop for FakeTransaction {
    fn drop(&mut self) {
        if !self.ended {
            self.fake.note("rollback");
        }
    }
}
