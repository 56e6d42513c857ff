//! Becoming somebody with less power.

use std::ffi::{CStr, CString};
use std::io;
use std::path::Path;

/// A user of this machine, as the password file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    name: CString,
    uid: libc::uid_t,
    gid: libc::gid_t,
}

/// Room for one line of the password file; getpwnam_r(3) says when it wants more.
const ENTRY_BYTES: usize = 1024;
const ENTRY_BYTES_LIMIT: usize = 1024 * 1024;

impl User {
    /// Looks a user up by name.
    ///
    /// # Errors
    /// What getpwnam_r(3) says; `None` if there is no such user.
    pub fn by_name(name: &str) -> io::Result<Option<Self>> {
        let Ok(name) = CString::new(name) else {
            return Ok(None);
        };
        let mut size = ENTRY_BYTES;
        loop {
            match lookup(&name, size) {
                Err(error)
                    if error.raw_os_error() == Some(libc::ERANGE) && size < ENTRY_BYTES_LIMIT =>
                {
                    size *= 2;
                }
                result => return result,
            }
        }
    }

    /// The user's number.
    pub fn number(&self) -> u32 {
        self.uid
    }

    /// Sets this process's group and supplementary groups to this user's. To be done before
    /// [`enter_root`], behind which the group file is out of reach.
    ///
    /// # Errors
    /// What setgid(2) and initgroups(3) say.
    pub fn become_group(&self) -> io::Result<()> {
        // SAFETY: plain numbers.
        check(unsafe { libc::setgid(self.gid) })?;
        // SAFETY: `name` is a C string that outlives the call.
        check(unsafe { libc::initgroups(self.name.as_ptr(), self.gid) })
    }

    /// Gives up being anybody else than this user, for good when root does it.
    ///
    /// # Errors
    /// What setuid(2) says.
    pub fn become_user(&self) -> io::Result<()> {
        // SAFETY: a plain number.
        check(unsafe { libc::setuid(self.uid) })
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

fn lookup(name: &CStr, size: usize) -> io::Result<Option<User>> {
    let mut strings = vec![0; size];
    let mut entry = std::mem::MaybeUninit::<libc::passwd>::uninit();
    let mut found = std::ptr::null_mut();
    // SAFETY: all pointers are to live memory, `strings` of the length that is given.
    let code = unsafe {
        libc::getpwnam_r(
            name.as_ptr(),
            entry.as_mut_ptr(),
            strings.as_mut_ptr(),
            strings.len(),
            &raw mut found,
        )
    };
    if code != 0 {
        return Err(io::Error::from_raw_os_error(code));
    }
    if found.is_null() {
        return Ok(None);
    }
    // SAFETY: `found` is not null, so getpwnam_r(3) has filled in the entry.
    let entry = unsafe { entry.assume_init() };
    Ok(Some(User {
        name: name.to_owned(),
        uid: entry.pw_uid,
        gid: entry.pw_gid,
    }))
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
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(User::by_name("no such user").unwrap(), None);
        assert_eq!(User::by_name("a\0b").unwrap(), None);
    }
}
