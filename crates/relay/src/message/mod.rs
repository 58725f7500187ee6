//! What a message says about itself: the JSON-RPC 2.0 head, parsed strictly.
//!
//! Bytes in, same bytes out: a message is read to decide about it and is forwarded
//! as it came. So the reading must find what *any* reader at the other end would
//! find. Members that decide what a message does are refused when they occur twice
//! or in another letter case; nothing inside `arguments` is judged.

mod brackets;
mod canonical;
mod head;
mod id;
mod listing;
mod reply;
mod scan;
mod stops;
mod tail;
mod text;

pub use head::{Asked, Head, Params, Parser, Rejected};
pub use id::RequestId;
pub(crate) use listing::{ListKind, Listing};
pub use reply::{ErrorCode, error_answer, error_answer_later};
pub use scan::MAX_DEPTH;
pub use text::Text;
