//! The client library for C: `include/scache.h` says what each function does.
//!
//! All that is done here is to turn C's pointers into values and back; the rest is [`scache_client::Client`]. A
//! pointer that C got wrong cannot be found out, but for NULL, which is an error everywhere.

use std::error::Error as _;
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_longlong, c_uint};
use std::fmt::Write as _;
use std::os::fd::{BorrowedFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::null;
use std::time::Duration;

use scache_client::{Client, Error, Found, FoundThrough, History, Save, Saved, Trust};

/// `struct scache`.
#[derive(Debug)]
pub struct Handle {
    /// Not there only while it is changed.
    client: Option<Client>,
    error: CString,
    /// What the last [`FoundStrings`] points to.
    endpoint: CString,
    destination_property: CString,
    property: CString,
    details: Details,
}

/// Answer of the cache to the last request that succeeded.
#[derive(Clone, Copy, Debug, Default)]
struct Details {
    /// The past of what was found.
    history: Option<History>,
    /// How long what was saved is kept.
    granted: Option<Duration>,
}

/// `struct scache_found`.
#[derive(Debug)]
#[repr(C)]
pub struct FoundStrings {
    connection: c_int,
    endpoint: *const c_char,
    destination_property: *const c_char,
    property: *const c_char,
}

/// `enum scache_result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum ScacheResult {
    /// `SCACHE_OK`
    Ok = 0,
    /// `SCACHE_NOT_FOUND`
    NotFound = 1,
    /// `SCACHE_ERROR`
    Error = -1,
    /// `SCACHE_LOST`
    Lost = -2,
    /// `SCACHE_UNTRUSTED`
    Untrusted = -3,
}

/// Why a call fails.
enum Failure {
    /// It makes no sense.
    Call(&'static str),
    Cache(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Cache(error)
    }
}

const NULL: Failure = Failure::Call("a pointer is NULL that must not be");

/// See scache.h.
///
/// # Safety
/// `path` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scache_open(path: *const c_char) -> *mut Handle {
    // SAFETY: the caller's promise is the same.
    let Ok(path) = (unsafe { bytes(path) }) else {
        return std::ptr::null_mut();
    };
    Box::into_raw(Box::new(Handle {
        client: Some(Client::new(Path::new(OsStr::from_bytes(path)))),
        error: CString::default(),
        endpoint: CString::default(),
        destination_property: CString::default(),
        property: CString::default(),
        details: Details::default(),
    }))
}

/// See scache.h.
///
/// # Safety
/// `cache` is NULL or comes from [`scache_open`] and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scache_close(cache: *mut Handle) {
    if !cache.is_null() {
        // SAFETY: it was made by Box::into_raw in scache_open, and the caller gives it up.
        drop(unsafe { Box::from_raw(cache) });
    }
}

/// See scache.h.
///
/// # Safety
/// `cache` is NULL or comes from [`scache_open`]; no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scache_set_timeout(cache: *mut Handle, milliseconds: c_uint) {
    // SAFETY: the caller's promise is the same.
    unsafe {
        change(cache, |client| {
            client.with_timeout(Duration::from_millis(milliseconds.into()))
        })
    }
}

/// See scache.h.
///
/// # Safety
/// `cache` is NULL or comes from [`scache_open`]; no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scache_set_stock(cache: *mut Handle) {
    // SAFETY: the caller's promise is the same.
    unsafe { change(cache, Client::without_inline) }
}

/// See scache.h. A value that is none of `enum scache_trust` counts as the strictest.
///
/// # Safety
/// `cache` is NULL or comes from [`scache_open`]; no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scache_set_trust(cache: *mut Handle, trust: c_int) {
    let trust = match trust {
        0 => Trust::Named,
        2 => Trust::Service,
        _ => Trust::OwnOrRoot,
    };
    // SAFETY: the caller's promise is the same.
    unsafe { change(cache, |client| client.with_trust(trust)) }
}

/// See scache.h.
///
/// # Safety
/// `cache` is NULL or comes from [`scache_open`], and no other thread uses it; the others are NULL or strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scache_save_endpoint(
    cache: *mut Handle,
    ttl_seconds: c_uint,
    endpoint: *const c_char,
    property: *const c_char,
    connection: c_int,
) -> ScacheResult {
    // SAFETY: the caller's promise is the same, for the strings as well.
    unsafe {
        with(cache, |client| {
            let (endpoint, property) = (bytes(endpoint)?, bytes(property)?);
            let connection = open(connection)?;
            Ok(client.save_endpoint(seconds(ttl_seconds), endpoint, property, &connection)?)
        })
    }
}

/// See scache.h.
///
/// # Safety
/// `cache` is NULL or comes from [`scache_open`], and no other thread uses it; the others are NULL or strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scache_save_destination(
    cache: *mut Handle,
    ttl_seconds: c_uint,
    destination: *const c_char,
    property: *const c_char,
    endpoint: *const c_char,
) -> ScacheResult {
    // SAFETY: the caller's promise is the same, for the strings as well.
    unsafe {
        with(cache, |client| {
            let (destination, property) = (bytes(destination)?, bytes(property)?);
            let endpoint = bytes(endpoint)?;
            Ok(client.save_destination(seconds(ttl_seconds), destination, property, endpoint)?)
        })
    }
}

