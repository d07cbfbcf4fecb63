//! Mod-SMaRt over VP-Consensus: the total order, sans-I/O
