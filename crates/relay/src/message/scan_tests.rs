use std::borrow::Cow;

use super::*;
use proptest::prelude::*;

fn accepts(text: &str) -> bool {
    let mut scanner = Scanner::new(text);
    scanner.value().and_then(|_| scanner.end()).is_ok()
}

fn string(text: &str) -> Option<String> {
    Scanner::new(text).string().unwrap().decode().map(Cow::into_owned)
}

#[test]
fn accepts_what_rfc_8259_allows() {
    for text in [
        "0",
        "-0",
        "1.5e+3",
        "1E9",
        "10000000000000000000000001",
        "\"\"",
        "\"\\ud800\"",
        "\"\u{7f}\"",
        "true",
        "null",
        "[]",
        "{}",
        " [ 1 , { \"a\" : [ ] } ] ",
        "{\"\":{}}",
        "{\"a\":1,\"a\":2}",
    ] {
        assert!(accepts(text), "{text}");
    }
}

#[test]
fn refuses_what_lenient_readers_let_through() {
    for text in [
        "",
        "01",
        "+1",
        ".5",
        "1.",
        "1e",
        "-",
        "0x1",
        "NaN",
        "Infinity",
        "True",
        "nul",
        "'a'",
        "\"\t\"",
        "\"\\x41\"",
        "\"\\u12g4\"",
        "\"",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\" 1}",
        "[1}",
        "{\"a\":1]",
        "1 2",
        "/**/1",
        "1//",
        "\u{a0}1",
        "\u{feff}1",
        "[",
        "{",
        "[[]",
        "0\0",
    ] {
        assert!(!accepts(text), "{text}");
    }
}

#[test]
fn finds_the_end_of_a_string_wherever_it_stands() {
    let plain = ["a", "é", "😀", "~", "\u{7f}", "!", "#", "[", "]"].concat().repeat(3);
    for (start, _) in plain.char_indices() {
        let text = &plain[start..];
        assert_eq!(Scanner::new(&format!("\"{text}\"")).string().unwrap().raw(), text);
        for (end, _) in text.char_indices() {
            let text = &text[..end];
            let quoted = format!("\"{text}\"{plain}");
            assert_eq!(Scanner::new(&quoted).string().unwrap().raw(), text);
            for control in ["\0", "\u{1f}", "\n"] {
                assert!(!accepts(&format!("\"{text}{control}{plain}\"")), "{text:?} {control:?}");
            }
            let escaped = format!("\"{text}\\\"{plain}\"");
            assert_eq!(string(&escaped).unwrap(), format!("{text}\"{plain}"));
        }
    }
}

#[test]
fn decodes_escapes_and_refuses_lone_surrogates() {
    assert_eq!(string(r#""a\/\"\\\b\f\n\r\t""#).unwrap(), "a/\"\\\u{8}\u{c}\n\r\t");
    assert_eq!(string(r#""\u006e\ud83d\ude00é""#).unwrap(), "n😀é");
    for lone in [r#""\ud83d""#, r#""\ude00""#, r#""\ud83dx\ude00""#, r#""\ud83d\u0041""#] {
        assert_eq!(string(lone), None, "{lone}");
    }
}

#[test]
fn scans_far_beyond_the_depth_limit() {
    let text = "[{\"a\":".repeat(5_000) + "1" + &"}]".repeat(5_000);
    let mut scanner = Scanner::new(&text);
    assert_eq!(scanner.value().unwrap(), text);
    assert_eq!(scanner.deepest(), 10_000);
}

proptest! {
    /// Our grammar is serde_json's; it differs only in depth, and in lone
    /// surrogates, which serde_json refuses.
    #[test]
    fn agrees_with_serde_json(text in r#"[\[\]{}:," \\0-9eE.+-]{0,12}|[\[\]{}:,"tfnu1a ]{0,16}"#) {
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        prop_assert_eq!(accepts(&text), theirs, "{}", text);
    }
}
