//! The crate seen from outside: one file per idea. Needs the `openssl` and
//! `ssh-keygen` commands.

#[cfg(test)]
mod authority;
#[cfg(test)]
mod bad_certificates;
#[cfg(test)]
mod credential;
#[cfg(test)]
mod crl;
#[cfg(test)]
mod der;
#[cfg(test)]
mod files;
#[cfg(test)]
mod foreign_peer;
#[cfg(test)]
mod handshake;
#[cfg(test)]
mod join;
#[cfg(test)]
mod openssl_made;
#[cfg(test)]
mod path;
#[cfg(test)]
mod pem;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod resumption;
mod revocations;
#[cfg(test)]
mod signing;
#[cfg(test)]
mod support;
#[cfg(test)]
mod x25519;
