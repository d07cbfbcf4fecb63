//! Portals: a prepared statement with its values, and the rows that an earlier Execute left over.

use super::prepared::Prepared;
use super::statement::Call;
use crate::limits;
use crate::wire::Fault;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What Bind made: it does not change any more.
#[derive(Debug)]
pub(super) struct Bound {
    pub prepared: Arc<Prepared>,
    /// Of the parameters.
    pub types: Vec<u32>,
    pub parameters: Vec<Option<Bytes>>,
    pub parameter_formats: Vec<i16>,
    pub result_formats: Vec<i16>,
}

impl Bound {
    pub fn call(&self) -> Call<'_> {
        Call {
            prepared: Some(&self.prepared),
            types: &self.types,
            parameters: &self.parameters,
            parameter_formats: &self.parameter_formats,
            result_formats: &self.result_formats,
            described: false,
            simple: false,
            ..Call::simple(&self.prepared.statement)
        }
    }

    fn size(&self) -> usize {
        let values = self.parameters.iter().flatten().map(Bytes::len);
        values.sum::<usize>() + 16 * self.parameters.len() + 4 * self.types.len()
    }
}

#[derive(Debug)]
pub(super) enum Progress {
    /// Not executed yet.
    Fresh,
    /// Executed; the client has taken some of the rows.
    Suspended(Rest),
    /// Executed to the end: a query has no more rows, anything else cannot run again.
    Done,
}

/// What an Execute with a limit left over.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// DataRows.
    pub rows: VecDeque<Bytes>,
    /// The CommandComplete, with the number of all rows.
    pub complete: Bytes,
    /// Some rows went out with an earlier Execute, whose number is not part of the last one's tag.
    pub resumed: bool,
}

impl Rest {
    pub fn size(&self) -> usize {
        self.rows.iter().map(Bytes::len).sum()
    }
}

#[derive(Debug)]
pub(super) struct Portal {
    pub bound: Arc<Bound>,
    pub progress: Progress,
    /// Its RowDescription, once executed.
    pub description: Option<Bytes>,
    number: u64,
    size: usize,
}

/// The portals of a session; the unnamed one has the empty name.
#[derive(Debug, Default)]
pub(super) struct Portals {
    named: BTreeMap<String, Portal>,
    bytes: usize,
    created: u64,
}

impl Portals {
    pub fn get(&mut self, name: &str) -> Result<&mut Portal, Fault> {
        let found = self.named.get_mut(name);
        found.ok_or_else(|| Fault::error("34000", format!("portal \"{name}\" does not exist")))
    }

    /// # Errors
    /// 42P03 when a named portal is there already, 54000 when there are too many.
    pub fn insert(&mut self, name: String, bound: Bound) -> Result<(), Fault> {
        if !name.is_empty() && self.named.contains_key(&name) {
            return Err(Fault::error(
                "42P03",
                format!("cursor \"{name}\" already exists"),
            ));
        }
        self.remove(&name);
        let size = bound.size();
        if self.named.len() >= limits::PORTALS {
            return Err(too_many());
        }
        self.reserve(size)?;
        self.created += 1;
        let portal = Portal {
            bound: Arc::new(bound),
            progress: Progress::Fresh,
            description: None,
            number: self.created,
            size,
        };
        self.named.insert(name, portal);
        Ok(())
    }

    /// The portal holds rows from now on; nothing is kept when it was closed meanwhile.
    pub fn suspend(&mut self, name: &str, rest: Rest) -> Result<(), Fault> {
        if !self.named.contains_key(name) {
            return Ok(());
        }
        let size = rest.size();
        self.reserve(size)?;
        let portal = self.get(name)?;
        portal.size += size;
        portal.progress = Progress::Suspended(rest);
        Ok(())
    }

    /// Takes the rows that a portal holds, to hand out some or all.
    pub fn resume(&mut self, name: &str) -> Result<Rest, Fault> {
        let portal = self.get(name)?;
        let Progress::Suspended(rest) = std::mem::replace(&mut portal.progress, Progress::Done)
        else {
            return Ok(Rest::default());
        };
        let size = rest.size();
        portal.size -= size;
        self.bytes -= size;
        Ok(rest)
    }

    fn reserve(&mut self, bytes: usize) -> Result<(), Fault> {
        if self.bytes + bytes > limits::PORTAL_BYTES {
            return Err(too_many());
        }
        self.bytes += bytes;
        Ok(())
    }

    pub fn remove(&mut self, name: &str) {
        if let Some(portal) = self.named.remove(name) {
            self.bytes -= portal.size;
        }
    }

    pub fn clear(&mut self) {
        self.named.clear();
        self.bytes = 0;
    }

    /// The number that the next portal gets is greater than this.
    pub fn next_number(&self) -> u64 {
        self.created + 1
    }

    /// Drops the portals numbered from `number` on: their savepoint was rolled back.
    pub fn drop_from(&mut self, number: u64) {
        self.named.retain(|_, portal| portal.number < number);
        self.bytes = self.named.values().map(|portal| portal.size).sum();
    }
}

fn too_many() -> Fault {
    Fault::error(
        "54000",
        "too many open portals, or too many rows waiting in them",
    )
    .hint("Close portals that are not needed, or fetch with smaller parameters.")
}
