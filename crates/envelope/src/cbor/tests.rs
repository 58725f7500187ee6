use proptest::prelude::*;

use super::*;

fn code<T: std::fmt::Debug>(result: Result<T>) -> RefusalCode {
    result.unwrap_err().code
}

/// Every other encoding of a number is refused, and refused as that.
#[test]
fn only_the_shortest_head_is_taken() {
    for input in [
        &[0x18, 23][..],
        &[0x19, 0, 255],
        &[0x1a, 0, 0, 255, 255],
        &[0x1b, 0, 0, 0, 0, 255, 255, 255, 255],
        &[0x1f],
    ] {
        let refused = code(Reader::new(input).uint("a number"));
        assert_eq!(refused, RefusalCode::EnvelopeNotDeterministic, "{input:?}");
    }
    for input in [&[0x5f, 0x41, 0, 0xff][..], &[0x58, 1, 0]] {
        let refused = code(Reader::new(input).bytes("bytes"));
        assert_eq!(refused, RefusalCode::EnvelopeNotDeterministic, "{input:?}");
    }
    for reserved in [0x1c, 0x1d, 0x1e] {
        let refused = code(Reader::new(&[reserved]).uint("a number"));
        assert_eq!(refused, RefusalCode::EnvelopeMalformed);
    }
}

#[test]
fn lengths_beyond_the_input_reserve_nothing() {
    let huge = [0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    assert_eq!(code(Reader::new(&huge).bytes("bytes")), RefusalCode::EnvelopeMalformed);
    assert_eq!(code(Reader::new(&[0x42, 1]).bytes("bytes")), RefusalCode::EnvelopeMalformed);
    assert_eq!(code(Reader::new(&[]).uint("a number")), RefusalCode::EnvelopeMalformed);
}

#[test]
fn integers_of_both_signs_and_no_more_than_64_bits() {
    for value in [0, 23, 24, -1, -24, -25, -65_537, i64::MAX, i64::MIN] {
        let bytes = Writer::default().int(value).finish();
        assert_eq!(Reader::new(&bytes).int("a number"), Ok(value));
    }
    let beyond = Writer::default().uint(u64::MAX).finish();
    assert_eq!(code(Reader::new(&beyond).int("a number")), RefusalCode::EnvelopeMalformed);
}

#[test]
fn a_fault_names_the_byte_of_the_message() {
    let mut reader = Reader::within(&[0x01, 0x40], 100);
    reader.uint("a number").unwrap();
    assert_eq!(reader.end("more").unwrap_err().at, 101);
    assert_eq!(reader.uint("another").unwrap_err().at, 101);
    assert_eq!(code(Reader::new(&[0x61, 0xff]).text("text")), RefusalCode::EnvelopeMalformed);
}

proptest! {
    #[test]
    fn what_is_written_is_read(number: u64, bytes: Vec<u8>, text: String) {
        let written =
            Writer::default().array(4).uint(number).bytes(&bytes).text(&text).null().finish();
        let mut reader = Reader::new(&written);
        reader.array_with(4, "an array").unwrap();
        prop_assert_eq!(reader.uint("a number"), Ok(number));
        prop_assert_eq!(reader.bytes("bytes").unwrap(), &bytes[..]);
        prop_assert_eq!(reader.text("text").unwrap(), &text);
        prop_assert!(reader.null());
        prop_assert!(reader.end("more").is_ok());
    }

    /// One value, one encoding: whatever is read as a number is what is written for it.
    #[test]
    fn what_is_read_is_what_would_be_written(input in prop::collection::vec(any::<u8>(), 0..12)) {
        let mut reader = Reader::new(&input);
        if let Ok(value) = reader.int("a number") {
            let written = Writer::default().int(value).finish();
            prop_assert_eq!(reader.since(0), &written[..]);
        }
    }
}
