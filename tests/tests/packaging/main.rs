//! What is installed and shipped: files, pages, units, packages, and that none of it says what is not so.

mod booted;
mod examples;
mod installation;
mod packages;
mod pages;
mod repository;
mod scachectl_pages;
mod translation;
mod units;
