//! scachectl(1) with the real things: what it talks to, installs and shows.

mod postfix;
