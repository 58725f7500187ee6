#![forbid(unsafe_code)]
//! End-to-end tests.
