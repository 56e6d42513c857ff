//! Attribute lists: `name NUL value NUL` … and one more NUL.
//!
//! A list is ordered and a name may occur twice in it. Names and values are bytes without NUL; what
//! they mean is not known here.

use std::ops::Range;

use memchr::memchr;

use crate::limits;

/// Writes attribute lists at the end of a buffer.
#[derive(Debug)]
pub struct ListWriter<'a>(&'a mut Vec<u8>);

impl<'a> ListWriter<'a> {
    /// Starts a list.
    pub fn new(buffer: &'a mut Vec<u8>) -> Self {
        Self(buffer)
    }

    /// Adds one attribute. Neither `name` nor `value` may contain a NUL: the types of this crate
    /// ([`crate::Label`], [`crate::Property`]) never do.
    pub fn attribute(self, name: &[u8], value: &[u8]) -> Self {
        debug_assert!(!name.is_empty() && !name.contains(&0) && !value.contains(&0));
        self.0.reserve(name.len() + value.len() + 2);
        self.0.extend_from_slice(name);
        self.0.push(0);
        self.0.extend_from_slice(value);
        self.0.push(0);
        self
    }

    /// Adds one attribute whose value is a decimal number.
    pub fn number(self, name: &[u8], value: impl std::fmt::Display) -> Self {
        self.attribute(name, value.to_string().as_bytes())
    }

    /// Adds attributes that were written before.
    pub(crate) fn attributes(self, attributes: &Attributes) -> Self {
        self.0.extend_from_slice(&attributes.0);
        self
    }

    /// Ends the list.
    pub fn end(self) {
        self.0.push(0);
    }
}

/// Attributes by themselves, to become part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// Adds one attribute. A NUL in `value` becomes a question mark: it cannot be said.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        debug_assert!(!name.is_empty() && !name.contains('\0'));
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(0);
        let from = self.0.len();
        self.0.extend_from_slice(value);
        for byte in self.0[from..].iter_mut().filter(|byte| **byte == 0) {
            *byte = b'?';
        }
        self.0.push(0);
    }

    /// Adds one attribute whose value is a decimal number.
    pub fn number(&mut self, name: &str, value: u64) {
        self.push(name, value.to_string().as_bytes());
    }

    /// How many bytes they take.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// They, as a list.
    pub fn list(&self) -> List<'_> {
        List(&self.0)
    }
}

impl From<List<'_>> for Attributes {
    fn from(list: List<'_>) -> Self {
        Self(list.0.to_vec())
    }
}

/// A complete list: its attributes in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List<'a>(&'a [u8]);

impl<'a> List<'a> {
    /// The list of these bytes, without the NUL that ends it.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for List<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = until_nul(self.0)?;
        let (value, rest) = until_nul(rest)?;
        self.0 = rest;
        Some((name, value))
    }
}

/// A name, a value or a list is longer than [`limits`] allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an attribute list exceeds {} bytes, or a value {}",
    limits::LIST_BYTES,
    limits::VALUE_BYTES
)]
pub struct TooLong;

/// Cuts a stream of bytes into lists, and into the single bytes that carry descriptors.
///
/// Each byte is looked at once however small the pieces are in which it arrives.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Where the list begins that is being read: everything before it is done with.
    start: usize,
    /// Where the name or value begins that is being read.
    string: usize,
    /// The first byte not yet looked at.
    scanned: usize,
    /// A value is being read, not a name.
    in_value: bool,
    /// Bytes done with since the stream began.
    consumed: u64,
    /// Where the last complete list lies.
    list: Range<usize>,
}

/// What an idle framer may keep allocated: room for a request as a mail client sends it.
const KEPT_BYTES: usize = 1024;

impl Framer {
    /// Appends what was read.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.forget();
        self.buffer.extend_from_slice(bytes);
    }

    /// Goes on to the next list, if it is complete: then [`Framer::list`] is it.
    ///
    /// # Errors
    /// [`TooLong`]. The stream cannot be read on then.
    pub fn advance(&mut self) -> Result<bool, TooLong> {
        while let Some(length) = memchr(0, &self.buffer[self.scanned..]) {
            let end = self.scanned + length;
            if end - self.string > limits::VALUE_BYTES || end - self.start >= limits::LIST_BYTES {
                return Err(TooLong);
            }
            let complete = !self.in_value && end == self.string;
            self.in_value = !self.in_value && !complete;
            self.string = end + 1;
            self.scanned = end + 1;
            if complete {
                self.list = self.start..end;
                self.done(end + 1);
                return Ok(true);
            }
        }
        self.scanned = self.buffer.len();
        if self.scanned - self.string > limits::VALUE_BYTES
            || self.scanned - self.start >= limits::LIST_BYTES
        {
            return Err(TooLong);
        }
        Ok(false)
    }

    /// The list that [`Framer::advance`] came to last, until more input is added.
    pub fn list(&self) -> List<'_> {
        List(&self.buffer[self.list.clone()])
    }

    /// The next single byte, with its position in the stream. Only between two lists.
    pub fn next_byte(&mut self) -> Option<(u64, u8)> {
        let byte = *self.buffer.get(self.start)?;
        let position = self.consumed;
        self.done(self.start + 1);
        Some((position, byte))
    }

    /// How many bytes of the stream are done with.
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// How many bytes wait.
    pub fn waiting(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Whether nothing waits, not even the beginning of a list.
    pub fn is_empty(&self) -> bool {
        self.waiting() == 0
    }

    /// How many bytes of memory are allocated for what waits and what is read next.
    pub fn memory(&self) -> usize {
        self.buffer.capacity()
    }

    /// Gives memory back that a long list needed, when nothing waits.
    pub fn shrink(&mut self) {
        if self.is_empty() && self.buffer.capacity() > KEPT_BYTES {
            self.buffer = Vec::new();
            self.list = 0..0;
            self.done_with_all();
        }
    }

    fn done(&mut self, end: usize) {
        self.consumed += (end - self.start) as u64;
        self.start = end;
        self.string = end;
        self.scanned = end;
        self.in_value = false;
    }

    /// Moves what waits to the front of the buffer.
    fn forget(&mut self) {
        self.list = 0..0;
        if self.is_empty() {
            self.buffer.clear();
            self.done_with_all();
        } else if self.start > 0 {
            self.buffer.drain(..self.start);
            self.string -= self.start;
            self.scanned -= self.start;
            self.start = 0;
        }
    }

    fn done_with_all(&mut self) {
        self.start = 0;
        self.string = 0;
        self.scanned = 0;
    }
}

