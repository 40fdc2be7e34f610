//! Every order × every fault: the report is honest, `current` is whole, the next deploy needs
//! nobody's help. Each world is a real host on this machine, with its own shell and tools.

mod oracle;
mod statements;
mod tools;
mod wires;

/// How much is tried: a little by default, so that `cargo test` is quick; more with
/// SHIPIT_TEST_FAULTS=more, as `tests/run` sets it; everything with `all` (some minutes).
fn effort<T>(little: T, more: T, all: T) -> T {
    match std::env::var("SHIPIT_TEST_FAULTS").as_deref() {
        Ok("all") => all,
        Ok("more") => more,
        _ => little,
    }
}
