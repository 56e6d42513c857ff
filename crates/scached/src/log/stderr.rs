//! Lines on standard error, which may be a terminal that somebody stopped or a pipe that nobody reads.
//!
//! O_NONBLOCK belongs to the open file, which the shell and others hold as well, so it is not set there. A
//! socket can be told with each call not to wait; a pipe or a terminal is opened once more, for us alone.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags, fstat};
use rustix::net::{SendFlags, send};
use rustix::stdio::stderr;

use super::cut;

/// Standard error, written to without waiting.
#[derive(Debug)]
pub(super) struct Stderr {
    kind: Kind,
    /// The last line was cut short, so the next one does not begin where a line begins.
    cut: bool,
}

#[derive(Debug)]
enum Kind {
    /// A pipe or a terminal, opened for us alone.
    Own(File),
    Socket,
    /// A file; or what cannot be opened, of which poll(2) says whether it has room.
    Shared,
}

/// What a pipe takes as a whole when it takes anything (PIPE_BUF in the kernel).
const LINE_BYTES: usize = 4096;

impl Stderr {
    pub(super) fn open() -> Self {
        let kind = fstat(stderr()).map(|status| FileType::from_raw_mode(status.st_mode));
        let kind = match kind {
            Ok(FileType::Socket) => Kind::Socket,
            Ok(FileType::Fifo | FileType::CharacterDevice) => {
                let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32;
                OpenOptions::new()
                    .write(true)
                    .custom_flags(flags)
                    .open("/proc/self/fd/2")
                    .map_or(Kind::Shared, Kind::Own)
            }
            _ => Kind::Shared,
        };
        Self { kind, cut: false }
    }

    /// Writes text that ends a line, cut to what can be written at once. Says whether all was taken.
    pub(super) fn write(&mut self, text: &str) -> bool {
        let end = if self.cut { "\n" } else { "" };
        let room = LINE_BYTES - end.len() - 1;
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = cut(text, room);
        let line = format!("{end}{text}\n");
        let written = self.write_some(line.as_bytes()).unwrap_or(0);
        if written > 0 {
            self.cut = written < line.len();
        }
        written == line.len()
    }

    fn write_some(&mut self, line: &[u8]) -> io::Result<usize> {
        match &mut self.kind {
            Kind::Own(file) => file.write(line),
            Kind::Socket => {
                let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                Ok(send(stderr(), line, flags)?)
            }
            Kind::Shared => {
                let mut file = [PollFd::from_borrowed_fd(stderr(), PollFlags::OUT)];
                poll(&mut file, Some(&Timespec::default()))?;
                if !file[0].revents().contains(PollFlags::OUT) {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(rustix::io::write(stderr(), line)?)
            }
        }
    }
}
