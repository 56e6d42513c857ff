//! The command line of `bench`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lexopt::prelude::*;

use crate::{PARTS, Scale};

const USAGE: &str = "usage: bench [--quick] [--without-stock-fill] [--only PART]... [--before PROGRAM] [--page DIRECTORY]";

/// What is to be measured.
#[derive(Debug)]
pub struct Arguments {
    pub(crate) scale: Scale,
    only: Vec<String>,
    before: Option<PathBuf>,
    page: Option<PathBuf>,
}

/// Why a command line means nothing.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// An option that there is not, or one without its value.
    #[error("{0}\n{USAGE}")]
    Option(#[from] lexopt::Error),
    /// A part that there is not.
    #[error("there is no part {0}, only {known}\n{USAGE}", known = PARTS.map(|(name, _)| name).join(", "))]
    Part(String),
}

impl Arguments {
    /// Reads a command line, program name first.
    ///
    /// # Errors
    /// See [`UsageError`].
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, UsageError> {
        let mut parser = lexopt::Parser::from_iter(arguments);
        let (mut quick, mut stock_fill) = (false, true);
        let (mut only, mut before, mut page) = (Vec::new(), None, None);
        while let Some(argument) = parser.next()? {
            match argument {
                Long("quick") => quick = true,
                Long("without-stock-fill") => stock_fill = false,
                Long("only") => only.push(parser.value()?.string()?),
                Long("before") => before = Some(PathBuf::from(parser.value()?)),
                Long("page") => page = Some(PathBuf::from(parser.value()?)),
                _ => return Err(argument.unexpected().into()),
            }
        }
        let known = |part: &&String| PARTS.iter().any(|(name, _)| name == part);
        if let Some(unknown) = only.iter().find(|part| !known(part)) {
            return Err(UsageError::Part(unknown.clone()));
        }
        let scale = if quick { Scale::QUICK } else { Scale::FULL };
        Ok(Self {
            scale: Scale {
                stock_fill,
                ..scale
            },
            only,
            before,
            page,
        })
    }

    /// Returns another build of `scache`, which alone ours is to be compared with.
    pub(crate) fn before(&self) -> Option<&Path> {
        self.before.as_deref()
    }

    pub(crate) fn asks_for(&self, part: &str) -> bool {
        self.before.is_none() && self.only.is_empty() || self.only.iter().any(|only| only == part)
    }

    /// Where the page goes. A part of it is no page.
    pub(crate) fn page_directory(&self) -> Option<&Path> {
        self.page.as_deref().filter(|_| self.only.is_empty())
    }
}
