//! Agent messages, delivered.
#![forbid(unsafe_code)]

mod clock;
mod error;
mod sqlite;
mod transport;

pub use clock::Clock;
pub use error::TransportError;
pub use sqlite::{DeadLetter, SqliteOptions, SqliteTransport};
pub use transport::{
    Bell, Delivered, Label, Lease, Letter, Numbers, Round, Seen, Stream, Taken, Transport,
};
