#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::known_hosts(bytes));