/// See scache.h.
///
/// # Safety
/// `cache` is NULL or comes from [`scache_open`], and no other thread uses it; the others are NULL or strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scache_save(
    cache: *mut Handle,
    ttl_seconds: c_uint,
    destination: *const c_char,
    destination_property: *const c_char,
    endpoint: *const c_char,
    property: *const c_char,
    connection: c_int,
) -> ScacheResult {
    // SAFETY: the caller's promise is the same, for the strings as well.
    unsafe {
        with(cache, |client| {
            let save = Save {
                destination_property: bytes(destination_property)?,
                property: bytes(property)?,
                ..Save::new(seconds(ttl_seconds), bytes(destination)?, bytes(endpoint)?)
            };
            Ok(client.save(&save, &open(connection)?)?)
        })
    }
}

/// See scache.h.
///
/// # Safety
/// `cache` is NULL or comes from [`scache_open`], and no other thread uses it; `endpoint` is NULL or a string, `found`
/// NULL or where a [`FoundStrings`] may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scache_find_endpoint(
    cache: *mut Handle,
    endpoint: *const c_char,
    found: *mut FoundStrings,
) -> ScacheResult {
    // SAFETY: the caller's promise is the same.
    unsafe {
        with_found(cache, found, |client| {
            let name = bytes(endpoint)?;
            let found = client.find_endpoint(name)?;
            Ok(found.map(|found| Strings::of_found(found, b"", Some(name))))
        })
    }
}

/// See scache.h.
///
/// # Safety
/// `cache` is NULL or comes from [`scache_open`], and no other thread uses it; `destination` is NULL or a string,
/// `endpoints` points to `count` strings or NULLs, `found` is NULL or where a [`FoundStrings`] may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scache_find(
    cache: *mut Handle,
    destination: *const c_char,
    endpoints: *const *const c_char,
    count: usize,
    found: *mut FoundStrings,
) -> ScacheResult {
    // SAFETY: the caller's promise is the same.
    unsafe {
        with_found(cache, found, |client| {
            let endpoints = match (endpoints.is_null(), count) {
                (_, 0) => &[][..],
                (true, _) => return Err(NULL),
                (false, count) => std::slice::from_raw_parts(endpoints, count),
            };
            let endpoints: Vec<&[u8]> = endpoints
                .iter()
                .map(|&endpoint| bytes(endpoint))
                .collect::<Result<_, _>>()?;
            let through = client.find(bytes(destination)?, &endpoints)?;
            Ok(through.map(|through| {
                let FoundThrough {
                    found,
                    destination_property,
                    endpoint,
                    ..
                } = through;
                Strings::of_found(found, &destination_property, endpoint.as_deref())
            }))
        })
    }
}

/// See scache.h.
///
/// # Safety
/// `cache` is NULL or comes from [`scache_open`]; no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scache_error(cache: *const Handle) -> *const c_char {
    // SAFETY: the caller's promise is the same.
    match unsafe { cache.as_ref() } {
        Some(handle) => handle.error.as_ptr(),
        None => c"the handle is NULL".as_ptr(),
    }
}

/// See scache.h.
///
/// # Safety
/// `cache` is NULL or comes from [`scache_open`]; no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scache_age_ms(cache: *const Handle) -> c_longlong {
    // SAFETY: the caller's promise is the same.
    let history = unsafe { details(cache) }.history;
    milliseconds(history.map(|history| history.age))
}

/// See scache.h.
///
/// # Safety
/// `cache` is NULL or comes from [`scache_open`]; no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scache_taken(cache: *const Handle) -> c_longlong {
    // SAFETY: the caller's promise is the same.
    let history = unsafe { details(cache) }.history;
    history.map_or(-1, |history| history.taken.into())
}

/// See scache.h.
///
/// # Safety
/// `cache` is NULL or comes from [`scache_open`]; no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scache_granted_ms(cache: *const Handle) -> c_longlong {
    // SAFETY: the caller's promise is the same.
    milliseconds(unsafe { details(cache) }.granted)
}

/// Facts about the last request.
///
/// # Safety
/// `cache` is NULL or comes from [`scache_open`]; no other thread uses it.
unsafe fn details(cache: *const Handle) -> Details {
    // SAFETY: the caller's promise is the same.
    unsafe { cache.as_ref() }.map_or_else(Details::default, |handle| handle.details)
}

fn milliseconds(time: Option<Duration>) -> c_longlong {
    time.and_then(|time| c_longlong::try_from(time.as_millis()).ok())
        .unwrap_or(-1)
}

/// A connection that was found, with strings that C can read.
struct Strings {
    connection: c_int,
    endpoint: Option<CString>,
    destination_property: CString,
    property: CString,
    history: Option<History>,
}

