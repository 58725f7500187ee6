#![forbid(unsafe_code)]
//! sealwire.

pub mod config;
pub mod home;
