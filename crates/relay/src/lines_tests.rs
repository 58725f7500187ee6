use super::*;
use std::future::poll_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};

type Local = Lines<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;

fn pair(max_message: usize) -> (Local, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(256);
    let (input, output) = tokio::io::split(ours);
    (Lines::new(input, output, max_message), theirs)
}

async fn receive(lines: &mut Local) -> (&'static str, Vec<u8>) {
    loop {
        match lines.next() {
            Some(Incoming::Message(message)) => return ("message", message.to_vec()),
            Some(Incoming::Oversized { start, end }) => {
                return ("oversized", [start, end].concat());
            }
            Some(Incoming::End(_)) => return ("end", Vec::new()),
            Some(Incoming::Drain) => return ("drain", Vec::new()),
            None => poll_fn(|cx| lines.poll_fill(cx)).await.unwrap(),
        }
    }
}

#[tokio::test]
async fn splits_at_newlines_and_nowhere_else() {
    let (mut lines, mut theirs) = pair(1000);
    theirs.write_all(b"one\ntwo\r\n\n \r\n\xff\0\nlast").await.unwrap();
    theirs.shutdown().await.unwrap();
    for expected in [&b"one"[..], b"two\r", b"\xff\0", b"last"] {
        assert_eq!(receive(&mut lines).await, ("message", expected.to_vec()));
    }
    assert_eq!(receive(&mut lines).await.0, "end");
    assert_eq!(lines.position(), 4);
}

#[tokio::test]
async fn an_overlong_line_is_told_once_and_the_next_one_arrives() {
    let (mut lines, mut theirs) = pair(100);
    let writing = tokio::spawn(async move {
        theirs.write_all(&[b'a'; 100]).await.unwrap();
        theirs.write_all(b"\n").await.unwrap();
        for (text, line_end) in [(b'b', "\n"), (b' ', "\n"), (b'c', "")] {
            theirs.write_all(&vec![text; 5 * END]).await.unwrap();
            theirs.write_all(b"the end").await.unwrap();
            theirs.write_all(line_end.as_bytes()).await.unwrap();
        }
    });
    assert_eq!(receive(&mut lines).await, ("message", vec![b'a'; 100]));
    for text in [b'b', b' ', b'c'] {
        let kept = [&[text; 100 + END - 7][..], b"the end"].concat();
        assert_eq!(receive(&mut lines).await, ("oversized", kept));
    }
    assert_eq!(receive(&mut lines).await.0, "end");
    writing.await.unwrap();
}

#[tokio::test]
async fn counts_only_what_has_been_written() {
    let (mut lines, mut theirs) = pair(1000);
    lines.send(&[b'x'; 300]);
    let flushed = poll_fn(|cx| Poll::Ready(lines.poll_flush(cx).is_ready())).await;
    assert!(!flushed, "the pipe holds 256 bytes only");
    assert_eq!(lines.handed_over(), 0);
    lines.send(b"second");
    let mut read = vec![0; 301];
    let (flushed, _) = tokio::join!(poll_fn(|cx| lines.poll_flush(cx)), async {
        theirs.read_exact(&mut read).await.unwrap();
    });
    flushed.unwrap();
    assert_eq!(lines.handed_over(), 2);
    lines.finish(Ending::Orderly);
    poll_fn(|cx| lines.poll_flush(cx)).await.unwrap();
    assert!(lines.is_settled());
    let mut rest = String::new();
    drop(lines);
    theirs.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "second\n");
}
