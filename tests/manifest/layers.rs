// SPDX-License-Identifier: Apache-2.0
//! Profiles and host files put on each other.
