#![forbid(unsafe_code)]
//! What the tests and benchmarks share.
