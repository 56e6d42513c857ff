//! A /dev that only one program sees, so that it can be given a log socket of its own.

/// A script for `unshare -m sh -c`: starts `$2 …` with a /dev in which log is the socket `$1/syslog`.
pub(crate) const SCRIPT: &str = "\
    set -e; mkdir -p \"$1/dev\"; cp -a /dev/null /dev/zero /dev/random /dev/urandom \"$1/dev\"; \
    ln -sfn \"$1/syslog\" \"$1/dev/log\"; mount --bind \"$1/dev\" /dev; shift; exec \"$@\"";
