//! Gives the shared library the name that programs look for, so that another interface could get another name.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libscache.so.0");
}
