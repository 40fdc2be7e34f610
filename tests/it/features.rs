//! Deploy, rollback, prune through the real engine and real shells, without SSH.
