//! Users of this machine: from /etc/passwd and /etc/group, and from getent(1) if they are not there.
//!
//! getpwnam(3) and initgroups(3) are not called. They load libraries that nsswitch.conf(5) names, and in a statically linked
//! program these libraries bring another libc with them: where `group:` names `systemd`, as it does on most systems,
//! initgroups(3) of a static program crashes. getent(1) belongs to the system, so it can load whatever the system has.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// A user, and the groups that the user is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The supplementary groups, `gid` first, none twice.
    pub(crate) groups: Vec<u32>,
}

impl Account {
    /// Looks a user up by name; `None` if there is no such user.
    pub(crate) fn by_name(name: &[u8]) -> io::Result<Option<Self>> {
        if name.is_empty() || name.iter().any(|byte| b":\n\0".contains(byte)) {
            return Ok(None);
        }
        let group_file = std::fs::read(GROUP).unwrap_or_default();
        let mut groups = groups_of(&group_file, name);
        let (uid, gid) = match ids_of(&std::fs::read(PASSWD)?, name) {
            Some(ids) => ids,
            None => match ids_elsewhere(name) {
                Some(ids) => {
                    groups.extend(groups_elsewhere(name));
                    ids
                }
                None => return Ok(None),
            },
        };
        let mut unique = vec![gid];
        for group in groups {
            if !unique.contains(&group) {
                unique.push(group);
            }
        }
        Ok(Some(Self {
            uid,
            gid,
            groups: unique,
        }))
    }
}

/// The user and the group of the first entry for `name` in the text of a passwd(5) file.
fn ids_of(passwd: &[u8], name: &[u8]) -> Option<(u32, u32)> {
    lines(passwd).find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        (fields.next()? == name).then_some(())?;
        let _password = fields.next()?;
        Some((number(fields.next()?)?, number(fields.next()?)?))
    })
}

/// The groups that have `name` among their members in the text of a group(5) file.
fn groups_of<'a>(group: &'a [u8], name: &'a [u8]) -> Vec<u32> {
    let found = lines(group).filter_map(|line| {
        let mut fields = line.splitn(4, |byte| *byte == b':').skip(2);
        let (gid, members) = (fields.next()?, fields.next()?);
        let mut members = members.split(|byte| *byte == b',');
        members.any(|member| member == name).then(|| number(gid))?
    });
    found.collect()
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

fn number(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What the other sources of nsswitch.conf(5), LDAP for one, know of a user.
fn ids_elsewhere(name: &[u8]) -> Option<(u32, u32)> {
    let entry = getent("passwd", name)?;
    // The name may be spelled otherwise there, in lower case.
    let known_as = lines(&entry).next()?.split(|byte| *byte == b':').next()?;
    ids_of(&entry, known_as)
}

/// The supplementary groups there: getent(1) writes the name, and then the numbers.
fn groups_elsewhere(name: &[u8]) -> Vec<u32> {
    let line = getent("initgroups", name).unwrap_or_default();
    let words = line.split(u8::is_ascii_whitespace).skip(1);
    words.filter_map(number).collect()
}

/// Runs getent(1); `None` if it is not there or finds nothing.
fn getent(database: &str, name: &[u8]) -> Option<Vec<u8>> {
    // It takes digits for a number of a user, and a minus for an option.
    if name.iter().all(u8::is_ascii_digit) || name.starts_with(b"-") {
        return None;
    }
    let output = Command::new("getent")
        .arg(database)
        .arg(OsStr::from_bytes(name))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then_some(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_by_its_whole_name_and_its_numbers_are_read() {
        let passwd = b"# users\nroot:x:0:0:root:/root:/bin/sh\npostfix2:x:7:8::/:\nbroken:x:y:8::/:\n\
            postfix:x:100:102::/var/spool/postfix:/usr/sbin/nologin\npostfix:x:1:1::/:\n+::::::\nshort:x\ncaf\xe9:x:5:6::/:";
        for (name, ids) in [
            (&b"root"[..], Some((0, 0))),
            (b"postfix", Some((100, 102))),
            (b"postfix2", Some((7, 8))),
            (b"caf\xe9", Some((5, 6))),
            (b"broken", None),
            (b"short", None),
            (b"post", None),
        ] {
            assert_eq!(ids_of(passwd, name), ids, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn a_member_of_a_group_is_a_whole_name_between_commas() {
        let group = b"root:x:0:\nmail:x:8:exim,postfix\npostfix:x:102:\nsasl:x:45:postfix\nodd:x:z:postfix\n\
            other:x:9:postfixed,apostfix\nnone\n";
        assert_eq!(groups_of(group, b"postfix"), [8, 45]);
        assert_eq!(groups_of(group, b"root"), []);
    }

    #[test]
    fn getent_finds_what_the_system_knows_and_no_numbers_or_options() {
        assert_eq!(ids_elsewhere(b"root"), Some((0, 0)));
        assert_eq!(ids_elsewhere(b"no-such-user-here"), None);
        assert_eq!(ids_elsewhere(b"0"), None);
        assert_eq!(ids_elsewhere(b"--help"), None);
        assert!(groups_elsewhere(b"root").iter().all(|group| *group == 0));
    }
}
