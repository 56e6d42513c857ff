//! What is saved beside connections and comes back with them.

use std::fmt;

use scache_proto::{Property, Text, ValueError};

/// What is saved with a connection and comes back with it, for the program that uses it next: bytes without NUL, 64 KiB
/// each at most, which the cache does not read. The default is none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties {
    destination: Box<[u8]>,
    connection: Box<[u8]>,
}

impl Properties {
    /// Properties of a destination and of a connection.
    ///
    /// # Errors
    /// [`ValueError::Nul`] and [`ValueError::TooLong`].
    pub fn new(
        destination: impl Into<Box<[u8]>>,
        connection: impl Into<Box<[u8]>>,
    ) -> Result<Self, ValueError> {
        let (destination, connection) = (destination.into(), connection.into());
        Property::new(&destination)?;
        Property::new(&connection)?;
        Ok(Self {
            destination,
            connection,
        })
    }

    /// Properties that came from a server.
    pub(crate) fn received(destination: Box<[u8]>, connection: Box<[u8]>) -> Self {
        Self {
            destination,
            connection,
        }
    }

    /// What was saved for the destination; empty if the connection was found by its endpoint.
    #[must_use]
    pub fn destination(&self) -> &[u8] {
        &self.destination
    }

    /// What was saved with the connection.
    #[must_use]
    pub fn connection(&self) -> &[u8] {
        &self.connection
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Properties")
            .field("destination", &Text(&self.destination))
            .field("connection", &Text(&self.connection))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scache_proto::limits::VALUE_BYTES;

    #[test]
    fn properties_that_cannot_be_sent_are_an_error() {
        let long = vec![b'x'; VALUE_BYTES + 1];
        for (bytes, error) in [
            (&b"a\0b"[..], ValueError::Nul),
            (&long, ValueError::TooLong),
        ] {
            assert_eq!(Properties::new(bytes, *b""), Err(error));
            assert_eq!(Properties::new(*b"", bytes), Err(error));
        }
        let properties = Properties::new(*b"d", &long[1..]).unwrap();
        assert_eq!(properties.destination(), b"d");
        assert_eq!(properties.connection(), &long[1..]);
    }

    #[test]
    fn properties_are_shown_as_text() {
        let properties = Properties::new(*b"tls=none\n", *b"\xff").unwrap();
        let shown = r#"Properties { destination: "tls=none\n", connection: "\xff" }"#;
        assert_eq!(format!("{properties:?}"), shown);
    }
}
