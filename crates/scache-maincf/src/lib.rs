//! Postfix's main.cf without I/O: the caller reads the file and the environment, this crate says what is in it.
//!
//! - `syntax`: text into names and raw values; the same for `-o name=value`.
//! - `expansion`: `$name` and its relatives; `comparison`: the operators of `${{x} == {y} ? {a} : {b}}`.
//! - `value`: times, numbers and booleans.
//! - [`parameters`]: what can be set, with defaults.
//!
//! Nothing is opened and no clock is read, nothing panics, and recursion and size are bounded
//! ([`EXPANSION_DEPTH`], [`EXPANSION_BYTES`]), so any text is safe to read.
//!
//! Values are bytes, as in Postfix. A file may hold any encoding: [`MainCf::bytes`] keeps it, [`MainCf::string`] replaces what is not UTF-8.
//!
//! # Differences from Postfix
//!
//! - A parameter is expanded when it is asked for, with every other one defined. Postfix's programs expand some eighty in a fixed order, so
//!   a bad value of one that this program has no use for stops them and not us, and a default that comes later in that order is still empty to them.
//! - `process_name` is read-only, as in Postfix's manual and later versions; in 3.7 a line of main.cf shows up in other values.
//! - A loop through a comparison (`a = ${{$a} == {x} ? …}`) ends Postfix's programs by a crash, here by [`ExpansionError::TooDeep`].
//! - Compared numbers may have any number of digits; Postfix stops at 63 bits.
//! - Of the many names with built-in defaults only those of [`parameters`] are known; the others are empty unless the file sets them.
//! - `${function{text}}`, new in Postfix 3.11 and an error before, is an error.

mod comparison;
mod error;
mod expansion;
pub mod parameters;
mod syntax;
mod value;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

pub use error::ParameterError;
pub use expansion::{EXPANSION_BYTES, EXPANSION_DEPTH, ExpansionError};
pub use syntax::{AssignmentError, SyntaxError, Warning, split_assignment};
pub use value::{TimeError, TimeUnit, parse_time};

use error::shown;

/// What a main.cf says, what overrides it, and the defaults behind it.
///
/// In the order in which Postfix fills it: [`MainCf::parse`], then [`MainCf::set`] for each `-o`, then [`MainCf::set`] for the parameters nobody may
/// change (`process_name`, `service_name`, `process_id`). What the caller has to find out, such as `myhostname` and `config_directory`,
/// is given to [`MainCf::set_default`] at any time.
#[derive(Clone, Debug, Default)]
pub struct MainCf {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    defaults: BTreeMap<Vec<u8>, Vec<u8>>,
    warnings: Vec<Warning>,
}

impl MainCf {
    /// Reads the text of a file. The last definition of a name wins.
    ///
    /// Values are not looked at: a bad one is an error of its parameter when that is asked for.
    ///
    /// # Errors
    /// [`SyntaxError`] for the first logical line that is not `name = value`.
    pub fn parse(text: &[u8]) -> Result<Self, SyntaxError> {
        let mut this = Self::default();
        for line in syntax::logical_lines(text) {
            if line.begins_with_blank() {
                this.warnings.push(line.indented());
                continue;
            }
            let (name, value) = line.split()?;
            let earlier = this.values.insert(name.to_vec(), value.to_vec());
            if let Some(earlier) = earlier.filter(|earlier| earlier != value) {
                this.warnings.push(line.overriding(name, &earlier));
            }
        }
        Ok(this)
    }

