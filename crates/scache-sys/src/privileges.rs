//! Becoming somebody with less power.

use std::io;
use std::path::Path;

use crate::accounts::Account;

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User(Account);

impl User {
    /// Looks a user up by name, in /etc/passwd and then with getent(1); `None` if there is no such user.
    ///
    /// # Errors
    /// What reading /etc/passwd says.
    pub fn by_name(name: &str) -> io::Result<Option<Self>> {
        Ok(Account::by_name(name.as_bytes())?.map(Self))
    }

    /// The user's number.
    pub fn number(&self) -> u32 {
        self.0.uid
    }

    /// Sets this process's group and supplementary groups to this user's.
    ///
    /// # Errors
    /// What setgid(2) and setgroups(2) say.
    pub fn become_group(&self) -> io::Result<()> {
        // SAFETY: a plain number.
        check(unsafe { libc::setgid(self.0.gid) })?;
        let groups = &self.0.groups;
        // SAFETY: the pointer is to as many numbers as the length says.
        check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })
    }

    /// Gives up being anybody else than this user, for good when root does it.
    ///
    /// # Errors
    /// What setuid(2) says.
    pub fn become_user(&self) -> io::Result<()> {
        // SAFETY: a plain number.
        check(unsafe { libc::setuid(self.0.uid) })
    }
}

/// Makes a directory the root of this process, and its working directory.
///
/// # Errors
/// What chroot(2) and chdir(2) say.
pub fn enter_root(directory: &Path) -> io::Result<()> {
    rustix::process::chroot(directory)?;
    rustix::process::chdir("/")?;
    Ok(())
}

fn check(code: libc::c_int) -> io::Result<()> {
    if code < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_and_nobody_else_is_made_up() {
        let root = User::by_name("root").unwrap().unwrap();
        assert_eq!((root.0.uid, root.0.gid), (0, 0));
        assert_eq!(User::by_name("no such user").unwrap(), None);
        assert_eq!(User::by_name("a\0b").unwrap(), None);
    }
}
