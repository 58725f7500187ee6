//! What the parts promise together; each part has tests of its own beside it.

mod opening;
mod replays;
mod support;
mod tampering;
mod wycheproof;
