#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holds::archive_zip(bytes));
