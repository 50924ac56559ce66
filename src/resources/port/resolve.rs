// SPDX-License-Identifier: Apache-2.0
//! Checks a port as the repo writes it.

use crate::model::{Fault, Faults, Origin};
use crate::resources::Contents;
use crate::resources::firewall::{Ports, resolve_places};

use super::{DesiredPort, Opening, Spec};

/// So many connections a source may have at the most: more is as good as no limit.
const CONNECTIONS_MAX: u32 = 65_535;

pub(super) fn resolve(
    name: &str,
    spec: &Spec,
    origin: &Origin,
    contents: &dyn Contents,
) -> Result<DesiredPort, Faults> {
    let mut faults = Faults::default();
    let from = resolve_places("from", spec.from.as_deref().unwrap_or_default(), origin, contents, &mut faults);
    let rate = spec.rate.as_deref().and_then(|text| {
        let rate = text.parse().ok();
        if rate.is_none() {
            let fault = Fault::new(origin.of("rate").clone(), format!("\"{text}\" is no rate"));
            faults.push(fault.hint("write a number from 1 to 1000000 and second, minute, hour or day: 6/minute"));
        }
        rate
    });
    if let Some(connections) = spec.connections.filter(|count| !(1..=CONNECTIONS_MAX).contains(count)) {
        let fault =
            Fault::new(origin.of("connections").clone(), format!("{connections} connections cannot be counted"));
        faults.push(fault.hint(format!("write a number from 1 to {CONNECTIONS_MAX}, or leave it out for any number")));
    }
    let ports = match name.parse::<Ports>() {
        Ok(ports) => ports,
        Err((what, hint)) => {
            faults.push(Fault::new(origin.object.clone(), what).hint(hint));
            return Err(faults);
        }
    };
    faults.or(DesiredPort {
        opening: Opening {
            ports,
            from: from.or_anywhere(),
            rate,
            connections: spec.connections,
            log: spec.log.unwrap_or(false),
        },
        management: spec.management.unwrap_or(false),
    })
}
