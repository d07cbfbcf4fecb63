//! The segmented decision log.
