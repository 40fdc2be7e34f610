//! Hands argv over.

fn main() {}
