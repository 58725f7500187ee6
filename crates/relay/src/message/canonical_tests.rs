use proptest::prelude::*;
use sealwire_names::RefusalCode;

use super::*;

fn same(text: &str, expected: &str) {
    assert_eq!(canonical(text).unwrap(), expected, "{text}");
}

/// RFC 8785, appendix B.
#[test]
fn doubles_are_printed_as_ecmascript_does() {
    for (bits, expected) in [
        (0x0000_0000_0000_0000_u64, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5554, "333333333.33333325"),
        (0x41b3_de43_5555_5555, "333333333.3333333"),
        (0x41b3_de43_5555_5556, "333333333.3333334"),
        (0x41b3_de43_5555_5557, "333333333.33333343"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
    ] {
        assert_eq!(expected.parse::<f64>().unwrap(), f64::from_bits(bits));
        let other = match expected.contains('e') {
            true => expected.replace('e', "0E"),
            false => format!("{expected}e0"),
        };
        same(if expected.contains('.') { &other } else { expected }, expected);
        same(&expected.replace("e+", "E"), expected);
    }
}

/// RFC 8785 §3.2.2, but for one number: `333333333.33333329` is not the decimal that the
/// RFC's canonical form would print.
#[test]
fn literals_strings_and_numbers_have_one_form() {
    let text =
        r#"{ "numbers": [333333333.3333333, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
        "literals": [null, true, false] }"#
            .replace('\n', "");
    let expected = "{\"literals\":[null,true,false],\
        \"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
        \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
    same(&text, expected);
}

/// RFC 8785 §3.2.3: by UTF-16 code units, in which an emoji comes before U+FB33.
#[test]
fn members_are_in_the_order_of_utf_16() {
    let text = r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#;
    let canonical = canonical(text).unwrap();
    let order = ["Carriage", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew"];
    let places: Vec<_> = order.iter().map(|word| canonical.find(word).unwrap()).collect();
    assert!(places.is_sorted(), "{canonical}");
}

#[test]
fn what_a_double_cannot_hold_stays_as_it_is() {
    for text in [
        "9007199254740993",
        "18446744073709551615",
        "18446744073709551616",
        "12345678901234567890123",
        "333333333.33333329",
        "0.1000000000000000055511151231257827",
        "1e400",
        "-1e400",
        "1e-400",
        "1e99999999999999999999",
    ] {
        same(text, text);
    }
    for (text, expected) in [("1.0", "1"), ("-0", "0"), ("-0.0e7", "0"), ("1e2", "100")] {
        same(text, expected);
    }
    assert_ne!(canonical("9007199254740993").unwrap(), canonical("9007199254740992").unwrap());
}

#[test]
fn what_has_no_single_meaning_is_refused() {
    for text in [r#"{"a":1,"a":1}"#, r#"{"a":{"b":1,"\u0062":2}}"#, r#"[[{"":1,"":2}]]"#] {
        assert_eq!(canonical(text).unwrap_err().code, RefusalCode::MemberAmbiguous, "{text}");
    }
    for text in [r#""\ud800""#, r#"{"\udc00":1}"#] {
        assert_eq!(canonical(text).unwrap_err().code, RefusalCode::MessageInvalid, "{text}");
    }
    for text in ["", "{", "[1,]", "1 2", "nul"] {
        assert_eq!(canonical(text).unwrap_err().code, RefusalCode::MessageMalformed, "{text}");
    }
}

#[test]
fn the_hash_is_sha_256_of_the_canonical_text() {
    let hash = hash(&canonical(" { } ").unwrap()).to_string();
    assert_eq!(hash, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(".{0,4}", inner, 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

fn as_doubles(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(values) => values.into_iter().map(as_doubles).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, as_doubles(value))).collect()
        }
        other => other,
    }
}

proptest! {
    #[test]
    fn a_canonical_text_is_its_own_and_means_the_same(value in json()) {
        let text = value.to_string();
        let once = canonical(&text).unwrap();
        prop_assert_eq!(&canonical(&once).unwrap(), &once);
        let pretty = serde_json::to_string_pretty(&value).unwrap().replace('\n', "");
        prop_assert_eq!(canonical(&pretty).unwrap(), once);
    }

    /// Another program's RFC 8785, where every number is a double.
    #[test]
    fn what_loses_nothing_has_the_form_of_the_rfc(value in json()) {
        let value = as_doubles(value);
        let expected = serde_json_canonicalizer::to_string(&value).unwrap();
        prop_assert_eq!(canonical(&value.to_string()).unwrap(), expected);
    }

    #[test]
    fn no_two_integers_are_one(a in any::<u64>(), distance in 1..2000_u64) {
        let b = a.wrapping_add(distance);
        prop_assert_ne!(canonical(&a.to_string()).unwrap(), canonical(&b.to_string()).unwrap());
    }
}
