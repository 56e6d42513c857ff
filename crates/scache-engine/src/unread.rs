//! Connections that were handed out and that the clients have not read, over all clients.
//!
//! The kernel counts the descriptors of one user that are in flight, over all processes of that user, and passes no more
//! for any of them when there are more than one may have open. So what clients do not read is bounded in all: beyond
//! [`crate::Settings::unread_limit`] a client is given a connection only when it has read the one before. Clients that read
//! notice nothing of that.
//!
//! A message stays in flight when our end of the socket is closed: only the client's read or close ends that. So the
//! sockets of clients that were parted from and have not read are kept, shut down, or the count would forget them.

use std::time::{Duration, Instant};

use scache_proto::limits;

use crate::Kernel;

#[derive(Debug)]
pub(crate) struct Unread<D> {
    limit: usize,
    /// Hand-outs that clients are not known to have read.
    count: usize,
    /// Clients that were parted from and have not read.
    gone: Vec<Gone<D>>,
    /// When all clients were asked about last.
    counted_at: Option<Instant>,
    /// When those that are gone are looked at next.
    look_at: Option<Instant>,
}

#[derive(Debug)]
struct Gone<D> {
    socket: D,
    unread: usize,
}

/// How often clients that are gone are looked at.
const LOOKS: Duration = Duration::from_secs(1);

/// How often all clients are asked about at most.
const COUNTS: Duration = Duration::from_millis(50);

impl<D> Unread<D> {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            count: 0,
            gone: Vec::new(),
            counted_at: None,
            look_at: None,
        }
    }

    /// Returns how many a client may have unread that has so many.
    pub(crate) fn room_for(&self, client: usize) -> usize {
        self.limit.saturating_sub(self.count - client)
    }

    /// Takes note that a client that had so many unread has so many now.
    pub(crate) fn changed(&mut self, before: usize, now: usize) {
        self.count = self.count + now - before;
    }

    /// Returns whether clients are to be asked about: there are too many, and some may have been read long since.
    pub(crate) fn is_to_be_counted(&mut self, now: Instant) -> bool {
        let is_soon = |at: Instant| now.saturating_duration_since(at) < COUNTS;
        if self.count < self.limit || self.counted_at.is_some_and(is_soon) {
            return false;
        }
        self.counted_at = Some(now);
        true
    }

    /// Keeps the socket of a client that is gone and has not read so many, if there is room: those with the most
    /// unread count the most.
    pub(crate) fn keep<K: Kernel<Descriptor = D>>(
        &mut self,
        kernel: &mut K,
        now: Instant,
        socket: D,
        unread: usize,
    ) {
        let most = self.limit / limits::DESCRIPTORS;
        if self.gone.len() >= most {
            let all = self.gone.iter().enumerate();
            let least = all.min_by_key(|(_, gone)| gone.unread);
            let Some((place, least)) = least.map(|(place, gone)| (place, gone.unread)) else {
                return;
            };
            if least >= unread {
                return;
            }
            self.gone.swap_remove(place);
            self.count -= least;
        }
        kernel.say_no_more(&socket);
        self.gone.push(Gone { socket, unread });
        self.count += unread;
        self.look_at.get_or_insert(now + LOOKS);
    }

    /// Lets go of the clients that are gone and have read, or have closed.
    pub(crate) fn look<K: Kernel<Descriptor = D>>(&mut self, kernel: &mut K, now: Instant) {
        if self.look_at.is_some_and(|at| at <= now) {
            self.gone.retain(|gone| {
                let has_unread = kernel.has_unread(&gone.socket);
                self.count -= if has_unread { 0 } else { gone.unread };
                has_unread
            });
            self.look_at = (!self.gone.is_empty()).then_some(now + LOOKS);
        }
    }

    /// Lets go of all clients that are gone.
    pub(crate) fn clear(&mut self) {
        self.gone.clear();
        self.count = 0;
        self.look_at = None;
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.look_at
    }
}
