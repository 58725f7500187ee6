//! Reading lines of the log where they are.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use crate::MAX_LINE;
use crate::text::{LineHead, parse_line};

/// How much is read at once when looking for a line: two of the longest.
const WINDOW: usize = 2 * (MAX_LINE + 1);

/// The end of what is whole in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    /// Bytes up to the end of the last whole line.
    pub(crate) length: u64,
    /// The number of the entry after it; `None` if there is no line.
    pub(crate) next: Option<u64>,
}

/// Finds the last line of a file that is whole and canonical.
pub(crate) fn last_whole(file: &File) -> io::Result<Whole> {
    last_whole_before(file, file.metadata()?.len())
}

/// Finds the last line that is whole and canonical of those that end at or before a place.
pub(crate) fn last_whole_before(file: &File, mut end: u64) -> io::Result<Whole> {
    while end > 0 {
        let start = start_of_line(file, end)?;
        let length = end - start;
        if length <= MAX_LINE as u64 + 1 {
            let mut line = vec![0; usize::try_from(length).unwrap_or(0)];
            file.read_exact_at(&mut line, start)?;
            if let Some((b'\n', line)) = line.split_last()
                && let Ok(head) = parse_line(line)
            {
                return Ok(Whole { length: end, next: Some(head.entry + 1) });
            }
        }
        end = start;
    }
    Ok(Whole { length: 0, next: None })
}

