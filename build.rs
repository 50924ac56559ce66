// SPDX-License-Identifier: Apache-2.0
//! The example repo is part of the binary, for `hostwrit demo`: it is built again when the example changes. And the table of what is
//! relocated at the start is packed (DT_RELR): it is most of what both processes would read of it and never use again.

fn main() {
    println!("cargo::rerun-if-changed=example-repo");
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
}
