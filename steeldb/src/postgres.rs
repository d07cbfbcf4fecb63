//! The private PostgreSQL of a replica, seen from outside.

use crate::failure::Failure;
use crate::layout::{Layout, Member};
use crate::replica_file;

/// Kills (SIGKILL) all processes of a replica's PostgreSQL; returns how many there were. A server that somebody else cares
/// for (`dsn`) is left alone.
pub fn kill(layout: &Layout, member: Member) -> Result<usize, Failure> {
    let config = replica_file::read(&layout.config(member))?;
    if config.postgres.dsn.is_some() {
        return Ok(0);
    }
    replica::postgres::kill_postgres(&config.server().data_dir).map_err(|error| {
        Failure::new(format!("cannot kill the PostgreSQL of {member}")).cause(error)
    })
}
