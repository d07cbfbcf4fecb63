//! TPC-C by the specification (revision 5.11), over plain PostgreSQL protocol: schema, loader, terminals, consistency
//! conditions, the report.

pub mod report;
