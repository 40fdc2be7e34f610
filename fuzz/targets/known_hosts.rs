#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holds::known_hosts(bytes));
