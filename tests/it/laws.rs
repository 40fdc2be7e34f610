//! Plans and the ledger fold over small states, and properties over random ones.
