//! Text in, text out: classify statements and remove their non-determinism
