//! A PEM text.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sealwire_testkit::fuzz::pem(data));
