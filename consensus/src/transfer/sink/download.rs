//! The chunks of a checkpoint: which are here, which are under way.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::ReplicaId;

use super::super::ChunkList;
use super::super::offers::Target;

/// A checkpoint on its way here. Its chunks pass through; what stays in memory is the list.
#[derive(Debug)]
pub(super) struct Download {
    pub root: Target,
    /// Who sent the list, and with it the proof of the last decision, which the root does not cover.
    pub lister: ReplicaId,
    pub list: ChunkList,
    /// Neither here nor asked for.
    pub missing: BTreeSet<u32>,
    /// Asked for, and when.
    pub asked: BTreeMap<u32, u64>,
    /// Being written.
    pub storing: BTreeSet<u32>,
}

impl Download {
    pub fn of(root: Target, lister: ReplicaId, list: ChunkList) -> Self {
        Self {
            root,
            lister,
            missing: (0..list.chunks.len() as u32).collect(),
            list,
            asked: BTreeMap::new(),
            storing: BTreeSet::new(),
        }
    }

    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.asked.is_empty() && self.storing.is_empty()
    }

    pub fn forget_asked(&mut self) {
        self.missing
            .extend(std::mem::take(&mut self.asked).into_keys());
    }
}
