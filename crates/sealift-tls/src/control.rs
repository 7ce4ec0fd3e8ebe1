//! What becomes of an opened record, by its type: data, a message to attend to, or an end.
//!
//! What carries no data is counted, unless it was asked for; too much of it in a row is refused.

use crate::alert::Alert;
use crate::error::{Error, Result, Violation};
use crate::inflow::Step;
use crate::opening::Opened;
use crate::post_handshake::{Message, PostHandshake, Side};
use crate::record::ContentType;

/// Messages without data in a row that are suffered.
pub(crate) const MOST_FRUITLESS: u32 = 1024;

/// Judges the records of one direction, in order.
pub(crate) struct Control {
    post_handshake: PostHandshake,
    tls13: bool,
    /// Messages without data since the last data.
    fruitless: u32,
}

impl Control {
    pub(crate) fn new(side: Side, tls13: bool) -> Self {
        Self { post_handshake: PostHandshake::new(side, tls13), tls13, fruitless: 0 }
    }

    /// Judges a record by its type; `None` if it leads to nothing by itself.
    pub(crate) fn take(&mut self, opened: Opened, content: &[u8]) -> Result<Option<Step>> {
        let is_handshake = opened.content == ContentType::Handshake;
        if !is_handshake && !self.post_handshake.is_between_messages() {
            return Err(Error::Peer(Violation::UnexpectedMessage));
        }
        match opened.content {
            ContentType::ApplicationData if content.is_empty() => {
                self.suffer()?;
                Ok(None)
            }
            ContentType::ApplicationData => {
                self.fruitless = 0;
                Ok(Some(Step::Data(content.len())))
            }
            ContentType::Handshake => {
                self.post_handshake.push(content)?;
                Ok(None)
            }
            ContentType::Alert => match Alert::parse(content, self.tls13)? {
                Alert::CloseNotify => Ok(Some(Step::Ended)),
                Alert::Fatal(description) => Err(Error::Alert(description)),
                Alert::Warning => {
                    self.suffer()?;
                    Ok(None)
                }
            },
            ContentType::ChangeCipherSpec => Err(Error::Peer(Violation::UnexpectedMessage)),
        }
    }

    /// What a whole message behind the last record asks for.
    pub(crate) fn next_message(&mut self) -> Result<Option<Step>> {
        let step = match self.post_handshake.next()? {
            None => return Ok(None),
            Some(Message::Ticket(ticket)) => Step::Ticket(ticket.to_vec().into()),
            Some(Message::KeyUpdate { is_requested }) => Step::KeyUpdate { is_requested },
            Some(Message::Renegotiation) => Step::Renegotiation,
        };
        self.suffer()?;
        Ok(Some(step))
    }

    /// A message without data was asked for.
    pub(crate) fn forgive(&mut self) {
        self.fruitless = self.fruitless.saturating_sub(1);
    }

    fn suffer(&mut self) -> Result<()> {
        self.fruitless += 1;
        if self.fruitless > MOST_FRUITLESS {
            return Err(Error::Peer(Violation::Fruitless));
        }
        Ok(())
    }
}
