//! One raw session with one PostgreSQL: frames, pipelining, canonical digests
