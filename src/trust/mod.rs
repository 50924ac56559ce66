// SPDX-License-Identifier: Apache-2.0
//! Who signed, and may they? Works on bytes that it is given: no I/O, no host.
