//! Care for the private PostgreSQL server of a replica.
