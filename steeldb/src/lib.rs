//! The one command
