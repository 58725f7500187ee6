use super::*;
use std::future::poll_fn;

use proptest::prelude::*;

async fn fill(buffer: &mut Buffer, mut input: &[u8], wanted: usize) -> usize {
    poll_fn(|cx| buffer.poll_fill(cx, Pin::new(&mut input), wanted)).await.unwrap()
}

#[test]
fn what_is_large_gets_a_block_that_is_given_back_when_freed() {
    let mut bytes = Vec::new();
    reserve(&mut bytes, LARGE);
    assert!(bytes.capacity() < 2 * LARGE);
    bytes.resize(LARGE, 0);
    reserve(&mut bytes, 1);
    assert!(bytes.capacity() >= APART);
    let at = bytes.as_ptr();
    reserve(&mut bytes, APART - LARGE);
    assert_eq!(bytes.as_ptr(), at, "there was room");
    reserve(&mut bytes, 2 * APART);
    assert!(bytes.capacity() >= 2 * APART + LARGE);
}

#[tokio::test]
async fn a_large_block_is_kept_until_rest_and_rest_loses_nothing() {
    let mut buffer = Buffer::default();
    fill(&mut buffer, &vec![7; 3 * LARGE], 3 * LARGE).await;
    buffer.consume(3 * LARGE - 1);
    buffer.rest();
    assert_eq!(&buffer[..], [7]);
    buffer.consume(1);
    assert!(buffer.bytes.capacity() >= APART, "used again while something is in flight");
    buffer.rest();
    assert_eq!(buffer.bytes.capacity(), 0);
    fill(&mut buffer, &[1, 2], 100).await;
    buffer.consume(2);
    buffer.rest();
    assert!(buffer.bytes.capacity() >= 100, "a small block is not asked for anew each time");
}

#[test]
fn spares_are_few_and_the_large_ones_go_at_rest() {
    let mut spares = Spares::default();
    for size in [10, 2 * LARGE, 20, 30, 40] {
        spares.put(vec![1; size]);
    }
    assert_eq!(spares.0.len(), SPARES);
    spares.rest();
    assert_eq!(spares.0.len(), SPARES - 1);
    let block = spares.take();
    assert!(block.is_empty() && block.capacity() >= 10);
}

proptest! {
    #[test]
    fn a_buffer_gives_out_what_was_read_in_order(
        steps in proptest::collection::vec((0..3000_usize, 1..2000_usize, 0..4000_usize), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut buffer = Buffer::default();
        let (mut read, mut consumed) = (0_usize, 0_usize);
        for (offered, wanted, taken) in steps {
            let input: Vec<u8> = (read..read + offered).map(|n| n as u8).collect();
            let count = runtime.block_on(fill(&mut buffer, &input, wanted));
            prop_assert!(count == offered || count >= wanted, "room for what was wanted");
            read += count;
            let taken = taken.min(buffer.len());
            buffer.consume(taken);
            consumed += taken;
            prop_assert_eq!(buffer.len(), read - consumed);
            prop_assert!(buffer.iter().zip(consumed..).all(|(&byte, n)| byte == n as u8));
        }
    }
}
