//! The subcommands, one file each.

pub mod down;
pub mod import;
pub mod init;
pub mod kill;
pub mod password;
pub mod policy;
pub mod proxy;
pub mod receipt;
pub mod reconfigure;
pub mod replica;
pub mod role;
mod shape;
pub mod start;
pub mod status;
pub mod supervise;
pub mod up;
pub mod verify;

use std::path::PathBuf;

use crate::failure::Failure;
use crate::layout::{Layout, default_root};

pub use shape::Shape;

/// Which cluster.
#[derive(Debug, clap::Args)]
pub struct Where {
    /// The cluster's directory [default: /var/lib/steeldb for root, else steeldb in your data directory]
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
}

impl Where {
    pub fn layout(&self) -> Result<Layout, Failure> {
        Layout::new(&self.data.clone().unwrap_or_else(default_root))
    }
}
