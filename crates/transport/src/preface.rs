//! The first message on each connection, from both sides: which link it belongs to, and who
//! speaks. Then, on the control connection, the word of the node that chooses (see
//! [`pair`](crate::pair)).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quinn::{Connection, RecvStream, SendStream};

use crate::error::AttemptError;
use crate::lane::{self, Lane};
use crate::limits::HELLO_BYTES_MAX;

/// Bytes before the hello: link, instance, lost, length of the hello.
const FIXED_BYTES: usize = 8 + 8 + 8 + 2;

/// Said on a control connection by the node that chooses: this link it is.
const CHOSEN: u8 = 1;

/// The first message on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Preface {
    /// The link that this connection is one of two halves of; drawn by the node that dials.
    pub(crate) link: u64,
    /// The process that speaks; drawn when its endpoint was started.
    pub(crate) instance: u64,
    /// The last link with this peer that the speaker knows to have ended; 0 if none.
    pub(crate) lost: u64,
    /// What the embedding program has to say first; empty on the data connection.
    pub(crate) hello: Bytes,
}

impl Preface {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(FIXED_BYTES + self.hello.len());
        out.put_u64(self.link);
        out.put_u64(self.instance);
        out.put_u64(self.lost);
        // Checked when the endpoint was started.
        out.put_u16(u16::try_from(self.hello.len()).unwrap_or(u16::MAX));
        out.put_slice(&self.hello);
        out.freeze()
    }

    /// Opens the first stream of a connection and says this on it.
    pub(crate) async fn send(
        &self,
        connection: &Connection,
        lane: Lane,
    ) -> Result<SendStream, AttemptError> {
        let mut stream = lane::open(connection, lane).await?;
        stream.write_chunk(self.encode()).await?;
        Ok(stream)
    }

    /// Takes the first stream of a connection and reads what the peer says on it.
    pub(crate) async fn receive(
        connection: &Connection,
    ) -> Result<(Lane, RecvStream, Self), AttemptError> {
        let mut stream = connection.accept_uni().await?;
        let mut fixed = [0; 1 + FIXED_BYTES];
        stream.read_exact(&mut fixed).await?;
        let mut fixed = &fixed[..];
        let lane = match Lane::of_tag(fixed.get_u8()) {
            Some(lane @ (Lane::Control | Lane::Live)) => lane,
            Some(Lane::Bulk) | None => return Err(AttemptError::Preface),
        };
        let (link, instance, lost) = (fixed.get_u64(), fixed.get_u64(), fixed.get_u64());
        let hello_len = usize::from(fixed.get_u16());
        if hello_len > HELLO_BYTES_MAX {
            return Err(AttemptError::Preface);
        }
        let mut hello = vec![0; hello_len];
        stream.read_exact(&mut hello).await?;
        Ok((lane, stream, Self { link, instance, lost, hello: hello.into() }))
    }
}

/// Tells the peer that this link is the one.
pub(crate) async fn send_chosen(control: &mut SendStream) -> Result<(), AttemptError> {
    Ok(control.write_all(&[CHOSEN]).await?)
}

/// Waits until the peer says that this link is the one.
pub(crate) async fn receive_chosen(control: &mut RecvStream) -> Result<(), AttemptError> {
    let mut word = [0];
    control.read_exact(&mut word).await?;
    if word == [CHOSEN] { Ok(()) } else { Err(AttemptError::Preface) }
}