    /// What [`MainCf::parse`] found odd and Postfix warns of, in the order of the lines.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Sets a raw value over whatever the file says. It is expanded like one from the file.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.values
            .insert(name.as_ref().to_vec(), value.as_ref().to_vec());
    }

    /// Gives a raw value for a name that is not set, over the one in [`parameters`].
    pub fn set_default(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.defaults
            .insert(name.as_ref().to_vec(), value.as_ref().to_vec());
    }

    /// The value before expansion: what was set, or else the default, or else nothing.
    pub fn raw(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        let name = name.as_ref();
        let set = self.values.get(name).or_else(|| self.defaults.get(name));
        set.map(Vec::as_slice)
            .or_else(|| Some(parameters::find(name)?.default?.as_bytes()))
    }

    /// Whether the file or an override sets the parameter, be it to nothing.
    pub fn is_set(&self, name: impl AsRef<[u8]>) -> bool {
        self.values.contains_key(name.as_ref())
    }

    /// The expanded value, byte for byte: for paths.
    ///
    /// # Errors
    /// [`ParameterError::Undefined`] when it is not set and has no default, [`ParameterError::Expansion`], and [`ParameterError::Empty`] for an empty
    /// value of a parameter that [needs one](parameters::Parameter::may_be_empty).
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, ParameterError> {
        let raw = self.raw(name).ok_or_else(|| ParameterError::Undefined {
            name: name.to_owned(),
        })?;
        let value = expansion::expand(raw, &|name| self.raw(name)).map_err(|error| {
            ParameterError::Expansion {
                name: name.to_owned(),
                value: shown(raw),
                error,
            }
        })?;
        let needs_value =
            || parameters::find(name.as_bytes()).is_some_and(|parameter| !parameter.may_be_empty);
        if value.is_empty() && needs_value() {
            return Err(ParameterError::Empty {
                name: name.to_owned(),
                value: shown(raw),
            });
        }
        Ok(value)
    }

    /// The expanded value as text; bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// Those of [`MainCf::bytes`].
    pub fn string(&self, name: &str) -> Result<String, ParameterError> {
        let bytes = self.bytes(name)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A time of at least `least`. A number without a unit counts in `default_unit`.
    ///
    /// # Errors
    /// Those of [`MainCf::bytes`], [`ParameterError::Time`] and [`ParameterError::TimeTooShort`].
    pub fn time(
        &self,
        name: &str,
        default_unit: TimeUnit,
        least: Duration,
    ) -> Result<Duration, ParameterError> {
        let value = self.bytes(name)?;
        let time = parse_time(&value, default_unit).map_err(|error| ParameterError::Time {
            name: name.to_owned(),
            value: shown(&value),
            error,
        })?;
        if time < least {
            return Err(ParameterError::TimeTooShort {
                name: name.to_owned(),
                value: shown(&value),
                least_seconds: least.as_secs(),
            });
        }
        Ok(time)
    }

    /// A whole number within `range`.
    ///
    /// # Errors
    /// Those of [`MainCf::bytes`], [`ParameterError::Number`] and [`ParameterError::OutOfRange`].
    pub fn number(&self, name: &str, range: RangeInclusive<u32>) -> Result<u32, ParameterError> {
        let value = self.bytes(name)?;
        number_in(name, &value, range)
    }

    /// A whole number within `range`, or nothing when the value is empty: for limits that the caller works out when nobody sets them.
    ///
    /// # Errors
    /// Those of [`MainCf::number`].
    pub fn optional_number(
        &self,
        name: &str,
        range: RangeInclusive<u32>,
    ) -> Result<Option<u32>, ParameterError> {
        let value = self.bytes(name)?;
        if value.is_empty() {
            return Ok(None);
        }
        number_in(name, &value, range).map(Some)
    }

    /// `yes` or `no`, in any case.
    ///
    /// # Errors
    /// Those of [`MainCf::bytes`], and [`ParameterError::Boolean`].
    pub fn boolean(&self, name: &str) -> Result<bool, ParameterError> {
        let value = self.bytes(name)?;
        value::boolean(&value).ok_or_else(|| ParameterError::Boolean {
            name: name.to_owned(),
            value: shown(&value),
        })
    }

    /// The one of `choices` that the value is, exactly.
    ///
    /// # Errors
    /// Those of [`MainCf::bytes`], and [`ParameterError::Choice`].
    pub fn choice<'a>(&self, name: &str, choices: &[&'a str]) -> Result<&'a str, ParameterError> {
        let value = self.bytes(name)?;
        let chosen = choices.iter().find(|choice| choice.as_bytes() == value);
        chosen.copied().ok_or_else(|| ParameterError::Choice {
            name: name.to_owned(),
            value: shown(&value),
            choices: choices.join(", "),
        })
    }
}

