//! Reading the lines of a log, from some entry on, and as they are written.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::MAX_LINE;
use crate::day::Day;
use crate::day_files::SUFFIX;
use crate::files;
use crate::lines;

/// Gives one line after the other. They are not verified.
#[derive(Debug)]
pub struct Reader {
    directory: PathBuf,
    file: Option<(Day, BufReader<File>)>,
    line: Vec<u8>,
    is_whole: bool,
}

impl Reader {
    /// Begins at that entry, or the first after it that is there.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn from_entry(directory: &Path, entry: u64) -> io::Result<Self> {
        let mut this =
            Self { directory: directory.to_owned(), file: None, line: Vec::new(), is_whole: true };
        let days = files::days(directory, SUFFIX)?;
        // The last file that begins at or before it.
        for (day, path) in days.into_iter().rev() {
            let file = File::open(path)?;
            let first = lines::first_entry(&file)?;
            let is_it = first.is_some_and(|first| first <= entry);
            this.file = Some((day, BufReader::with_capacity(1 << 16, file)));
            if is_it {
                break;
            }
        }
        if let Some((_, file)) = &mut this.file {
            let length = file.get_ref().metadata()?.len();
            let start = lines::find(file.get_ref(), length, entry)?;
            file.seek(SeekFrom::Start(start))?;
        }
        Ok(this)
    }

    /// Begins so many entries before the end.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn last(directory: &Path, count: u64) -> io::Result<Self> {
        let mut size = 0;
        for (_, path) in files::days(directory, SUFFIX)?.into_iter().rev() {
            if let Some(next) = lines::last_whole(&File::open(path)?)?.next {
                size = next;
                break;
            }
        }
        Self::from_entry(directory, size.saturating_sub(count))
    }

    /// The next line, without its line feed; `None` if there is no whole one yet.
    ///
    /// # Errors
    /// If the log cannot be read, or a line is longer than one may be.
    pub fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        if std::mem::take(&mut self.is_whole) {
            self.line.clear();
        }
        loop {
            if let Some((_, file)) = &mut self.file {
                let room = MAX_LINE as u64 + 1 - self.line.len() as u64;
                io::Read::take(file, room).read_until(b'\n', &mut self.line)?;
                if self.line.last() == Some(&b'\n') {
                    self.is_whole = true;
                    return Ok(Some(&self.line[..self.line.len() - 1]));
                }
                if self.line.len() > MAX_LINE {
                    let why = "a line is longer than an entry can be";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
                if !self.line.is_empty() {
                    return Ok(None);
                }
            }
            let current = self.file.as_ref().map(|(day, _)| *day);
            let days = files::days(&self.directory, SUFFIX)?;
            let next = days.into_iter().find(|(day, _)| current.is_none_or(|now| *day > now));
            let Some((day, path)) = next else { return Ok(None) };
            self.file = Some((day, BufReader::with_capacity(1 << 16, File::open(path)?)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn line(entry: u64) -> String {
        format!(r#"{{"entry":{entry},"time":1,"type":"t"}}"#)
    }

    fn all(reader: &mut Reader) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = reader.next_line().unwrap() {
            lines.push(String::from_utf8(line.to_vec()).unwrap());
        }
        lines
    }

    #[test]
    fn lines_come_from_one_day_after_the_other_and_as_they_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = |day: u64| dir.path().join(format!("2026-01-0{day}.jsonl"));
        assert!(all(&mut Reader::last(dir.path(), 5).unwrap()).is_empty());
        let mut early = Reader::from_entry(dir.path(), 0).unwrap();
        for day in 0..3 {
            let lines: String = (day * 4..day * 4 + 4).map(|n| line(n) + "\n").collect();
            fs::write(path(day + 1), lines).unwrap();
        }
        let from = |entry| (entry..12).map(line).collect::<Vec<_>>();
        assert_eq!(all(&mut early), from(0));
        assert_eq!(all(&mut Reader::from_entry(dir.path(), 7).unwrap()), from(7));
        assert_eq!(all(&mut Reader::from_entry(dir.path(), 8).unwrap()), from(8));
        assert_eq!(all(&mut Reader::from_entry(dir.path(), 99).unwrap()), from(12));
        let mut last = Reader::last(dir.path(), 6).unwrap();
        assert_eq!(all(&mut last), from(6));

        // Half a line is no line until the rest of it comes.
        let mut file = fs::OpenOptions::new().append(true).open(path(3)).unwrap();
        file.write_all(&line(12).as_bytes()[..9]).unwrap();
        assert!(all(&mut last).is_empty());
        file.write_all(&line(12).as_bytes()[9..]).unwrap();
        assert!(all(&mut last).is_empty());
        file.write_all(b"\n").unwrap();
        fs::write(path(4), line(13) + "\n").unwrap();
        assert_eq!(all(&mut last), [line(12), line(13)]);
        // What is pruned is not asked for.
        fs::remove_file(path(1)).unwrap();
        assert_eq!(all(&mut Reader::from_entry(dir.path(), 2).unwrap())[0], line(4));

        fs::write(path(4), "x".repeat(70_000)).unwrap();
        assert!(Reader::from_entry(dir.path(), 13).unwrap().next_line().is_err());
    }
}
