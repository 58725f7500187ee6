//! What the parts promise together; each part has tests of its own beside it.

mod keys;
mod known_failures;
mod opening;
mod parsing;
mod replays;
mod support;
mod tampering;
mod vectors;
mod wycheproof;
