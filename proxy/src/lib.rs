//! The PostgreSQL front
