//! What is not understood is never deleted, chosen or overwritten: damaged ledgers, ledgers of other
//! programs, and hosts that other programs will see.

mod damage;
mod fold;
mod old;
