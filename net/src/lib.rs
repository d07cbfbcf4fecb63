//! Identities and mutually authenticated links
