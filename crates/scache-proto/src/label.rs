//! The byte strings and the time to live that requests are made of, checked once where they come in.

use std::fmt;
use std::time::Duration;

use crate::limits;

/// The name of a destination or of an endpoint: opaque bytes without NUL, at most
/// [`limits::VALUE_BYTES`] of them, possibly none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label<'a>(&'a [u8]);

/// What a client wants to find again beside a connection or a binding: opaque bytes without NUL, at
/// most [`limits::VALUE_BYTES`] of them, possibly none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Property<'a>(&'a [u8]);

/// How long something may stay in the cache: whole seconds, at least one.
///
/// The wire carries a signed 32-bit number, so [`Ttl::MAX_SECONDS`] is the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(u32);

/// Why bytes are not a [`Label`], a [`Property`] or a [`Ttl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// A NUL ends a value on the wire and cannot be part of one.
    #[error("a value cannot contain a NUL byte")]
    Nul,
    /// Longer than [`limits::VALUE_BYTES`].
    #[error("a value cannot be longer than {} bytes", limits::VALUE_BYTES)]
    TooLong,
    /// Not a whole number of seconds from 1 to [`Ttl::MAX_SECONDS`].
    #[error(
        "a time to live is a whole number of seconds from 1 to {}",
        Ttl::MAX_SECONDS
    )]
    Ttl,
}

impl<'a> Label<'a> {
    /// Checks `bytes`.
    ///
    /// # Errors
    /// [`ValueError::Nul`] and [`ValueError::TooLong`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, ValueError> {
        checked(bytes).map(Self)
    }

    /// The bytes of the name.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Property<'a> {
    /// Checks `bytes`.
    ///
    /// # Errors
    /// [`ValueError::Nul`] and [`ValueError::TooLong`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, ValueError> {
        checked(bytes).map(Self)
    }

    /// The bytes of the property.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

impl Ttl {
    /// The longest time to live that fits the wire.
    pub const MAX_SECONDS: u32 = i32::MAX.unsigned_abs();

    /// A time to live of so many seconds.
    ///
    /// # Errors
    /// [`ValueError::Ttl`] for 0 and for more than [`Ttl::MAX_SECONDS`].
    pub fn from_secs(seconds: u32) -> Result<Self, ValueError> {
        match seconds {
            1..=Self::MAX_SECONDS => Ok(Self(seconds)),
            _ => Err(ValueError::Ttl),
        }
    }

    /// Reads the decimal digits of the wire.
    ///
    /// # Errors
    /// [`ValueError::Ttl`] for anything but digits, and as [`Ttl::from_secs`].
    pub fn parse(digits: &[u8]) -> Result<Self, ValueError> {
        if digits.is_empty() {
            return Err(ValueError::Ttl);
        }
        digits
            .iter()
            .try_fold(0u32, |seconds, byte| {
                let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
                seconds.checked_mul(10)?.checked_add(digit)
            })
            .ok_or(ValueError::Ttl)
            .and_then(Self::from_secs)
    }

    /// Whole seconds, at least one.
    pub fn as_secs(self) -> u32 {
        self.0
    }
}

impl From<Ttl> for Duration {
    fn from(ttl: Ttl) -> Self {
        Duration::from_secs(u64::from(ttl.0))
    }
}

impl fmt::Debug for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Debug for Property<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

fn checked(bytes: &[u8]) -> Result<&[u8], ValueError> {
    if bytes.len() > limits::VALUE_BYTES {
        Err(ValueError::TooLong)
    } else if bytes.contains(&0) {
        Err(ValueError::Nul)
    } else {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_decimal_digits_from_one_up() {
        for (digits, seconds) in [
            (&b"1"[..], Some(1)),
            (b"002", Some(2)),
            (b"2147483647", Some(Ttl::MAX_SECONDS)),
            (b"2147483648", None),
            (b"4294967298", None),
            (b"99999999999999999999", None),
            (b"0", None),
            (b"-1", None),
            (b"+1", None),
            (b" 1", None),
            (b"1s", None),
            (b"", None),
        ] {
            let ttl = Ttl::parse(digits).ok().map(Ttl::as_secs);
            assert_eq!(ttl, seconds, "{}", digits.escape_ascii());
        }
    }

    #[test]
    fn a_value_at_the_limit_is_taken_and_one_past_it_is_not() {
        let longest = vec![b'x'; limits::VALUE_BYTES + 1];
        assert!(Label::new(&longest[1..]).is_ok());
        assert_eq!(Label::new(&longest), Err(ValueError::TooLong));
        assert_eq!(Property::new(b"a\0b"), Err(ValueError::Nul));
        assert!(Property::new(b"").is_ok());
    }
}
