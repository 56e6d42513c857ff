//! The terminal as a screen of its own: taken over, and given back as it was, whatever ends the program.

use std::io::{self, Stdout};
use std::panic;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::{Frame, Terminal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::{Failure, Status};

/// A terminal that is drawn on.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    /// The signal that came; 0 if none did.
    signal: Arc<AtomicUsize>,
}

/// What came from outside.
#[derive(Debug)]
pub(super) enum Input {
    /// Nothing for a while.
    Nothing,
    /// The size is another one.
    Resized,
    /// A key was pressed.
    Key(KeyEvent),
    /// The program is to end by this signal.
    Signal(i32),
}

/// How long the program may take to end by itself when the terminal is gone.
const LONG_ENOUGH: Duration = Duration::from_secs(2);

/// How long a signal or an answer of the cache can go unseen.
const PATIENCE: Duration = Duration::from_millis(50);

/// Columns and lines.
pub(super) fn size() -> Result<(u16, u16), Failure> {
    ratatui::crossterm::terminal::size().map_err(failed)
}

impl Screen {
    /// Takes the terminal over.
    pub(super) fn open() -> Result<Self, Failure> {
        let signal = Arc::new(AtomicUsize::new(0));
        for number in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            let value = number.unsigned_abs() as usize;
            signal_hook::flag::register_usize(number, Arc::clone(&signal), value)
                .map_err(failed)?;
        }
        end_after_hang_up().map_err(failed)?;
        // The message of a panic is to be read afterwards.
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            restore();
            before(info);
        }));
        IS_TAKEN.store(true, Ordering::Relaxed);
        enable_raw_mode().map_err(failed)?;
        let screen = execute!(io::stdout(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())))
            .map(|terminal| Self { terminal, signal });
        screen.map_err(|error| {
            restore();
            failed(error)
        })
    }

    /// Draws all of it; only what differs is written.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<(), Failure> {
        self.terminal.draw(draw).map(|_| ()).map_err(failed)
    }

    /// Waits a moment for something to come.
    pub(super) fn input(&self) -> Result<Input, Failure> {
        match self.signal.load(Ordering::Relaxed) {
            0 => {}
            signal => return Ok(Input::Signal(i32::try_from(signal).unwrap_or(SIGTERM))),
        }
        // crossterm alone knows of a new size, which comes as a signal; it never gives up reading from a terminal that
        // has hung up.
        let waits = [Duration::ZERO, PATIENCE];
        for wait in waits {
            if is_hung_up(wait)? {
                return Ok(Input::Signal(SIGHUP));
            }
            match event::poll(Duration::ZERO) {
                Ok(true) => break,
                // A signal came: it is seen the next time.
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(failed(error));
                }
                Ok(false) | Err(_) if wait == PATIENCE => return Ok(Input::Nothing),
                Ok(false) | Err(_) => {}
            }
        }
        Ok(match event::read().map_err(failed)? {
            Event::Key(key) if key.kind != KeyEventKind::Release => Input::Key(key),
            Event::Resize(..) => Input::Resized,
            _ => Input::Nothing,
        })
    }

    /// Gives the terminal back.
    pub(super) fn close(self) {
        drop(self);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Ends the program some time after the terminal has hung up, also if that was in the moment in which it was read:
/// crossterm reads on for ever then.
fn end_after_hang_up() -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP])?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            std::thread::sleep(LONG_ENOUGH);
            restore();
            let _ = die_of(SIGHUP);
        }
    });
    Ok(())
}

/// Waits until the terminal has something to say, for so long at most. Whether it is gone.
fn is_hung_up(wait: Duration) -> Result<bool, Failure> {
    let input = io::stdin();
    let mut polled = [PollFd::new(&input, PollFlags::IN)];
    let timeout = Timespec::try_from(wait).ok();
    match poll(&mut polled, timeout.as_ref()) {
        Ok(_) => Ok(polled[0]
            .revents()
            .intersects(PollFlags::HUP | PollFlags::ERR)),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(failed(error.into())),
    }
}

/// Ends as a program does that knows nothing of this signal, so that whoever waits for it sees that.
pub(super) fn die_of(signal: i32) -> Result<ExitCode, Failure> {
    signal_hook::low_level::emulate_default_handler(signal).map_err(failed)?;
    Ok(ExitCode::FAILURE)
}

/// Whether the terminal is ours now. What leaves the screen twice writes over what was said in between.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// As it was. What cannot be written to a terminal that is gone does not matter any more.
fn restore() {
    if !IS_TAKEN.swap(false, Ordering::Relaxed) {
        return;
    }
    let _ = disable_raw_mode();
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
}

fn failed(error: io::Error) -> Failure {
    Failure::new(
        Status::InputOutput,
        format!("the terminal does not do as it is told: {error}"),
    )
}
