//! A signed note, or the text of a key.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sealwire_testkit::fuzz::note(data));