/// Where the line begins that ends at `end`.
fn start_of_line(file: &File, end: u64) -> io::Result<u64> {
    let mut block = vec![0; WINDOW];
    // The last byte may be the line's own line feed.
    let mut end = end - 1;
    while end > 0 {
        let start = end.saturating_sub(WINDOW as u64);
        let block = &mut block[..usize::try_from(end - start).unwrap_or(WINDOW)];
        file.read_exact_at(block, start)?;
        if let Some(at) = block.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// The number of the first entry of a file; `None` if it has no whole line.
pub(crate) fn first_entry(file: &File) -> io::Result<Option<u64>> {
    Ok(line_at(file, 0)?.map(|(head, _)| head))
}

/// The entry of the line that begins there, and where it ends.
fn line_at(file: &File, start: u64) -> io::Result<Option<(u64, u64)>> {
    let mut line = vec![0; MAX_LINE + 1];
    let mut have = 0;
    while have < line.len() {
        match file.read_at(&mut line[have..], start + have as u64)? {
            0 => break,
            more => have += more,
        }
    }
    let Some(end) = line[..have].iter().position(|&byte| byte == b'\n') else { return Ok(None) };
    let entry = parse_line(&line[..end]).ok().map(|LineHead { entry, .. }| entry);
    Ok(entry.map(|entry| (entry, start + end as u64 + 1)))
}

/// Where in a file the line of that entry begins, or the first one after it.
pub(crate) fn find(file: &File, length: u64, entry: u64) -> io::Result<u64> {
    // Of lines that begin before `low`, all are earlier; of those from `high` on, none is.
    let (mut low, mut high) = (0, length);
    // A line may begin before `high` and end beyond.
    while high.saturating_sub(low) > WINDOW as u64 {
        let middle = low + (high - low) / 2;
        let mut block = vec![0; MAX_LINE + 1];
        let read = file.read_at(&mut block, middle)?;
        let start = block[..read].iter().position(|&byte| byte == b'\n');
        let start = start.map_or(high, |at| middle + at as u64 + 1);
        match line_at(file, start)?.filter(|_| start < high) {
            Some((found, end)) if found < entry => low = end,
            _ => high = middle,
        }
    }
    while low < length
        && let Some((found, end)) = line_at(file, low)?
        && found < entry
    {
        low = end;
    }
    Ok(low)
}

/// Where the first zero is between two places of a file, of which no line has any.
pub(crate) fn first_zero(file: &File, (mut start, end): (u64, u64)) -> io::Result<Option<u64>> {
    let mut block = vec![0; WINDOW];
    while start < end {
        let most = usize::try_from(end - start).unwrap_or(WINDOW).min(WINDOW);
        let read = file.read_at(&mut block[..most], start)?;
        if read == 0 {
            break;
        }
        if let Some(at) = memchr::memchr(0, &block[..read]) {
            return Ok(Some(start + at as u64));
        }
        start += read as u64;
    }
    Ok(None)
}

/// Gives each line of a file between two places to `take`, without its line feed.
pub(crate) fn each(
    file: &File,
    (start, end): (u64, u64),
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = file;
    file.seek(SeekFrom::Start(start))?;
    let mut reader = BufReader::with_capacity(1 << 18, file.take(end.saturating_sub(start)));
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        take(line.strip_suffix(b"\n").unwrap_or(&line))?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn line(entry: u64, length: usize) -> String {
        format!(r#"{{"entry":{entry},"time":1,"type":"t","x":"{}"}}"#, "x".repeat(length))
    }

    fn file_with(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn what_is_not_whole_is_left_out() {
        let good = format!("{}\n{}\n", line(7, 10), line(8, 10));
        let length = good.len() as u64;
        for torn in [
            String::new(),
            r#"{"entry":9"#.to_owned(),
            line(9, 5),
            "\0".repeat(300_000),
            "{}\n".to_owned(),
            "\n\n".to_owned(),
            format!("{}\n", "x".repeat(70_000)),
            format!("x\n{}", "y".repeat(200_000)),
        ] {
            let file = file_with(format!("{good}{torn}").as_bytes());
            assert_eq!(last_whole(&file).unwrap(), Whole { length, next: Some(9) });
            let file = file_with(torn.as_bytes());
            assert_eq!(last_whole(&file).unwrap(), Whole { length: 0, next: None });
        }
    }

    #[test]
    fn the_first_zero_is_found() {
        let mut content = vec![b'x'; 300_000];
        content[7] = 0;
        content[250_000] = 0;
        content[299_999] = 0;
        let file = file_with(&content);
        for (start, end, found) in [
            (0, 300_000, Some(7)),
            (8, 300_000, Some(250_000)),
            (8, 250_000, None),
            (250_001, 400_000, Some(299_999)),
            (9, 9, None),
        ] {
            assert_eq!(first_zero(&file, (start, end)).unwrap(), found, "{start} {end}");
        }
    }

    #[test]
    fn lines_as_long_as_they_may_be_are_found() {
        let lines: Vec<_> = (0..9).map(|entry| line(entry, MAX_LINE - 60) + "\n").collect();
        let file = file_with(lines.concat().as_bytes());
        let mut start = 0;
        for (entry, line) in (0..).zip(&lines) {
            for length in [lines.concat().len() as u64, start + line.len() as u64] {
                assert_eq!(find(&file, length, entry).unwrap(), start, "{entry} of {length}");
            }
            start += line.len() as u64;
        }
    }

    #[test]
    fn lines_are_found_by_their_number() {
        let mut content = String::new();
        let mut starts = Vec::new();
        for entry in 100..1_100 {
            starts.push(content.len() as u64);
            content += &line(entry, usize::try_from(entry * 37 % 4_000).unwrap());
            content.push('\n');
        }
        let length = content.len() as u64;
        let file = file_with(content.as_bytes());
        for (entry, start) in (100..).zip(&starts) {
            assert_eq!(find(&file, length, entry).unwrap(), *start, "{entry}");
        }
        assert_eq!(find(&file, length, 3).unwrap(), 0);
        assert_eq!(find(&file, length, 1_100).unwrap(), length);
        assert_eq!(first_entry(&file).unwrap(), Some(100));
        let mut read = Vec::new();
        each(&file, (starts[500], starts[503]), |line| {
            read.push(parse_line(line).unwrap().entry);
            Ok(())
        })
        .unwrap();
        assert_eq!(read, [600, 601, 602]);
    }
}