fn number_in(name: &str, value: &[u8], range: RangeInclusive<u32>) -> Result<u32, ParameterError> {
    let number = value::number(value).ok_or_else(|| ParameterError::Number {
        name: name.to_owned(),
        value: shown(value),
    })?;
    match u32::try_from(number) {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(ParameterError::OutOfRange {
            name: name.to_owned(),
            value: shown(value),
            least: *range.start(),
            most: *range.end(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn main_cf(text: &str) -> MainCf {
        MainCf::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_last_definition_wins_and_a_different_earlier_one_is_warned_of() {
        let cf = main_cf("a = 1\nb = x\na = 2\nb = x\n");
        assert_eq!(cf.string("a").unwrap(), "2");
        assert_eq!(cf.warnings().len(), 1);
        assert_eq!(
            cf.warnings()[0].to_string(),
            "line 3: a is defined again; the earlier value is dropped: 1"
        );
    }

    #[test]
    fn a_line_that_is_no_assignment_is_named_by_its_number() {
        let error = MainCf::parse(b"a = 1\n# x\n\nqueue_directory /var\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 4: the name is not followed by '=': \"queue_directory /var\"; write name = value, or begin the line with # or, to continue the line before, with a blank"
        );
    }

    #[test]
    fn an_override_wins_over_the_file_and_the_file_over_defaults() {
        let mut cf = main_cf("max_idle = 7\n");
        cf.set_default("max_idle", "8");
        cf.set_default("myhostname", "h.example");
        assert_eq!(cf.raw("max_idle"), Some(b"7".as_slice()));
        assert!(cf.is_set("max_idle") && !cf.is_set("myhostname"));
        cf.set("max_idle", "9");
        assert_eq!(cf.raw("max_idle"), Some(b"9".as_slice()));
        assert_eq!(cf.string("myhostname").unwrap(), "h.example");
    }

    #[test]
    fn defaults_are_expanded_like_values() {
        let mut cf = MainCf::default();
        assert_eq!(cf.string("syslog_name").unwrap(), "postfix");
        cf.set("multi_instance_name", "postfix-out");
        assert_eq!(cf.string("syslog_name").unwrap(), "postfix-out");
        cf.set_default("syslog_name", "$multi_instance_name-x");
        assert_eq!(cf.string("syslog_name").unwrap(), "postfix-out-x");
    }

    #[test]
    fn a_value_that_is_not_utf8_is_kept_as_bytes_and_shown_as_text() {
        let cf = MainCf::parse(b"# \xff\nqueue_directory = /a\xe9\n").unwrap();
        assert_eq!(cf.bytes("queue_directory").unwrap(), b"/a\xe9");
        assert_eq!(cf.string("queue_directory").unwrap(), "/a\u{fffd}");
    }

    #[test]
    fn errors_name_the_parameter_and_the_value() {
        let cf = main_cf(
            "max_idle = 5x\nipc_timeout = 0\nsyslog_name = \nlimit = 9z\nlow = -1\nyes = maybe\nqueue_directory = ${a\norder = random\n",
        );
        let second = Duration::from_secs(1);
        let cases = [
            (
                cf.time("max_idle", TimeUnit::Second, second)
                    .map(drop)
                    .unwrap_err(),
                "parameter max_idle: bad time value: 5x (write a number and one of s, m, h, d, w)",
            ),
            (
                cf.time("ipc_timeout", TimeUnit::Second, second)
                    .map(drop)
                    .unwrap_err(),
                "parameter ipc_timeout: time is too short: 0 (write at least 1s)",
            ),
            (
                cf.string("syslog_name").map(drop).unwrap_err(),
                "parameter syslog_name: the value is empty: \"\" (give it one, or remove the line for the default)",
            ),
            (
                cf.number("limit", 0..=9).map(drop).unwrap_err(),
                "parameter limit: bad number: 9z (write a whole number)",
            ),
            (
                cf.number("low", 0..=9).map(drop).unwrap_err(),
                "parameter low: number out of range: -1 (write 0 to 9)",
            ),
            (
                cf.boolean("yes").map(drop).unwrap_err(),
                "parameter yes: bad boolean value: maybe (write yes or no)",
            ),
            (
                cf.choice("order", &["oldest", "newest"])
                    .map(drop)
                    .unwrap_err(),
                "parameter order: unknown value: random (write one of: oldest, newest)",
            ),
            (
                cf.string("nothing").map(drop).unwrap_err(),
                "parameter nothing: not set, and there is no default",
            ),
            (
                cf.bytes("queue_directory").map(drop).unwrap_err(),
                "parameter queue_directory: bad value: ${a (nothing closes the brace or parenthesis at \"${a\")",
            ),
        ];
        for (error, text) in cases {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn times_numbers_booleans_and_choices_are_read_after_expansion() {
        let cf = main_cf(
            "unit = m\nmax_idle = 5$unit\nn = 1${unit?0}\nempty =\nb = YES\norder = newest\n",
        );
        assert_eq!(
            cf.time("max_idle", TimeUnit::Second, Duration::ZERO),
            Ok(Duration::from_secs(300))
        );
        assert_eq!(cf.number("n", 10..=10), Ok(10));
        assert_eq!(cf.optional_number("n", 0..=99), Ok(Some(10)));
        assert_eq!(cf.optional_number("empty", 0..=99), Ok(None));
        assert_eq!(cf.boolean("b"), Ok(true));
        assert_eq!(cf.choice("order", &["oldest", "newest"]), Ok("newest"));
    }
}
