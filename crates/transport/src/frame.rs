//! Frames on a stream: four bytes of length (big endian), then as many bytes.
//!
//! Pure: bytes in, frames out. The length is checked before anything is allocated for it, and
//! memory grows only as bytes arrive, never ahead of them because a length was announced.

use bytes::{Buf, Bytes, BytesMut};

use crate::event::FrameViolation;

/// Bytes of the length before each frame.
pub(crate) const HEADER_BYTES: usize = 4;

/// The header of a frame; `None` if the frame is too long for it.
pub(crate) fn header(frame: &[u8]) -> Option<[u8; HEADER_BYTES]> {
    u32::try_from(frame.len()).ok().map(u32::to_be_bytes)
}

/// Takes frames out of a stream that arrives in pieces of any size.
#[derive(Debug)]
pub(crate) struct Decoder {
    frame_bytes_max: usize,
    /// What has arrived of the header; `header_len` bytes of it.
    header: [u8; HEADER_BYTES],
    header_len: usize,
    /// What has arrived of the frame, once the header is complete. Always shorter than
    /// `frame_len`.
    partial: BytesMut,
}

impl Decoder {
    pub(crate) fn new(frame_bytes_max: usize) -> Self {
        let header = [0; HEADER_BYTES];
        Self { frame_bytes_max, header, header_len: 0, partial: BytesMut::new() }
    }

    /// Takes the next frame out of `input`, which is consumed as far as needed. `None`: all of
    /// `input` is consumed and the frame is not complete.
    pub(crate) fn decode(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, FrameViolation> {
        let missing = HEADER_BYTES - self.header_len;
        let taken = missing.min(input.len());
        self.header[self.header_len..self.header_len + taken].copy_from_slice(&input[..taken]);
        self.header_len += taken;
        input.advance(taken);
        if self.header_len < HEADER_BYTES {
            return Ok(None);
        }
        let frame_len = self.frame_len()?;
        let missing = frame_len - self.partial.len();
        if input.len() < missing {
            self.partial.extend_from_slice(input);
            input.clear();
            return Ok(None);
        }
        self.header_len = 0;
        let rest = input.split_to(missing);
        if self.partial.is_empty() {
            // Copied, so that a small frame does not keep alive the large buffer it came in.
            return Ok(Some(Bytes::copy_from_slice(&rest)));
        }
        self.partial.extend_from_slice(&rest);
        Ok(Some(std::mem::take(&mut self.partial).freeze()))
    }

    /// To be called when the stream has ended: it must not end inside a frame.
    pub(crate) fn finish(&self) -> Result<(), FrameViolation> {
        if self.header_len == 0 { Ok(()) } else { Err(FrameViolation::Truncated) }
    }

    fn frame_len(&self) -> Result<usize, FrameViolation> {
        let limit = self.frame_bytes_max;
        let announced = usize::try_from(u32::from_be_bytes(self.header)).unwrap_or(usize::MAX);
        if announced > limit {
            return Err(FrameViolation::TooLong { announced, limit });
        }
        Ok(announced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(frames: &[&[u8]]) -> Bytes {
        let mut stream = Vec::new();
        for frame in frames {
            stream.extend_from_slice(&header(frame).unwrap());
            stream.extend_from_slice(frame);
        }
        Bytes::from(stream)
    }

    #[test]
    fn frames_arrive_whole_whatever_the_pieces() {
        let frames: [&[u8]; 5] = [b"one", b"", b"three is longer", &[7; 300], b"x"];
        let stream = encode(&frames);
        for piece_bytes in 1..=stream.len() {
            let mut decoder = Decoder::new(300);
            let mut decoded = Vec::new();
            for piece in stream.chunks(piece_bytes) {
                let mut piece = Bytes::copy_from_slice(piece);
                while let Some(frame) = decoder.decode(&mut piece).unwrap() {
                    decoded.push(frame);
                }
                assert!(piece.is_empty());
            }
            assert_eq!(decoded, frames, "pieces of {piece_bytes}");
            assert_eq!(decoder.finish(), Ok(()));
        }
    }

    #[test]
    fn an_announced_length_over_the_limit_allocates_nothing() {
        for announced in [101, 1 << 20, u32::MAX] {
            let mut decoder = Decoder::new(100);
            let mut input = Bytes::copy_from_slice(&announced.to_be_bytes());
            let refused = decoder.decode(&mut input).unwrap_err();
            let announced = announced as usize;
            assert_eq!(refused, FrameViolation::TooLong { announced, limit: 100 });
            assert_eq!(decoder.partial.capacity(), 0);
        }
    }

    #[test]
    fn an_announced_length_within_the_limit_allocates_only_for_what_arrived() {
        let limit = 4 << 20;
        let mut decoder = Decoder::new(limit);
        let mut input = BytesMut::from(&(limit as u32).to_be_bytes()[..]);
        input.extend_from_slice(b"little");
        assert_eq!(decoder.decode(&mut input.freeze()), Ok(None));
        assert!(decoder.partial.capacity() < 1024);
        assert_eq!(decoder.finish(), Err(FrameViolation::Truncated));
    }
}
