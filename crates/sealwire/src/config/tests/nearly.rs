//! Whatever the text is, it is a configuration, or it is said why not.

use proptest::prelude::*;

use super::*;

/// Text that is nearly a configuration: known words in a random order.
fn nearly_toml() -> impl Strategy<Value = String> {
    let word = proptest::sample::select(vec![
        "[security]\n",
        "[listen]\n",
        "[defaults]\n",
        "[mcp_servers.a]\n",
        "[[mcp_servers]]\n",
        "include",
        "command",
        "endpoint",
        "env",
        "agents",
        "address",
        "max_message_size",
        "idle_timeout",
        " = ",
        "\"",
        "'",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\n",
        "0x",
        "-1",
        "1.5",
        "\\u",
        "true",
        "1979-05-27",
        "\"127.0.0.1:1\"",
        "\"1s\"",
        "ä",
        "\0",
        "\"\"\"",
        ".",
        "#",
    ]);
    proptest::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn parse_never_panics_and_always_says_why(text in prop_oneof![".*", nearly_toml()]) {
        if let Err(error) = parse(&text) {
            prop_assert!(!error.problems().is_empty());
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
