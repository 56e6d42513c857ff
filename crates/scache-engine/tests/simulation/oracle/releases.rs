//! Connections that leave the cache other than by being taken: who, why, and whether goodbye is said.

use std::ops::Range;
use std::time::{Duration, Instant};

use scache_engine::Failure;
use scache_store::Reason;

use super::Oracle;
use crate::model::{Entry, Evicted};
use crate::trace::Got;
use crate::world::{Fd, Health, World};

/// Connections that have to leave.
#[derive(Debug, Default)]
pub struct Releases {
    leaving: Vec<(Entry, Reason)>,
    /// One of these has to go, the engine says which.
    choices: Vec<Evicted>,
    /// What the log was told of the next one.
    announced: Option<(Vec<u8>, Reason, Vec<u8>)>,
    /// The one that was told but is not waited for, as its descriptor is needed.
    unwaited: Option<Fd>,
}

impl Releases {
    pub fn push_all(&mut self, released: Vec<(Entry, Reason)>) {
        self.leaving.extend(released);
    }

    pub fn expire(&mut self, entries: Vec<Entry>) {
        let expired = entries.into_iter().map(|entry| (entry, Reason::Expired));
        self.leaving.extend(expired);
    }

    pub fn clear(&mut self, entries: Vec<Entry>) {
        let cleared = entries.into_iter().map(|entry| (entry, Reason::Cleared));
        self.leaving.extend(cleared);
    }

    pub fn choose(&mut self, among: Evicted) {
        if !among.is_empty() {
            self.choices.push(among);
        }
    }

    pub fn announce(&mut self, endpoint: &[u8], reason: Reason, said: &[u8]) {
        assert!(self.announced.is_none(), "told, and nothing done");
        self.announced = Some((endpoint.to_vec(), reason, said.to_vec()));
    }

    pub fn is_empty(&self) -> bool {
        self.announced.is_none() && self.leaving.is_empty() && self.choices.is_empty()
    }

    pub fn assert_empty(&self) {
        assert!(self.announced.is_none(), "told, and nothing done");
        assert!(self.leaving.is_empty(), "not released: {:?}", self.leaving);
        assert!(self.choices.is_empty(), "nobody made room");
    }
}

/// A connection that goodbye was said to.
#[derive(Debug)]
pub struct Parting {
    pub fd: Fd,
    pub deadline: Instant,
    reads: usize,
    answered: bool,
    /// A line or the end was read.
    heard: bool,
}

/// How often an answer has to be read from at least, before it is too long.
const READS: usize = 16;

/// How long answers are waited for at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

impl Parting {
    pub fn is_answered(&self) -> bool {
        self.answered
    }
}

impl Oracle {
    /// What looking at a connection shows, where only these events are of the look.
    pub(super) fn judge(
        watch: bool,
        blinded: &[(usize, Fd, Failure)],
        world: &World,
        fd: Fd,
        look: &Range<usize>,
    ) -> Option<Reason> {
        if !watch {
            return None;
        }
        let blind = blinded
            .iter()
            .find(|(index, other, _)| *other == fd && look.contains(index));
        if let Some((_, _, failure)) = blind {
            return (*failure == Failure::Lost).then_some(Reason::Reset);
        }
        reason(&world.health(world.former_socket(fd)))
    }

    pub(super) fn said_goodbye(
        &mut self,
        world: &World,
        fd: Fd,
        bytes: &[u8],
        result: Result<usize, Failure>,
    ) {
        let Some((entry, reason)) = self.resolve(world, fd) else {
            panic!(
                "written to {fd}, which is nobody's: {}",
                bytes.escape_ascii()
            );
        };
        assert!(!is_death(reason), "a dead connection is talked to");
        let line = self.goodbye(&entry.endpoint);
        let expected = line.map(|line| [&line, &b"\r\n"[..]].concat());
        assert_eq!(Some(bytes), expected.as_deref(), "not the goodbye");
        assert_eq!(world.health(world.former_socket(fd)), Health::Alive);
        let is_waited_for = self.releases.unwaited.take() != Some(fd);
        if result == Ok(bytes.len()) {
            self.book.count("goodbyes_said", 1);
            self.book
                .count("goodbyes_unanswered", u64::from(!is_waited_for));
        }
        if result != Ok(bytes.len()) || !is_waited_for {
            self.doomed.push(fd);
            return;
        }
        let limit = self.settings.parting_limit.max(1);
        // Of those that are to be given up at the same instant any may be.
        if self.leaving.is_none() {
            // There may be more than one too many after an end that was none.
            let most = limit - 1 + self.surplus;
            self.surplus += self.partings.len().saturating_sub(most);
        }
        self.partings.push(Parting {
            fd,
            deadline: self.now + self.patience(),
            reads: 0,
            answered: false,
            heard: false,
        });
    }