fn until_nul(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(0, bytes)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(list: List<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
        list.map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect()
    }

    #[test]
    fn what_is_written_is_read_again_however_it_is_split() {
        let mut bytes = Vec::new();
        ListWriter::new(&mut bytes)
            .attribute(b"label", b"")
            .attribute(b"label", b"\xff\n\x01")
            .number(b"ttl", 30)
            .end();
        ListWriter::new(&mut bytes).end();
        for split in 0..=bytes.len() {
            let mut framer = Framer::default();
            framer.extend(&bytes[..split]);
            let mut lists = Vec::new();
            while framer.advance().unwrap() {
                lists.push(owned(framer.list()));
            }
            framer.extend(&bytes[split..]);
            while framer.advance().unwrap() {
                lists.push(owned(framer.list()));
            }
            let expected = vec![
                (b"label".to_vec(), b"".to_vec()),
                (b"label".to_vec(), b"\xff\n\x01".to_vec()),
                (b"ttl".to_vec(), b"30".to_vec()),
            ];
            assert_eq!(lists, [expected, Vec::new()], "split at {split}");
            assert!(framer.is_empty());
            assert_eq!(framer.consumed(), bytes.len() as u64);
        }
    }

    #[test]
    fn a_byte_behind_a_list_is_left_for_the_descriptor() {
        let mut framer = Framer::default();
        framer.extend(b"a\0b\0\0\0c\0d\0\0");
        assert_eq!(framer.advance(), Ok(true));
        assert_eq!(owned(framer.list()), [(b"a".to_vec(), b"b".to_vec())]);
        assert_eq!(framer.next_byte(), Some((5, 0)));
        assert_eq!(framer.advance(), Ok(true));
        assert_eq!(owned(framer.list()), [(b"c".to_vec(), b"d".to_vec())]);
        assert_eq!(framer.next_byte(), None);
    }

    #[test]
    fn a_value_at_the_limit_is_read_and_one_past_it_is_not() {
        for (length, taken) in [
            (limits::VALUE_BYTES, true),
            (limits::VALUE_BYTES + 1, false),
        ] {
            let mut framer = Framer::default();
            framer.extend(b"a\0");
            framer.extend(&vec![b'x'; length]);
            framer.extend(b"\0\0");
            assert_eq!(
                framer.advance(),
                if taken { Ok(true) } else { Err(TooLong) }
            );
        }
    }

    #[test]
    fn a_list_at_the_limit_is_read_and_one_past_it_is_not() {
        for (length, taken) in [(limits::LIST_BYTES, true), (limits::LIST_BYTES + 1, false)] {
            let mut list = Vec::new();
            while list.len() + 1000 < length {
                list.extend_from_slice(&[b'n', 0]);
                list.extend_from_slice(&[b'v'; 900]);
                list.push(0);
            }
            list.extend_from_slice(b"n\0");
            list.resize(length - 2, b'v');
            list.extend_from_slice(b"\0\0");
            assert_eq!(list.len(), length);
            let mut framer = Framer::default();
            framer.extend(&list);
            assert_eq!(
                framer.advance(),
                if taken { Ok(true) } else { Err(TooLong) }
            );
        }
    }

    #[test]
    fn a_value_without_end_is_refused_before_it_ends() {
        let mut framer = Framer::default();
        framer.extend(&vec![b'x'; limits::VALUE_BYTES]);
        assert_eq!(framer.advance(), Ok(false));
        framer.extend(b"x");
        assert_eq!(framer.advance(), Err(TooLong));
    }

    #[test]
    fn memory_of_a_long_list_is_given_back() {
        let mut framer = Framer::default();
        framer.extend(b"a\0");
        framer.extend(&vec![b'x'; limits::VALUE_BYTES]);
        framer.extend(b"\0\0");
        assert_eq!(framer.advance(), Ok(true));
        framer.shrink();
        assert_eq!(framer.buffer.capacity(), 0);
        framer.extend(b"a\0b\0\0");
        assert_eq!(framer.advance(), Ok(true));
    }
}
