//! Stands between psql and a server: what psql sends is classified, run at the server and at a second one, and what
//! the server did with it is noted. psql itself cuts the scripts into statements, so its rules are kept exactly.

use crate::wire::{Answer, Frame, Wire, query};
use sql::{Kind, Refusal, SplitError, Statement};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What `sql` says of one statement.
pub type Reading = Result<Statement, Refusal>;

/// One query string that psql sent.
pub struct Observation {
    pub script: String,
    pub text: String,
    pub reading: Result<Vec<Reading>, SplitError>,
    pub answer: Answer,
    /// Transaction numbers that the server gave out meanwhile: it wrote something.
    pub wrote: bool,
    /// It counts as a read, it wrote, and in a READ ONLY transaction it did not fail with 25006.
    pub escaped: bool,
    /// What the second server, fed alike, answered otherwise.
    pub differs: Option<String>,
    /// With sort keys in its LIMITs PostgreSQL takes it no more: the text and the error.
    pub broken: Option<String>,
}

/// Where everything goes.
pub struct Shared {
    pub server: PathBuf,
    pub twin: PathBuf,
    /// A session that counts the server's transaction numbers.
    pub control: Mutex<Wire>,
    pub script: Mutex<String>,
    pub seen: Mutex<Vec<Observation>>,
    /// Connections of psql that are not at their end yet.
    pub open: Mutex<usize>,
}

impl Shared {
    /// Waits until everything that psql sent has been looked at.
    pub fn settle(&self) {
        while *self.open.lock().expect("no panic") > 0 {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

/// Serves psql's connections until the process ends.
pub fn listen(directory: &Path, shared: Arc<Shared>) -> io::Result<()> {
    let listener = UnixListener::bind(directory.join(".s.PGSQL.5432"))?;
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let shared = shared.clone();
            *shared.open.lock().expect("no panic") += 1;
            std::thread::spawn(move || {
                // A connection ends with an error when psql or a server closes it: nothing to do about it.
                let _ = Connection::serve(client, &shared);
                *shared.open.lock().expect("no panic") -= 1;
            });
        }
    });
    Ok(())
}

struct Connection<'a> {
    client: Wire,
    server: Wire,
    twin: Wire,
    shared: &'a Shared,
    status: u8,
}