    /// How long the answer to a goodbye is waited for.
    fn patience(&self) -> Duration {
        let patience = self.settings.goodbye_timeout;
        match self.leaving {
            Some(_) => patience.min(LAST_ANSWERS),
            None => patience,
        }
    }

    /// From now on there is no time for more than the last answers.
    pub(super) fn hurry(&mut self) {
        for parting in &mut self.partings {
            parting.deadline = parting.deadline.min(self.now + LAST_ANSWERS);
        }
    }

    pub(super) fn parting_received(&mut self, fd: Fd, result: &Result<(Vec<u8>, Got), Failure>) {
        let parting = self.partings.iter_mut().find(|parting| parting.fd == fd);
        let parting = parting.unwrap_or_else(|| panic!("{fd} is read from, which is nobody's"));
        match result {
            Ok((bytes, got)) => {
                parting.heard |= bytes.is_empty() || bytes.contains(&b'\n');
                parting.answered |= parting.heard;
                parting.reads += 1;
                if let Got::One(passed) = got {
                    self.doomed.push(*passed);
                }
            }
            Err(Failure::WouldBlock) => parting.reads = 0,
            Err(_) => parting.answered = true,
        }
    }

    pub(super) fn closed(&mut self, world: &World, fd: Fd) {
        if let Some(at) = self.doomed.iter().position(|other| *other == fd) {
            self.doomed.remove(at);
            self.is_drained(fd);
        } else if self.end.is_some() && self.readers.forget(fd) {
        } else if let Some((entry, reason)) = self.resolve(world, fd) {
            let is_blind = self.blinded.iter().any(|(_, other, _)| *other == fd);
            let alive = world.health(world.former_socket(fd)) == Health::Alive;
            assert!(
                is_death(reason) || self.goodbye(&entry.endpoint).is_none() || !alive || is_blind,
                "no goodbye was said to {entry:?}"
            );
            self.releases.unwaited = None;
        } else if let Some(at) = self.partings.iter().position(|parting| parting.fd == fd) {
            let parting = self.partings.remove(at);
            let name = if parting.heard {
                "goodbyes_answered"
            } else {
                "goodbyes_unanswered"
            };
            self.book.count(name, 1);
            let mut others = self.partings.iter();
            let is_first = others.all(|other| other.deadline >= parting.deadline);
            if is_first && self.surplus > 0 {
                self.surplus -= 1;
                return;
            }
            let makes_room = is_first && self.room > 0;
            if !(parting.answered || parting.deadline <= self.now || parting.reads >= READS) {
                assert!(makes_room, "the answer of {fd} was not waited for");
                self.room -= 1;
            }
        } else if !self.is_delivered(fd) {
            panic!("{fd} is closed without reason");
        }
    }

    /// Of a connection that is about to be told or closed: what it was, and why it goes.
    fn resolve(&mut self, world: &World, fd: Fd) -> Option<(Entry, Reason)> {
        let (entry, reason) = self.releasing(world, fd)?;
        let (endpoint, announced, said) = self.releases.announced.take()?;
        assert_eq!((&endpoint, announced), (&entry.endpoint, reason), "{fd}");
        let room = self.releases.unwaited == Some(fd);
        self.book.released(reason, room);
        if reason == Reason::Spoke {
            if let Health::Spoke(mut expected) = world.health(world.former_socket(fd)) {
                expected.truncate(200);
                assert_eq!(said, expected);
            }
        }
        Some((entry, reason))
    }

