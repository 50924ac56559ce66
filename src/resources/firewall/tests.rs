// SPDX-License-Identifier: Apache-2.0
mod admits;
mod networks;
mod places;
mod real;
mod recorded;
mod table;
