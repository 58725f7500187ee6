//! A proof of an entry, or of growth.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sealwire_testkit::fuzz::proof(data));
