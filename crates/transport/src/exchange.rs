//! One request of an operator and its answer, on a stream of their own: a frame in each direction,
//! and then the end of the stream. Where there is no answer, a code says why.
//!
//! The length before each makes sure that nobody acts on a part: QUIC takes a stream that is
//! dropped, by whoever gave up, for one that was ended in good order.

use bytes::Bytes;
use quinn::{ConnectionError, ReadError, RecvStream, SendStream, VarInt, WriteError};
use thiserror::Error;

use crate::frame::{self, Decoder};
use crate::limits::{OPERATOR_ANSWER_BYTES_MAX, OPERATOR_REQUEST_BYTES_MAX, READ_CHUNK_BYTES};

/// Why a node does not answer a request of an operator. Each message names problem and remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unanswered {
    /// The program that embeds the node takes no requests.
    #[error("its program takes no requests of operators; let it call `Endpoint::operators`")]
    Nobody,
    /// The program has taken the request and dropped it.
    #[error("its program has refused the request; look into the log of the node")]
    Dropped,
    /// Too many requests wait for an answer.
    #[error("too many requests wait there; try again later")]
    Busy,
    /// The request is longer than [`OPERATOR_REQUEST_BYTES_MAX`].
    #[error("the request has more than {OPERATOR_REQUEST_BYTES_MAX} bytes; ask for less at once")]
    TooLong,
    /// The request was cut, or followed by something.
    #[error("it does not understand the request; use the release that it runs")]
    Malformed,
    /// The answer is longer than [`OPERATOR_ANSWER_BYTES_MAX`].
    #[error("the answer has more than {OPERATOR_ANSWER_BYTES_MAX} bytes; ask for less at once")]
    AnswerTooLong,
    /// The deadline has passed; the request may have been carried out.
    #[error("it did not answer in time; look whether the request was carried out, and try again")]
    Late,
    /// The node is being stopped.
    #[error("it is being stopped; try again when it has started")]
    Stopping,
}

impl Unanswered {
    const ALL: [Self; 8] = [
        Self::Nobody,
        Self::Dropped,
        Self::Busy,
        Self::TooLong,
        Self::Malformed,
        Self::AnswerTooLong,
        Self::Late,
        Self::Stopping,
    ];

    /// As the code on the wire. Codes are only ever added. 0 is what a stream says that is dropped.
    pub(crate) fn code(self) -> VarInt {
        VarInt::from_u32(1 + self as u32)
    }

    pub(crate) fn of(code: VarInt) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.code() == code)
    }
}

/// Why a frame was not sent or received.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The other side says why it does not go on; `None` if it merely does not.
    Stopped(Option<Unanswered>),
    /// The connection has ended.
    Lost(ConnectionError),
    /// More bytes were announced than are allowed.
    TooLong,
    /// The frame was cut, or something follows it.
    Malformed,
}

/// Sends a frame and ends the stream.
pub(crate) async fn send(stream: &mut SendStream, frame: Bytes) -> Result<(), Broken> {
    let header = frame::header(&frame).ok_or(Broken::TooLong)?;
    let mut chunks = [Bytes::copy_from_slice(&header), frame];
    stream.write_all_chunks(&mut chunks).await.map_err(|error| match error {
        WriteError::Stopped(code) => Broken::Stopped(Unanswered::of(code)),
        WriteError::ConnectionLost(error) => Broken::Lost(error),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => Broken::Stopped(None),
    })?;
    // Fails only if the other side has stopped it, which reading from it shows.
    let _ = stream.finish();
    Ok(())
}

/// Receives a frame with which the stream ends.
pub(crate) async fn receive(stream: &mut RecvStream, bytes_max: usize) -> Result<Bytes, Broken> {
    let mut decoder = Decoder::new(bytes_max);
    let mut received = None;
    loop {
        let chunk =
            stream.read_chunk(READ_CHUNK_BYTES, true).await.map_err(|error| match error {
                ReadError::Reset(code) => Broken::Stopped(Unanswered::of(code)),
                ReadError::ConnectionLost(error) => Broken::Lost(error),
                ReadError::ClosedStream
                | ReadError::IllegalOrderedRead
                | ReadError::ZeroRttRejected => Broken::Stopped(None),
            })?;
        let Some(chunk) = chunk else {
            return received.ok_or(Broken::Malformed);
        };
        let mut bytes = chunk.bytes;
        if received.is_none() {
            received = decoder.decode(&mut bytes).map_err(|_| Broken::TooLong)?;
        }
        if !bytes.is_empty() {
            return Err(Broken::Malformed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_code_of_its_own_and_0_is_none() {
        for why in Unanswered::ALL {
            assert_eq!(Unanswered::of(why.code()), Some(why));
        }
        assert_eq!(Unanswered::of(VarInt::from_u32(0)), None);
        assert_eq!(Unanswered::of(VarInt::from_u32(9)), None);
    }
}
