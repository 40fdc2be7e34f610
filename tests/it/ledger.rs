//! Nothing that is not understood is deleted, chosen or overwritten: damaged ledgers, ledgers of
//! other programs, and hosts that other programs will see.

mod damage;
mod fold;
mod old;
