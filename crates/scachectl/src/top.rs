//! `scachectl top`: a cache at work, on the whole screen.
//!
//! One thread asks the cache ([`feed`]), this one draws and reads keys, so that a cache that does not answer
//! holds up no key. What is known is in [`model`], which keys change ([`keys`]) and [`screen`] draws.

mod feed;
mod keys;
mod model;
mod screen;
mod terminal;
#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use scache_client::Client;

use crate::cache::Cache;
use crate::failure::{Failure, Status};
use crate::figures::typed_time;
use crate::socket::Socket;

use feed::Feed;
use keys::Outcome;
use model::Model;
use terminal::{Input, Screen};

/// A live view: hit rate, room, the busiest destinations, what happens.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often the cache is asked, from 100ms to 10s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
}

/// What the view needs at least, in columns and lines.
const SMALLEST: (u16, u16) = (72, 20);

/// From hardly more than the cache takes for an answer, to as long as it remembers events.
const INTERVALS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];

impl Arguments {
    pub(crate) fn run(&self, socket: Socket) -> Result<ExitCode, Failure> {
        if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
            return Err(Failure::new(
                Status::Usage,
                "top needs a terminal: use stats or watch where there is none",
            ));
        }
        let (columns, lines) = terminal::size()?;
        if columns < SMALLEST.0 || lines < SMALLEST.1 {
            return Err(Failure::new(Status::Usage, too_small(columns, lines)));
        }
        let mut cache = Cache::new(socket);
        // Whoever cannot look at all is told so before the screen is cleared.
        let stats = cache.ask(Client::stats)?;
        let model = Model::new(cache.path(), self.interval, stats);
        show(model, &Feed::start(cache, self.interval))
    }
}

fn show(mut model: Model, feed: &Feed) -> Result<ExitCode, Failure> {
    let mut screen = Screen::open()?;
    let mut is_drawn = false;
    loop {
        if !is_drawn {
            screen.draw(|frame| screen::draw(frame, &mut model))?;
        }
        let input = screen.input()?;
        is_drawn = matches!(input, Input::Nothing);
        match input {
            Input::Nothing | Input::Resized => {}
            Input::Key(key) => match keys::press(&mut model, key) {
                Outcome::Nothing => {}
                Outcome::Ask(wish) => feed.ask(wish),
                Outcome::Quit => return Ok(ExitCode::SUCCESS),
            },
            Input::Signal(signal) => {
                screen.close();
                return terminal::die_of(signal);
            }
        }
        for news in feed.news()? {
            model.take(news);
            is_drawn = false;
        }
    }
}

fn too_small(columns: u16, lines: u16) -> String {
    format!(
        "the terminal is too small: top needs {} columns and {} lines, here are {columns} and {lines}",
        SMALLEST.0, SMALLEST.1
    )
}

fn interval(text: &str) -> Result<Duration, String> {
    let [shortest, longest] = INTERVALS;
    typed_time(text).and_then(|time| {
        if (shortest..=longest).contains(&time) {
            Ok(time)
        } else {
            Err("an interval is from 100ms to 10s".to_owned())
        }
    })
}
