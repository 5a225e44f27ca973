//! The number of an object that is written. What is to be known of it stands in the table of `rows`.

/// An object of the table, by its number. The number is for ever: records, the state and the schema of rows name it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Object(u8);

impl Object {
    pub(super) const fn new(number: u8) -> Self {
        Self(number)
    }

    pub const fn number(self) -> u8 {
        self.0
    }
}
