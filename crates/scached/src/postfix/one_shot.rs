//! `-S`: one client on standard input and output, until what it sent at once is answered.
//!
//! Standard input need not be a socket. Then no descriptor can come or go, but everything else works.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cache::Cache;
use crate::client::{self, Client, Next, Turn};
use crate::log::{Complaint, Log};
use crate::settings::Settings;
use crate::statistics;

/// Serves a request and those that came with it, then logs the statistics.
pub(super) fn serve(settings: &Settings, log: &Log) -> io::Result<()> {
    let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    let mut cache = Cache::new(settings, Instant::now());
    let mut buffer = vec![0; client::READ_BYTES];
    let began = SystemTime::now();
    let mut client = Client::new(stdin.try_clone_to_owned()?, false, settings.request_timeout)
        .with_output(stdout.try_clone_to_owned()?);
    let mut next = Next::Readable;
    while next != Next::Close && !(next == Next::Readable && client.served() && client.is_idle()) {
        if next != Next::Again && !wait(stdin, stdout, next, client.deadline())? {
            log.complain(Instant::now(), Complaint::Timeout);
            break;
        }
        let now = Instant::now();
        cache.expire(now);
        next = client.turn(
            &mut Turn {
                now,
                cache: &mut cache,
                log,
                buffer: &mut buffer,
            },
            false,
        );
    }
    log.begin_last_words();
    statistics::log(log, began, &cache.take_statistics());
    Ok(())
}

/// Waits for the client. `false`: not any longer.
fn wait(
    stdin: BorrowedFd<'_>,
    stdout: BorrowedFd<'_>,
    next: Next,
    deadline: Option<Instant>,
) -> io::Result<bool> {
    let mut files = [
        PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::OUT),
    ];
    let watched = if next == Next::Writable { 2 } else { 1 };
    let timeout = deadline
        .map(|deadline| deadline.saturating_duration_since(Instant::now()))
        .and_then(|left| Timespec::try_from(left).ok());
    let ready = rustix::io::retry_on_intr(|| poll(&mut files[..watched], timeout.as_ref()))?;
    Ok(ready > 0)
}
