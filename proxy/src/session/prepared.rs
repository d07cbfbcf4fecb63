//! The prepared statements of a session.

use super::statement::is_utility;
use crate::limits;
use crate::wire::{Fault, frame};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A prepared statement.
#[derive(Debug)]
pub(super) struct Prepared {
    pub statement: sql::Statement,
    pub types: Vec<u32>,
    /// PostgreSQL has accepted it once, or would not look at it before it is executed.
    checked: AtomicBool,
    told: Mutex<Told>,
}

/// What the client was told of a statement, and goes by whenever it executes it.
#[derive(Debug, Default)]
struct Told {
    parameters: Option<Vec<u32>>,
    /// RowDescription with all columns as text.
    rows: Option<Bytes>,
    /// The block whose master said so, until its commit confirms it; zero: it is confirmed, or nothing was told.
    block: u64,
}

impl Prepared {
    pub fn new(statement: sql::Statement, types: Vec<u32>) -> Prepared {
        let checked = AtomicBool::new(is_utility(&statement));
        Prepared {
            statement,
            types,
            checked,
            told: Mutex::default(),
        }
    }

    /// The types of the parameters that the client will send: those that it was told, if it was. PostgreSQL settles them with Parse
    /// too, whatever becomes of the tables.
    pub fn parameter_types(&self) -> Vec<u32> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.parameters
            .clone()
            .unwrap_or_else(|| self.types.clone())
    }

    /// Takes down what the client is told, by the master of the block of this number or (zero) by a quorum.
    ///
    /// # Errors
    /// 0A000 when it was told something else before.
    pub fn tell(&self, parameters: &[u32], rows: Option<&Bytes>, block: u64) -> Result<(), Fault> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let described = told.parameters.is_some();
        let known = told.parameters.as_deref();
        let same_rows = match (&told.rows, rows) {
            (Some(told), Some(rows)) => frame::reads_alike(told, rows),
            (Some(_), None) => false,
            (None, rows) => !described || rows.is_none(),
        };
        if !same_rows || known.is_some_and(|known| known != parameters) {
            return Err(Fault::error(
                "0A000",
                "cached plan must not change result type",
            ));
        }
        let confirmed = described && told.block == 0;
        *told = Told {
            parameters: Some(parameters.to_vec()),
            rows: rows.cloned(),
            block: if confirmed { 0 } else { block },
        };
        Ok(())
    }

    /// The same of rows that the client was told with a portal: it goes by what it heard last.
    pub fn tell_rows(&self, rows: &Bytes, block: u64) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.rows = frame::with_formats(rows, &[]);
        told.block = block;
    }

    /// Whether what the client goes by was said by the master of another block than this one, which was not committed.
    pub fn is_doubtful(&self, block: u64) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.block != 0 && told.block != block
    }

    fn confirm(&self, block: u64) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.block == block {
            told.block = 0;
        }
    }

    pub fn is_checked(&self) -> bool {
        self.checked.load(Ordering::Relaxed)
    }

    pub fn set_checked(&self) {
        self.checked.store(true, Ordering::Relaxed);
    }

    fn size(&self) -> usize {
        self.statement.text.len() + 4 * self.types.len()
    }
}

/// The prepared statements of a session; the unnamed one has the empty name.
#[derive(Debug, Default)]
pub(super) struct Statements {
    named: BTreeMap<String, Arc<Prepared>>,
    /// Those of SQL's PREPARE; a name is in one of the two.
    templates: BTreeMap<String, Arc<sql::Template>>,
    bytes: usize,
}

impl Statements {
    pub fn get(&self, name: &str) -> Result<Arc<Prepared>, Fault> {
        self.named.get(name).cloned().ok_or_else(|| missing(name))
    }

    /// # Errors
    /// 42P05 when a named statement is there already, 54000 when there are too many.
    pub fn insert(&mut self, name: String, prepared: Prepared) -> Result<Arc<Prepared>, Fault> {
        // A statement that failed before PostgreSQL accepted it may have failed in its Parse: the client thinks that it is not there.
        if !name.is_empty() && self.named.get(&name).is_some_and(|old| old.is_checked())
            || self.templates.contains_key(&name)
        {
            return Err(taken(&name));
        }
        self.remove(&name);
        self.make_room(prepared.size())?;
        let prepared = Arc::new(prepared);
        self.named.insert(name, prepared.clone());
        Ok(prepared)
    }

    /// The statement of SQL's PREPARE with this name.
    pub fn template(&self, name: &str) -> Result<Arc<sql::Template>, Fault> {
        self.templates
            .get(name)
            .cloned()
            .ok_or_else(|| missing(name))
    }

    /// # Errors
    /// As [`Statements::insert`].
    pub fn insert_template(&mut self, template: &sql::Template) -> Result<(), Fault> {
        let name = &template.name;
        if self.templates.contains_key(name)
            || self.named.get(name).is_some_and(|old| old.is_checked())
        {
            return Err(taken(name));
        }
        self.remove(name);
        self.make_room(template.size())?;
        self.templates
            .insert(name.clone(), Arc::new(template.clone()));
        Ok(())
    }

    /// Counts the bytes of one more statement.
    fn make_room(&mut self, size: usize) -> Result<(), Fault> {
        if self.named.len() + self.templates.len() >= limits::STATEMENTS
            || self.bytes + size > limits::STATEMENT_BYTES
        {
            return Err(Fault::error("54000", "too many prepared statements")
                .hint("DEALLOCATE those that are not needed."));
        }
        self.bytes += size;
        Ok(())
    }

    /// The block was committed: what its master said of statements is true.
    pub fn confirm(&self, block: u64) {
        self.named
            .values()
            .for_each(|prepared| prepared.confirm(block));
    }

    pub fn remove(&mut self, name: &str) -> bool {
        let removed = self.named.remove(name);
        let template = self.templates.remove(name);
        self.bytes -= removed.as_ref().map_or(0, |prepared| prepared.size());
        self.bytes -= template.as_ref().map_or(0, |template| template.size());
        removed.is_some() || template.is_some()
    }

    /// Forgets all; the unnamed one is not PostgreSQL's to deallocate, but the next Parse replaces it anyway.
    pub fn clear(&mut self) {
        *self = Statements::default();
    }
}

fn taken(name: &str) -> Fault {
    Fault::error(
        "42P05",
        format!("prepared statement \"{name}\" already exists"),
    )
}

pub(super) fn missing(name: &str) -> Fault {
    match name {
        "" => Fault::error("26000", "unnamed prepared statement does not exist"),
        name => Fault::error(
            "26000",
            format!("prepared statement \"{name}\" does not exist"),
        ),
    }
}
