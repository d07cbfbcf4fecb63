//! Seeded clusters around the unchanged cores
