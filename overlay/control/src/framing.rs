//! Questions and answers on a stream of their own: everything until its end, and never more than a bound.

use std::io;

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
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io, self.question_max).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        // A peer that gives no answer ends the stream at once, which must not look like an answer of no bytes.
        let mut mark = [0];
        io.read_exact(&mut mark).await?;
        if mark != [ANSWERED] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no answer"));
        }
        read(io, self.answer_max).await
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, bytes: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &bytes, self.question_max).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, bytes: Vec<u8>) -> io::Result<()>
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
}
