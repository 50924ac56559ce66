// SPDX-License-Identifier: Apache-2.0
//! JSON Schemas of the repo's files, made from the types that read them.
