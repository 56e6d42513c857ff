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

/// How long something may stay in the cache: milliseconds, more than none.
///
/// The wire carries whole seconds as a signed 32-bit number, so [`Ttl::MAX_SECONDS`] is the longest. A
/// predecessor that hands its entries over says milliseconds besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl {
    milliseconds: u64,
}

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
            1..=Self::MAX_SECONDS => Ok(Self {
                milliseconds: u64::from(seconds) * 1000,
            }),
            _ => Err(ValueError::Ttl),
        }
    }

    /// What is left of a time to live: whole milliseconds, rounded up, [`Ttl::MAX_SECONDS`] at most.
    ///
    /// # Errors
    /// [`ValueError::Ttl`] if nothing is left.
    pub fn from_remaining(remaining: Duration) -> Result<Self, ValueError> {
        let milliseconds = remaining.as_nanos().div_ceil(1_000_000);
        let longest = u64::from(Self::MAX_SECONDS) * 1000;
        match u64::try_from(milliseconds).unwrap_or(u64::MAX).min(longest) {
            0 => Err(ValueError::Ttl),
            milliseconds => Ok(Self { milliseconds }),
        }
    }

    /// The same second, told more precisely; what does not fit it is not believed.
    pub(crate) fn refined(self, digits: &[u8]) -> Self {
        let milliseconds = std::str::from_utf8(digits)
            .ok()
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok());
        match milliseconds {
            Some(milliseconds)
                if u64::div_ceil(milliseconds, 1000) == u64::from(self.as_secs()) =>
            {
                Self { milliseconds }
            }
            _ => self,
        }
    }

    /// The same, rounded up to whole seconds.
    pub(crate) fn in_whole_seconds(self) -> Self {
        Self {
            milliseconds: u64::from(self.as_secs()) * 1000,
        }
    }

    /// Whether it was told more precisely than in whole seconds.
    pub fn is_precise(self) -> bool {
        self.fraction().is_some()
    }

    /// Milliseconds, if they say more than the seconds do.
    pub(crate) fn fraction(self) -> Option<u64> {
        (self.milliseconds % 1000 != 0).then_some(self.milliseconds)
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

    /// Whole seconds, rounded up, at least one.
    pub fn as_secs(self) -> u32 {
        u32::try_from(self.milliseconds.div_ceil(1000)).unwrap_or(Self::MAX_SECONDS)
    }
}

impl From<Ttl> for Duration {
    fn from(ttl: Ttl) -> Self {
        Duration::from_millis(ttl.milliseconds)
    }
}

/// Bytes that are text most of the time, shown as text by [`fmt::Debug`].
pub struct Text<'a>(pub &'a [u8]);

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Debug for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Text(self.0).fmt(f)
    }
}

impl fmt::Debug for Property<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Text(self.0).fmt(f)
    }
}

fn checked(bytes: &[u8]) -> Result<&[u8], ValueError> {
    if bytes.len() > limits::VALUE_BYTES {
        Err(ValueError::TooLong)
    } else if memchr::memchr(0, bytes).is_some() {
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
    fn milliseconds_refine_the_second_they_belong_to() {
        let ttl = Ttl::from_secs(2).unwrap();
        for (digits, milliseconds) in [
            (&b"1001"[..], 1001),
            (b"1999", 1999),
            (b"2000", 2000),
            (b"1000", 2000),
            (b"2001", 2000),
            (b"0", 2000),
            (b"+1500", 2000),
            (b"", 2000),
            (b"99999999999999999999", 2000),
        ] {
            let refined = Duration::from(ttl.refined(digits));
            assert_eq!(
                refined,
                Duration::from_millis(milliseconds),
                "{}",
                digits.escape_ascii()
            );
        }
    }

    #[test]
    fn what_remains_is_rounded_up() {
        for (nanoseconds, milliseconds, seconds) in
            [(1, 1, 1), (1_000_000, 1, 1), (1_000_000_001, 1001, 2)]
        {
            let ttl = Ttl::from_remaining(Duration::from_nanos(nanoseconds)).unwrap();
            assert_eq!(Duration::from(ttl), Duration::from_millis(milliseconds));
            assert_eq!(ttl.as_secs(), seconds);
        }
        assert!(Ttl::from_remaining(Duration::ZERO).is_err());
        let forever = Ttl::from_remaining(Duration::MAX).unwrap();
        assert_eq!(forever.as_secs(), Ttl::MAX_SECONDS);
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
