//! maincf
