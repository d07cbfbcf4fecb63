//! The rules of Byzantium, sans-I/O: from order to verdict