impl Strings {
    fn of_found(found: Found, destination_property: &[u8], endpoint: Option<&[u8]>) -> Self {
        Self {
            endpoint: endpoint.map(string),
            destination_property: string(destination_property),
            property: string(&found.property),
            history: found.history,
            connection: found.connection.into_raw_fd(),
        }
    }
}

/// Runs a call that saves something and says how it went.
///
/// # Safety
/// `cache` is NULL or comes from [`scache_open`]; no other thread uses it.
unsafe fn with(
    cache: *mut Handle,
    call: impl FnOnce(&mut Client) -> Result<Saved, Failure>,
) -> ScacheResult {
    // SAFETY: the caller's promise is the same.
    let Some(handle) = (unsafe { cache.as_mut() }) else {
        return ScacheResult::Error;
    };
    handle.details = Details::default();
    match handle.client.as_mut().ok_or(NULL).and_then(call) {
        Ok(saved) => {
            handle.error = CString::default();
            handle.details.granted = saved.ttl();
            ScacheResult::Ok
        }
        Err(failure) => handle.failed(&failure),
    }
}

/// Runs a call that finds something, and writes to `found` what that is.
///
/// # Safety
/// `cache` is NULL or comes from [`scache_open`], and no other thread uses it; `found` is NULL or where a
/// [`FoundStrings`] may be written.
unsafe fn with_found(
    cache: *mut Handle,
    found: *mut FoundStrings,
    call: impl FnOnce(&mut Client) -> Result<Option<Strings>, Failure>,
) -> ScacheResult {
    // SAFETY: the caller's promise is the same.
    let Some(handle) = (unsafe { cache.as_mut() }) else {
        return ScacheResult::Error;
    };
    handle.details = Details::default();
    if found.is_null() {
        return handle.failed(&NULL);
    }
    let strings = match handle.client.as_mut().ok_or(NULL).and_then(call) {
        Ok(strings) => strings,
        Err(failure) => return handle.failed(&failure),
    };
    handle.error = CString::default();
    let Some(strings) = strings else {
        return ScacheResult::NotFound;
    };
    let known = strings.endpoint.is_some();
    handle.endpoint = strings.endpoint.unwrap_or_default();
    handle.destination_property = strings.destination_property;
    handle.property = strings.property;
    handle.details.history = strings.history;
    let value = FoundStrings {
        connection: strings.connection,
        endpoint: if known {
            handle.endpoint.as_ptr()
        } else {
            null()
        },
        destination_property: handle.destination_property.as_ptr(),
        property: handle.property.as_ptr(),
    };
    // SAFETY: it is not NULL, so it is where one may be written, as the caller promises.
    unsafe { found.write(value) };
    ScacheResult::Ok
}

/// Changes a setting of a client.
///
/// # Safety
/// `cache` is NULL or comes from [`scache_open`]; no other thread uses it.
unsafe fn change(cache: *mut Handle, change: impl FnOnce(Client) -> Client) {
    // SAFETY: the caller's promise is the same.
    if let Some(handle) = unsafe { cache.as_mut() } {
        handle.client = handle.client.take().map(change);
    }
}

impl Handle {
    fn failed(&mut self, failure: &Failure) -> ScacheResult {
        let (text, result) = match failure {
            Failure::Call(text) => ((*text).to_owned(), ScacheResult::Error),
            Failure::Cache(error @ Error::Lost(_)) => (explained(error), ScacheResult::Lost),
            Failure::Cache(error @ Error::Untrusted { .. }) => {
                (explained(error), ScacheResult::Untrusted)
            }
            Failure::Cache(error) => (explained(error), ScacheResult::Error),
        };
        self.error = string(text.as_bytes());
        result
    }
}

/// An error with its causes.
fn explained(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // A String takes everything.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// The bytes of a string of C's.
///
/// # Safety
/// `string` is NULL or a string that lives as long as the caller uses the bytes.
unsafe fn bytes<'a>(string: *const c_char) -> Result<&'a [u8], Failure> {
    if string.is_null() {
        return Err(NULL);
    }
    // SAFETY: it is not NULL, so it is a string, as the caller promises.
    Ok(unsafe { CStr::from_ptr(string) }.to_bytes())
}

/// A string for C. The protocol knows no NUL in a value, so there is none.
fn string(bytes: &[u8]) -> CString {
    CString::new(bytes).unwrap_or_default()
}

/// A descriptor of C's, if it is one.
///
/// # Safety
/// Nobody closes it before the call ends.
unsafe fn open<'a>(descriptor: c_int) -> Result<BorrowedFd<'a>, Failure> {
    // SAFETY: fcntl(2) with F_GETFD takes any number and touches no memory of ours.
    if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } < 0 {
        return Err(Failure::Call("the connection is no open descriptor"));
    }
    // SAFETY: it is open, as fcntl(2) just said, so it is not -1, and stays so, as the caller promises.
    Ok(unsafe { BorrowedFd::borrow_raw(descriptor) })
}

fn seconds(ttl: c_uint) -> Duration {
    Duration::from_secs(ttl.into())
}