    fn releasing(&mut self, world: &World, fd: Fd) -> Option<(Entry, Reason)> {
        let leaving = &mut self.releases.leaving;
        if let Some(at) = leaving.iter().position(|(entry, _)| entry.fd == fd) {
            return Some(leaving.remove(at));
        }
        let choices = &mut self.releases.choices;
        if let Some(at) = choices.iter().position(|among| among.contains(&fd)) {
            choices.remove(at);
            return Some((self.cache.remove(fd)?, Reason::Evicted));
        }
        let announced = self.releases.announced.as_ref()?.1;
        if let Some(leaving) = &mut self.leaving {
            let (watch, blinded) = (self.settings.watch, &self.blinded);
            let judged = || Self::judge(watch, blinded, world, fd, &(0..usize::MAX));
            if let Some(entry) = leaving.let_go(self.now, fd, announced, judged) {
                return Some((entry, announced));
            }
        }
        let Some(entry) = self.cache.entries.iter().find(|entry| entry.fd == fd) else {
            let entry = self.given_up(world, fd, announced)?;
            return Some((entry, announced));
        };
        match announced {
            Reason::Expired => assert!(entry.deadline <= self.now, "not expired"),
            Reason::Evicted => {
                assert!(
                    self.room > 0 && self.partings.is_empty(),
                    "room is not needed"
                );
                assert!(
                    self.cache.soonest().contains(&fd),
                    "not the soonest to expire"
                );
                self.room -= 1;
                self.releases.unwaited = Some(fd);
            }
            Reason::Cleared => panic!("{fd} is cleared while there are clients"),
            reason => {
                let watch = self.settings.watch;
                let found = Self::judge(watch, &self.blinded, world, fd, &(0..usize::MAX));
                assert_eq!(found, Some(reason), "{fd} is not dead");
            }
        }
        Some((self.cache.remove(fd)?, announced))
    }

    /// What is said to connections of an endpoint.
    fn goodbye(&self, endpoint: &[u8]) -> Option<Vec<u8>> {
        let goodbyes = &self.settings.goodbyes;
        let mut longest: Option<&(Vec<u8>, Vec<u8>)> = None;
        for pair in &goodbyes.by_prefix {
            let fits = endpoint.starts_with(&pair.0);
            if fits && longest.is_none_or(|(prefix, _)| prefix.len() < pair.0.len()) {
                longest = Some(pair);
            }
        }
        let line = longest.map_or(&goodbyes.default, |(_, line)| line);
        (!line.is_empty()).then(|| line.clone())
    }
}

fn is_death(reason: Reason) -> bool {
    matches!(reason, Reason::Closed | Reason::Reset | Reason::Spoke)
}

/// Why a connection in this state is of no use.
pub fn reason(health: &Health) -> Option<Reason> {
    match health {
        Health::Alive | Health::NoSocket => None,
        Health::Closed => Some(Reason::Closed),
        Health::Reset => Some(Reason::Reset),
        Health::Spoke(_) => Some(Reason::Spoke),
    }
}

impl Oracle {
    /// Something is written to the successor.
    pub(super) fn handed_over(
        &mut self,
        world: &mut World,
        index: usize,
        bytes: &[u8],
        passed: Option<Fd>,
        result: Result<usize, Failure>,
    ) {
        let (watch, blinded) = (self.settings.watch, &self.blinded);
        let (now, book) = (self.now, &self.book);
        if let Some(leaving) = &mut self.leaving {
            let judge = |fd| Self::judge(watch, blinded, world, fd, &(0..index));
            let history = |fd| book.life(now, world.former_socket(fd) as u64 + 1);
            leaving.sent(now, bytes, passed, result, judge, history);
        }
        if let (Some(passed), Ok(_)) = (passed, result) {
            let socket = world.former_socket(passed);
            assert!(world.given.insert(socket), "{socket} has two owners");
        }
    }
}
