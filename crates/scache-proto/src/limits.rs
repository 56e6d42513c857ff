//! How much a peer may make a session remember.

/// Bytes of one attribute name or value, without the NUL that ends it.
pub const VALUE_BYTES: usize = 64 * 1024;

/// Bytes of one attribute list, with every NUL of it.
pub const LIST_BYTES: usize = 256 * 1024;

/// Bytes of replies that may wait for a client that does not read and asks for more.
pub const REPLY_BYTES: usize = 64 * 1024;

/// Bytes that a client may say while it does not read and a descriptor waits to be written to it.
pub const AHEAD_BYTES: usize = LIST_BYTES;

/// Descriptors that it may send meanwhile.
pub const AHEAD_DESCRIPTORS: usize = 1;

/// Bytes of memory that a server spends on what all its clients said and are to be told.
pub const SESSIONS_BYTES: usize = 64 * 1024 * 1024;

/// Endpoints that one request may ask for in turn.
pub const ENDPOINTS: usize = 64;

/// Descriptors on their way to one client: with so many it has to read them all before it is answered again.
pub const DESCRIPTORS: usize = 16;
