//! The program as a user runs it: without an environment, in a home of its own.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code, of which clippy exempts only the functions marked as tests"
)]

mod bundle;
mod cert;
mod config_check;
mod config_update;
mod demo_server;
mod init;
mod support;