impl Connection<'_> {
    fn serve(client: UnixStream, shared: &Shared) -> io::Result<()> {
        let mut client = Wire::new(client);
        let startup = loop {
            let startup = client.receive_startup()?;
            match startup.get(..4) {
                // SSLRequest, GSSENCRequest.
                Some([4, 210, 22, 47 | 48]) => client.send_byte(b'N')?,
                _ => break startup,
            }
        };
        let open = |path: &Path| -> io::Result<Wire> {
            let mut wire = Wire::new(UnixStream::connect(path)?);
            wire.send_startup(&startup)?;
            Ok(wire)
        };
        let mut connection = Connection {
            server: open(&shared.server)?,
            twin: open(&shared.twin)?,
            client,
            shared,
            status: b'I',
        };
        connection.status = connection.relay(&mut Vec::new())?.status;
        while connection.twin.receive()?.0 != b'Z' {}
        loop {
            let frame = connection.client.receive()?;
            match frame.0 {
                b'Q' => connection.query(frame)?,
                b'X' => return Ok(()),
                _ => connection.other(frame)?,
            }
        }
    }

    /// The extended protocol and function calls, which few scripts use: passed on.
    fn other(&mut self, frame: Frame) -> io::Result<()> {
        self.server.send(&frame)?;
        self.twin.send(&frame)?;
        if matches!(frame.0, b'S' | b'F') {
            let mut copied = Vec::new();
            self.status = self.relay(&mut copied)?.status;
            self.mirror(copied)?;
        }
        Ok(())
    }

    fn query(&mut self, frame: Frame) -> io::Result<()> {
        let text = String::from_utf8_lossy(&frame.1[..frame.1.len() - 1]).into_owned();
        let reading = sql::split(&text);
        let reads = reading.as_ref().is_ok_and(|all| all.iter().all(is_read));
        // A subtransaction gets a number of its own when it writes, so that a block that wrote before tells too.
        let guarded = reads && self.status == b'T';
        if guarded {
            self.ask("SAVEPOINT steel_corpus")?;
        }
        let before = self.next_number()?;
        self.server.send(&frame)?;
        let mut copied = Vec::new();
        let answer = self.relay(&mut copied)?;
        let wrote = self.next_number()? > before + 1;
        if guarded && answer.status == b'T' {
            self.ask("RELEASE steel_corpus")?;
        }
        self.twin.send(&frame)?;
        let mirrored = self.mirror(copied)?;
        let alone = self.status == b'I' && answer.status == b'I';
        self.status = answer.status;
        let compared = reading
            .as_ref()
            .is_ok_and(|all| all.iter().all(is_compared));
        let differs = compared.then(|| difference(&answer, &mirrored)).flatten();
        let escaped = reads && wrote && (!alone || self.escapes(&text)?);
        let broken = match (&answer.error, reading.as_deref()) {
            (None, Ok([Ok(statement)])) if !statement.limits.is_empty() => {
                self.breaks(statement)?
            }
            _ => None,
        };
        let script = self.shared.script.lock().expect("no panic").clone();
        self.shared
            .seen
            .lock()
            .expect("no panic")
            .push(Observation {
                script,
                text,
                reading,
                answer,
                wrote,
                escaped,
                differs,
                broken,
            });
        Ok(())
    }

    /// Explains the statement with a column of each table, its primary key's or its first one, as a sort key.
    fn breaks(&mut self, statement: &Statement) -> io::Result<Option<String>> {
        let mut keys = BTreeMap::new();
        for limit in &statement.limits {
            let name = limit.table.replace('\'', "''");
            let column = format!(
                "SELECT attname FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
                  WHERE a.attrelid = pg_catalog.to_regclass('{name}') AND a.attnum > 0 AND NOT a.attisdropped
                  ORDER BY a.attnum = ANY (i.indkey) DESC NULLS LAST, a.attnum LIMIT 1"
            );
            let answer = self.ask(&column)?;
            let column = answer.rows.first().and_then(|row| row.get(6..));
            let column = column.map(|name| vec![String::from_utf8_lossy(name).into_owned()]);
            keys.extend(column.map(|column| (limit.table.clone(), column)));
        }
        let keyed = statement.keyed(|table| keys.get(table).map(Vec::as_slice));
        let guarded = self.status == b'T';
        if guarded {
            self.ask("SAVEPOINT steel_corpus")?;
        }
        let answer = self.ask(&format!("EXPLAIN {}", keyed.text))?;
        if guarded {
            self.ask("ROLLBACK TO steel_corpus; RELEASE steel_corpus")?;
        }
        // A type without an order cannot be a key.
        let unorderable = answer.sqlstate() == "42883";
        let error = answer.error.filter(|_| !unorderable);
        Ok(error.map(|(sqlstate, message)| format!("{} -- {sqlstate} {message}", keyed.text)))
    }

    /// Runs a read that wrote once more, as SteelDB runs reads.
    fn escapes(&mut self, text: &str) -> io::Result<bool> {
        self.ask("BEGIN READ ONLY")?;
        let answer = self.ask(text)?;
        self.ask("ROLLBACK")?;
        Ok(answer.sqlstate() != "25006")
    }

    fn ask(&mut self, sql: &str) -> io::Result<Answer> {
        ask(&mut self.server, sql)
    }

    /// The server's answer, passed on to psql, and psql's COPY data, passed to the server and kept.
    fn relay(&mut self, copied: &mut Vec<Vec<Frame>>) -> io::Result<Answer> {
        let mut answer = Answer::default();
        loop {
            let frame = self.server.receive()?;
            self.client.send(&frame)?;
            if frame.0 == b'G' {
                let mut data = Vec::new();
                while data
                    .last()
                    .is_none_or(|frame: &Frame| !matches!(frame.0, b'c' | b'f'))
                {
                    let frame = self.client.receive()?;
                    self.server.send(&frame)?;
                    data.push(frame);
                }
                copied.push(data);
            }
            if answer.take(&frame) {
                return Ok(answer);
            }
        }
    }

    /// The second server's answer to what was sent to it, with the same COPY data.
    fn mirror(&mut self, copied: Vec<Vec<Frame>>) -> io::Result<Answer> {
        let mut answer = Answer::default();
        let mut copied = copied.into_iter();
        loop {
            let frame = self.twin.receive()?;
            if frame.0 == b'G' {
                let none = || vec![(b'f', b"no data\0".to_vec())];
                for frame in copied.next().unwrap_or_else(none) {
                    self.twin.send(&frame)?;
                }
            }
            if answer.take(&frame) {
                return Ok(answer);
            }
        }
    }

    /// Takes a transaction number: two calls with nothing between them differ by one.
    fn next_number(&self) -> io::Result<u64> {
        let mut control = self.shared.control.lock().expect("no panic");
        let answer = ask(&mut control, "SELECT pg_current_xact_id()")?;
        let row = answer.rows.first().and_then(|row| row.get(6..));
        let number = row.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        number.ok_or_else(|| io::Error::other("the server gives no transaction number"))
    }
}

fn ask(wire: &mut Wire, sql: &str) -> io::Result<Answer> {
    wire.send(&query(sql))?;
    let mut answer = Answer::default();
    while !answer.take(&wire.receive()?) {}
    Ok(answer)
}

/// Runs unordered, as nothing changes: and not as a write at once, which a call of a user's function makes it.
fn is_read(reading: &Reading) -> bool {
    reading.as_ref().is_ok_and(|statement| {
        matches!(
            statement.kind,
            Kind::Read | Kind::CatalogRead | Kind::Show { .. } | Kind::Empty
        ) && !statement.calls_user
    })
}

/// Its answer goes into a digest.
fn is_compared(reading: &Reading) -> bool {
    reading.as_ref().is_ok_and(|statement| {
        matches!(statement.kind, Kind::Read | Kind::Write) && !statement.unvalidated
    })
}

fn difference(one: &Answer, other: &Answer) -> Option<String> {
    if one.sqlstate() != other.sqlstate() {
        return Some(format!("{} and {}", one.sqlstate(), other.sqlstate()));
    }
    // An error's rows came before it: how many depends on buffers.
    if one.error.is_some() || one.rows == other.rows {
        return None;
    }
    let pair = one.rows.iter().zip(&other.rows).find(|(a, b)| a != b);
    Some(pair.map_or("numbers of rows".into(), |(a, b)| {
        format!("{} and {}", printable(a), printable(b))
    }))
}

fn printable(row: &[u8]) -> String {
    let text = String::from_utf8_lossy(row.get(2..).unwrap_or_default());
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}
