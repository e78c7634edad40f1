//! Questions and answers on a stream of their own: everything until its end, and never more than a bound.

use std::io;
use std::sync::Arc;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use libp2p::request_response::{Behaviour, Codec, Config, ProtocolSupport};

use crate::limits::{ANSWER_MAX, ASK_TIME, HELLO_MAX, HELLO_TIME, QUESTION_MAX};
use crate::names::Names;

/// The first byte of every answer.
const ANSWERED: u8 = 1;

/// Bytes of at most these lengths there and back.
#[derive(Clone, Debug)]
pub(crate) struct Framed {
    question_max: usize,
    answer_max: usize,
}

/// A question, and how long an answer its asker reads: what a peer can make it keep depends on what it asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) bytes: Vec<u8>,
    pub(crate) answer_max: usize,
}

impl Asked {
    pub(crate) fn new(bytes: Vec<u8>, answer_max: usize) -> Self {
        Self { bytes, answer_max }
    }
}

/// An answer; one that goes to many is in memory once.
pub(crate) type Answered = Arc<Vec<u8>>;

/// A protocol of questions and answers.
pub(crate) type Asking = Behaviour<Framed>;

/// Greetings.
pub(crate) fn hello(names: &Names) -> Asking {
    let config = Config::default().with_request_timeout(HELLO_TIME).with_max_concurrent_streams(2);
    let framed = Framed { question_max: HELLO_MAX, answer_max: HELLO_MAX };
    Asking::with_codec(framed, [(names.protocol("hello"), ProtocolSupport::Full)], config)
}

/// Questions about the directory.
pub(crate) fn ask(names: &Names) -> Asking {
    let config = Config::default().with_request_timeout(ASK_TIME).with_max_concurrent_streams(4);
    let framed = Framed { question_max: QUESTION_MAX, answer_max: ANSWER_MAX };
    Asking::with_codec(framed, [(names.protocol("ask"), ProtocolSupport::Full)], config)
}

impl Codec for Framed {
    type Protocol = StreamProtocol;
    type Request = Asked;
    type Response = Answered;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Asked>
    where
        T: AsyncRead + Unpin + Send,
    {
        Ok(Asked::new(read(io, self.question_max).await?, self.answer_max))
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Answered>
    where
        T: AsyncRead + Unpin + Send,
    {
        // A peer that gives no answer ends the stream at once, which must not look like an answer of no bytes.
        let mut mark = [0];
        io.read_exact(&mut mark).await?;
        if mark != [ANSWERED] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no answer"));
        }
        read(io, self.answer_max).await.map(Arc::new)
    }

    // The copy of this codec that writes a question reads its answer.
    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, asked: Asked) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        self.answer_max = self.answer_max.min(asked.answer_max);
        write(io, &asked.bytes, self.question_max).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, bytes: Answered) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&[ANSWERED]).await?;
        write(io, &bytes, self.answer_max).await
    }
}

/// Reads a whole message. What is kept grows with what has come, not with what was announced.
async fn read<T: AsyncRead + Unpin + Send>(io: &mut T, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io.take(most as u64 + 1).read_to_end(&mut bytes).await?;
    if bytes.len() > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than its bound"));
    }
    Ok(bytes)
}

/// Writes a whole message and ends the direction.
async fn write<T: AsyncWrite + Unpin + Send>(io: &mut T, bytes: &[u8], most: usize) -> io::Result<()> {
    if bytes.len() > most {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "longer than its bound"));
    }
    io.write_all(bytes).await?;
    io.close().await
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::io::Cursor;

    use super::*;

    #[test]
    fn messages_have_a_bound_both_ways() {
        let mut there = Cursor::new(Vec::new());
        block_on(write(&mut there, &[7; 100], 100)).expect("fits");
        let bytes = there.into_inner();
        assert_eq!(block_on(read(&mut Cursor::new(&bytes), 100)).expect("fits"), bytes);
        assert!(block_on(read(&mut Cursor::new(&bytes), 99)).is_err());
        assert!(block_on(write(&mut Cursor::new(Vec::new()), &bytes, 99)).is_err());
    }

    #[test]
    fn an_answer_is_as_long_as_the_question_allows() {
        let name = StreamProtocol::new("/test");
        let mut framed = Framed { question_max: 10, answer_max: 1_000 };
        let mut stream = Cursor::new(Vec::new());
        block_on(framed.clone().write_response(&name, &mut stream, Arc::new(vec![7; 101]))).expect("fits");
        let answer = stream.into_inner();
        let read = |framed: &mut Framed| block_on(framed.read_response(&name, &mut Cursor::new(&answer)));
        assert_eq!(read(&mut framed.clone()).expect("fits").len(), 101);
        let asked = Asked::new(vec![1], 100);
        block_on(framed.write_request(&name, &mut Cursor::new(Vec::new()), asked)).expect("fits");
        assert!(read(&mut framed).is_err(), "one byte more than was asked for");
    }
}
