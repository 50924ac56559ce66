// SPDX-License-Identifier: Apache-2.0
//! The example repo is part of the binary, for `hostwrit demo`: it is built again when the example changes.

fn main() {
    println!("cargo::rerun-if-changed=example-repo");
}
