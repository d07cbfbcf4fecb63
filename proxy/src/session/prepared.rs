//! The prepared statements of a session.

use super::statement::is_utility;
use crate::limits;
use crate::wire::{Fault, frame};
use bytes::Bytes;
use client_shim::Digest;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    parameters: Option<(Vec<u32>, Said)>,
    /// How rows are to be read, with all columns as text; `None` in it: there are none.
    rows: Option<(Option<Digest>, Said)>,
}

/// Who said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// A quorum, or the master's word was confirmed.
    Confirmed,
    /// The master of the block of this number: its commit confirms it.
    InBlock(u64),
    /// The master, and nothing will confirm it.
    Alone,
}

impl Said {
    /// What is confirmed stays so, whoever says it once more.
    fn after(self, known: Option<Said>) -> Said {
        match known {
            Some(Said::Confirmed) => Said::Confirmed,
            _ => self,
        }
    }

    /// Nobody confirmed it, nor will this block.
    fn is_doubtful(self, block: u64) -> bool {
        match self {
            Said::Confirmed => false,
            Said::InBlock(number) => number != block,
            Said::Alone => true,
        }
    }
}

/// OIDs from here on are given by each server.
const FIRST_OWN_OID: u32 = 16_384;

/// The statement is not what the client was told that it is. Drivers prepare it again when they read this routine.
pub(super) fn changed() -> Fault {
    Fault::error("0A000", "cached plan must not change result type").outdated()
}

fn reading(rows: &Bytes) -> Digest {
    client_shim::result_digest(std::slice::from_ref(rows), None)
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
    /// too, whatever becomes of the tables. Types that have other numbers at other servers are left to each.
    pub fn parameter_types(&self) -> Vec<u32> {
        let told = self.told();
        let Some((parameters, _)) = &told.parameters else {
            return self.types.clone();
        };
        let own = |place: usize| self.types.get(place).copied().unwrap_or(0);
        let types = parameters.iter().enumerate();
        types
            .map(|(place, oid)| {
                if *oid < FIRST_OWN_OID {
                    *oid
                } else {
                    own(place)
                }
            })
            .collect()
    }

    /// Takes down what the client is told.
    ///
    /// # Errors
    /// 0A000 when it was told something else before.
    pub fn tell(&self, parameters: &[u32], rows: Option<&Bytes>, said: Said) -> Result<(), Fault> {
        let rows = rows.map(reading);
        let known = self.told().rows;
        if known.is_some_and(|(known, _)| known != rows) {
            return Err(changed());
        }
        self.tell_parameters(parameters, said)?;
        self.told().rows = Some((rows, said.after(known.map(|(_, said)| said))));
        Ok(())
    }

    /// The same of its parameters alone.
    ///
    /// # Errors
    /// As [`Prepared::tell`].
    pub fn tell_parameters(&self, parameters: &[u32], said: Said) -> Result<(), Fault> {
        let mut told = self.told();
        let alike =
            |(one, other): (&u32, &u32)| *one.min(&FIRST_OWN_OID) == *other.min(&FIRST_OWN_OID);
        let known = told.parameters.as_ref();
        let same = known.is_none_or(|(known, _)| {
            known.len() == parameters.len() && known.iter().zip(parameters).all(alike)
        });
        if !same {
            return Err(changed());
        }
        let said = said.after(known.map(|(_, said)| *said));
        told.parameters = Some((parameters.to_vec(), said));
        Ok(())
    }

    /// The same of rows that the client was told with a portal: it goes by what it heard last.
    pub fn tell_rows(&self, rows: &Bytes, said: Said) {
        let text = frame::with_formats(rows, &[]);
        self.told().rows = Some((text.as_ref().map(reading), said));
    }

    /// Whether the types of parameters that the client goes by are one replica's word that was not confirmed.
    pub fn has_doubtful_parameters(&self, block: u64) -> bool {
        let told = self.told();
        told.parameters
            .as_ref()
            .is_some_and(|(_, said)| said.is_doubtful(block))
    }

    /// The same of anything that it goes by.
    pub fn is_doubtful(&self, block: u64) -> bool {
        let told = self.told();
        let rows = told
            .rows
            .as_ref()
            .is_some_and(|(_, said)| said.is_doubtful(block));
        drop(told);
        rows || self.has_doubtful_parameters(block)
    }

    /// Whether rows of this description are not what the client was told to expect.
    pub fn contradicts(&self, rows: &Bytes) -> bool {
        let known = self.told().rows.as_ref().map(|(known, _)| *known);
        known.is_some_and(|known| known != frame::with_formats(rows, &[]).as_ref().map(reading))
    }

    fn confirm(&self, block: u64) {
        let mut told = self.told();
        let Told { parameters, rows } = &mut *told;
        let said = parameters.iter_mut().map(|(_, said)| said);
        for said in said.chain(rows.iter_mut().map(|(_, said)| said)) {
            if *said == Said::InBlock(block) {
                *said = Said::Confirmed;
            }
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
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
