//! What the options of `scached` are made of. The command line and a file write them alike, and a value that
//! was read is sound.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use scache_maincf::{TimeUnit, parse_time};
use scache_sys::privileges::User;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A time of so many seconds at least.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time<const LEAST: u64>(pub(super) Duration);

/// A number, so large at least.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number<const LEAST: u32>(pub(super) usize);

/// Yes or no.
#[derive(Clone, Copy, Debug)]
pub(super) struct YesNo(pub(super) bool);

/// Which connection of an endpoint is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order(pub(super) scache_store::Order);

/// The mode of a file, in octal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mode(pub(super) u32);

/// The number of a user, who may be named.
#[derive(Clone, Copy, Debug)]
pub(super) struct AllowedUser(pub(super) u32);

/// A line that is said, without its end.
#[derive(Clone, Debug)]
pub(super) struct Line(pub(super) String);

/// The longest line that is said, in bytes.
const LINE_BYTES: usize = 512;

impl<const LEAST: u64> FromStr for Time<LEAST> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Stricter than Postfix, which takes "soon" for no seconds.
        let unit = text.trim_start_matches(|character: char| character.is_ascii_digit());
        let is_time = unit.len() < text.len() && unit.len() <= 1;
        match parse_time(text, TimeUnit::Second) {
            _ if !is_time => Err(not_a_time(text)),
            Ok(time) if time.as_secs() >= LEAST => Ok(Self(time)),
            Ok(_) => Err(format!("\"{text}\" is too short: at least {LEAST}s")),
            Err(_) => Err(not_a_time(text)),
        }
    }
}

fn not_a_time(text: &str) -> String {
    format!("\"{text}\" is not a time: write a number and s, m, h, d or w, as in 30s")
}

impl<const LEAST: u32> FromStr for Number<LEAST> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<u32>() {
            Ok(number) if number >= LEAST => Ok(Self(number as usize)),
            _ => Err(format!(
                "\"{text}\" is not a number from {LEAST} to {}",
                u32::MAX
            )),
        }
    }
}

impl FromStr for YesNo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "yes" | "true" => Ok(Self(true)),
            "no" | "false" => Ok(Self(false)),
            _ => Err(format!("\"{text}\" is neither yes nor no")),
        }
    }
}

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "oldest" => Ok(Self(scache_store::Order::Oldest)),
            "newest" => Ok(Self(scache_store::Order::Newest)),
            _ => Err(format!("\"{text}\" is neither oldest nor newest")),
        }
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        u32::from_str_radix(text, 8)
            .ok()
            .filter(|mode| *mode <= 0o777)
            .map(Self)
            .ok_or_else(|| format!("\"{text}\" is not an octal mode from 0 to 0777"))
    }
}

impl FromStr for AllowedUser {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(number) = text.parse() {
            return Ok(Self(number));
        }
        match User::by_name(text) {
            Ok(Some(user)) => Ok(Self(user.number())),
            Ok(None) => Err(format!(
                "there is no user \"{text}\": write a name that id(1) knows, or a number"
            )),
            Err(error) => Err(format!("user \"{text}\" cannot be looked up: {error}")),
        }
    }
}

impl FromStr for Line {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > LINE_BYTES {
            return Err(format!("a line has at most {LINE_BYTES} bytes"));
        }
        if text.chars().any(char::is_control) {
            return Err(format!(
                "\"{}\" is more than a line: write it without its end, which is added",
                text.escape_debug()
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Reads a value of a file as the command line would: text, and what is commonly written without quotes.
pub(super) fn optional<'de, D: Deserializer<'de>, T: FromStr<Err = String>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_any(Plain(PhantomData)).map(Some)
}

/// Reads a value of a file that is written in quotes.
pub(super) fn quoted<'de, D: Deserializer<'de>, T: FromStr<Err = String>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(D::Error::custom)
}

impl<'de> Deserialize<'de> for AllowedUser {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Plain(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

struct Plain<T>(PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for Plain<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value as on the command line, in quotes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_bool<E: Error>(self, is: bool) -> Result<T, E> {
        self.visit_str(if is { "true" } else { "false" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong<T: FromStr<Err = String>>(text: &str) -> String {
        text.parse::<T>().err().expect("it is wrong")
    }

    #[test]
    fn what_is_wrong_with_a_value_is_said() {
        for (message, part) in [
            (wrong::<Time<0>>("5x"), "\"5x\" is not a time"),
            (wrong::<Time<1>>("0"), "at least 1s"),
            (wrong::<Number<1>>("0"), "from 1 to"),
            (wrong::<Number<0>>("-1"), "from 0 to"),
            (wrong::<YesNo>("maybe"), "neither yes nor no"),
            (wrong::<Order>("best"), "neither oldest nor newest"),
            (wrong::<Mode>("999"), "octal"),
            (wrong::<Mode>("1777"), "octal"),
            (wrong::<AllowedUser>("no such user"), "no user"),
            (wrong::<Line>("QUIT\r\n"), "\\r\\n"),
            (wrong::<Line>(&"x".repeat(LINE_BYTES + 1)), "at most 512"),
        ] {
            assert!(message.contains(part), "{message}");
        }
        assert!("x".repeat(LINE_BYTES).parse::<Line>().is_ok());
    }
}
