//! One poll as one member answered it.

use crate::event::PollAnswer;
use crate::lattice::{Earliest, Put, Register, Stamp};

/// Everything said about one poll. An empty answer is a statement too: it withdraws the one before.
#[derive(Clone, Debug, Default)]
pub struct PollPiece {
    /// Earliest event of the poll.
    pub first_at: Earliest,
    /// Newest answer; "" where it was withdrawn.
    pub answer: Register<String>,
    pub poll_type: Register<String>,
    pub question: Register<String>,
    pub position: Register<i64>,
}

impl PollPiece {
    pub(super) fn apply(&mut self, stamp: Stamp<'_>, poll: &PollAnswer<'_>) -> Put {
        let mut put = Put { changed: self.first_at.join(stamp.at), ..Put::default() };
        put |= self.answer.put(stamp, kept(poll.answer.trim()));
        put |= put_text(&mut self.poll_type, stamp, poll.poll_type.as_deref());
        put |= put_text(&mut self.question, stamp, poll.question.as_deref());
        if let Some(position) = &poll.position {
            put |= self.position.put(stamp, position);
        }
        put
    }

    pub(super) fn join(&mut self, other: Self) -> Put {
        let mut put = Put { changed: self.first_at.join(other.first_at.0), ..Put::default() };
        put |= self.answer.join(other.answer);
        put |= self.poll_type.join(other.poll_type);
        put |= self.question.join(other.question);
        put |= self.position.join(other.position);
        put
    }

    pub fn answered(&self) -> bool {
        self.answer.get().is_some_and(|answer| !answer.is_empty())
    }
}

/// Puts a text unless it is blank.
pub(super) fn put_text(register: &mut Register<String>, stamp: Stamp<'_>, text: Option<&str>) -> Put {
    match text.map(str::trim) {
        None | Some("") => Put::default(),
        Some(text) => register.put(stamp, kept(text)),
    }
}

/// Bytes of a text that are kept. No field of a row shows more (255 UTF-16 units are 765 bytes at most), and what is cut
/// off decides nothing but which of two texts under one stamp is greater, where rows cannot tell them apart either. A piece
/// is written whole at each commit that changes it: fifty answers of 32 KB would be megabytes.
const TEXT_KEPT: usize = 1_024;

/// The beginning of a text, between code points.
pub(super) fn kept(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_KEPT)).unwrap_or(text)
}
