//! A line of the audit log.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sealwire_testkit::fuzz::entry_line(data));
