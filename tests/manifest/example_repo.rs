// SPDX-License-Identifier: Apache-2.0
//! `example-repo/` is what people copy, so it is always sound.
