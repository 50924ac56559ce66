// SPDX-License-Identifier: Apache-2.0
//! The log of what was done: intent before, outcome after.
