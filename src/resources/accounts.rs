// SPDX-License-Identifier: Apache-2.0
//! The account databases as data: passwd(5), shadow(5), group(5), gshadow(5).
