#![forbid(unsafe_code)]
//! Benchmarks.
