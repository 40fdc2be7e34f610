//! Every order × every fault: the report is honest, `current` is whole, the next deploy needs
//! nobody's help. Each world is a real host on this machine, with its own shell and tools.

mod hostile;
mod ledgers;
mod links;
mod slots;
mod statements;
mod table;
mod tools;
