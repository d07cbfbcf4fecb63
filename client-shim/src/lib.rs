//! The BFT client library and the transaction API over it
