//! Versions of Postfix, as far as they make a difference here.

/// Major and minor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u32, u32);

impl Version {
    /// From here on postconf can edit master.cf.
    pub(super) const EDITS: Self = Self(2, 11);

    /// From here on clients wait until the server has said its protocol's name; before, they must not get it.
    pub(super) const ANNOUNCED: Self = Self(3, 6);

    /// Of `3.7.11` and of `3.9-20230101` the first two numbers.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(['.', '-']).map(str::parse);
        Some(Self(numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn versions_are_compared_by_number() {
        for (text, version) in [
            ("3.7.11", Version(3, 7)),
            ("3.10.2", Version(3, 10)),
            ("3.9-20230424", Version(3, 9)),
            ("2.11.0", Version(2, 11)),
        ] {
            assert_eq!(Version::parse(text), Some(version), "{text}");
        }
        assert!(Version(3, 10) > Version::ANNOUNCED);
        assert!(Version(3, 5) < Version::ANNOUNCED);
        assert!(Version(2, 9) < Version::EDITS);
        assert_eq!(Version::parse("new"), None);
        assert_eq!(Version::parse(""), None);
    }
}
