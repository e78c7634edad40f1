//! An answer by HTTP/1.1, bounded, as it comes. Pure.

use super::Error;

/// The longest body.
pub(crate) const BODY_MAX: usize = 64 << 10;
/// The longest line, and bytes of an answer with all that is not its body.
const LINE_MAX: usize = 4 << 10;
const WHOLE_MAX: usize = 2 * BODY_MAX;

/// An answer.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Reads one. Hand it what comes by [`Reading::take`] until that is true or nothing comes any more, then [`Reading::end`] it.
#[derive(Debug)]
pub(crate) struct Reading {
    part: Part,
    line: Vec<u8>,
    taken: usize,
    status: u16,
    length: Option<usize>,
    chunked: bool,
    body: Vec<u8>,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Status,
    Header,
    /// So many bytes of a body.
    Bytes(usize),
    /// A body as long as something comes.
    Rest,
    ChunkLen,
    /// So many bytes of a chunk.
    Chunk(usize),
    ChunkEnd,
    Trailer,
    Nothing,
}

impl Reading {
    pub(crate) fn new() -> Self {
        let (line, body) = (Vec::new(), Vec::new());
        Self { part: Part::Status, line, taken: 0, status: 0, length: None, chunked: false, body }
    }

    /// Takes what came; true when that was all.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> Result<bool, Error> {
        self.taken = self.taken.saturating_add(bytes.len());
        if self.taken > WHOLE_MAX {
            return Err(Error::Long);
        }
        while self.part != Part::Nothing && !bytes.is_empty() {
            bytes = match self.part {
                Part::Bytes(left) => {
                    let rest = self.fill(bytes, left)?;
                    let left = left - (bytes.len() - rest.len());
                    self.part = if left == 0 { Part::Nothing } else { Part::Bytes(left) };
                    rest
                }
                Part::Chunk(left) => {
                    let rest = self.fill(bytes, left)?;
                    let left = left - (bytes.len() - rest.len());
                    self.part = if left == 0 { Part::ChunkEnd } else { Part::Chunk(left) };
                    rest
                }
                Part::Rest => self.fill(bytes, usize::MAX)?,
                _ => self.read_line(bytes)?,
            };
        }
        Ok(self.part == Part::Nothing)
    }

    /// The answer, if it is whole when nothing comes any more.
    pub(crate) fn end(self) -> Result<Answer, Error> {
        match self.part {
            Part::Nothing | Part::Rest => Ok(Answer { status: self.status, body: self.body }),
            _ => Err(Error::Http),
        }
    }

    /// Takes up to so many bytes into the body, and gives the others.
    fn fill<'a>(&mut self, bytes: &'a [u8], most: usize) -> Result<&'a [u8], Error> {
        let (now, rest) = bytes.split_at(most.min(bytes.len()));
        if self.body.len() + now.len() > BODY_MAX {
            return Err(Error::Long);
        }
        self.body.extend_from_slice(now);
        Ok(rest)
    }

    /// Takes up to the end of a line, and gives what is behind it.
    fn read_line<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Error> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (now, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
        if self.line.len() + now.len() > LINE_MAX {
            return Err(Error::Long);
        }
        self.line.extend_from_slice(now);
        if end.is_some() {
            let line = std::mem::take(&mut self.line);
            let line = str::from_utf8(&line).map_err(|_| Error::Http)?;
            self.part = self.after(line.trim_end_matches(['\r', '\n']))?;
        }
        Ok(rest)
    }

    fn after(&mut self, line: &str) -> Result<Part, Error> {
        match self.part {
            Part::Status => {
                self.status = status(line)?;
                Ok(Part::Header)
            }
            Part::Header if line.is_empty() => match self.length {
                _ if self.chunked => Ok(Part::ChunkLen),
                Some(0) => Ok(Part::Nothing),
                Some(length) => Ok(Part::Bytes(length)),
                None => Ok(Part::Rest),
            },
            Part::Header => {
                self.header(line)?;
                Ok(Part::Header)
            }
            Part::ChunkLen => match chunk_len(line)? {
                0 => Ok(Part::Trailer),
                len => Ok(Part::Chunk(len)),
            },
            Part::ChunkEnd if line.is_empty() => Ok(Part::ChunkLen),
            Part::Trailer => Ok(if line.is_empty() { Part::Nothing } else { Part::Trailer }),
            _ => Err(Error::Http),
        }
    }

    fn header(&mut self, line: &str) -> Result<(), Error> {
        let (name, value) = line.split_once(':').ok_or(Error::Http)?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            let length: usize = value.parse().map_err(|_| Error::Http)?;
            if length > BODY_MAX {
                return Err(Error::Long);
            }
            if self.length.replace(length).is_some_and(|before| before != length) {
                return Err(Error::Http);
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if !value.eq_ignore_ascii_case("chunked") {
                return Err(Error::Http);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case("content-encoding") && !value.eq_ignore_ascii_case("identity") {
            return Err(Error::Http);
        }
        Ok(())
    }
}

/// The status in the first line of an answer.
pub(crate) fn status(line: &str) -> Result<u16, Error> {
    let mut words = line.split_ascii_whitespace();
    if !words.next().is_some_and(|version| version.starts_with("HTTP/1.")) {
        return Err(Error::Http);
    }
    words.next().filter(|status| status.len() == 3).and_then(|status| status.parse().ok()).ok_or(Error::Http)
}

fn chunk_len(line: &str) -> Result<usize, Error> {
    let digits = line.split(';').next().unwrap_or_default().trim();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::Http);
    }
    usize::from_str_radix(digits, 16).ok().filter(|len| *len <= BODY_MAX).ok_or(Error::Long)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Answer, Error> {
        let mut reading = Reading::new();
        reading.take(bytes)?;
        reading.end()
    }

    fn body(text: &str) -> Option<String> {
        read(text.as_bytes()).ok().map(|answer| String::from_utf8(answer.body).expect("text"))
    }

    #[test]
    fn bodies_end_by_length_by_chunk_or_with_the_connection() {
        assert_eq!(body("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd").as_deref(), Some("abc"));
        assert_eq!(body("HTTP/1.0 200 OK\nServer: x\n\nabcd").as_deref(), Some("abcd"));
        let chunked =
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nA: b\r\n\r\n";
        assert_eq!(body(chunked).as_deref(), Some("abcd"));
        assert_eq!(body("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n").as_deref(), Some(""));
        for wrong in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabcd",
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nabcd",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "ICY 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
        ] {
            assert_eq!(body(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_answer_has_an_end() {
        let head = "HTTP/1.1 200 OK\r\n";
        let long = |text: String| assert!(matches!(read(text.as_bytes()), Err(Error::Long)));
        long(format!("{head}Content-Length: {}\r\n\r\n", BODY_MAX + 1));
        long(format!("{head}\r\n{}", "a".repeat(BODY_MAX + 1)));
        long(format!("{head}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n"));
        long(format!(
            "{head}Transfer-Encoding: chunked\r\n\r\n{}",
            "8000\r\n".to_owned() + &"a".repeat(0x8000) + "\r\n8001\r\n" + &"a".repeat(0x8001)
        ));
        long(format!("{head}A: {}", "a".repeat(LINE_MAX)));
        long(format!("{head}{}", "A: b\r\n".repeat(WHOLE_MAX / 6)));
        let most = format!("{head}\r\n{}", "a".repeat(BODY_MAX));
        assert_eq!(body(&most).map(|body| body.len()), Some(BODY_MAX));
    }

    proptest! {
        #[test]
        fn how_an_answer_is_cut_does_not_matter(
            lines in proptest::collection::vec("[a-fA-F0-9]{1,3}|Content-Length: [0-9]{1,2}|Transfer-Encoding: chunked|[ -~]{0,9}|", 0..12),
            cut in 1_usize..16,
        ) {
            let text = format!("HTTP/1.1 200 OK\r\n{}", lines.join("\r\n"));
            let mut reading = Reading::new();
            let mut pieces = text.as_bytes().chunks(cut);
            let apart = loop {
                let Some(piece) = pieces.next() else { break reading.end() };
                match reading.take(piece) {
                    Ok(true) => break reading.end(),
                    Ok(false) => {}
                    Err(error) => break Err(error),
                }
            };
            prop_assert_eq!(apart.ok(), read(text.as_bytes()).ok());
        }

        #[test]
        fn bytes_in_chunks_come_back(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8)) {
            let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for part in &parts {
                bytes.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                bytes.extend_from_slice(part);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(read(&bytes).expect("an answer").body, parts.concat());
        }
    }
}
