//! scached
