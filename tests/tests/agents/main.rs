//! Messages between agents: by the shell, through `agent mcp`, and what is kept from whom.

mod inspect;
mod mcp;
mod reload;
mod secrets;
mod shell;
mod team;
