//! A message between agents, or a bundle of keys.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sealwire_testkit::fuzz::envelope(data));
