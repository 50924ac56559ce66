// SPDX-License-Identifier: Apache-2.0
//! One reconciliation, and when to run it.
