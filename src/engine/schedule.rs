// SPDX-License-Identifier: Apache-2.0
//! When a host pulls next, so that a fleet does not come all at once.

use std::time::Duration;

/// What fails for a moment, such as a network that is not up yet at boot, costs a host no more than about this.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// However long a remote is gone, it is asked this often.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// Returns the time to the next pull after `failures` pulls in a row have failed. `random` is between 0 and 1.
///
/// After a failure it is seconds (no more than the interval), doubled at each further one, up to half an hour or the interval, and drawn from between a
/// half and one and a half of that: hosts that a server lost all at once come back spread out.
pub fn until_next_pull(interval: Duration, splay: Duration, failures: u32, random: f64) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else {
        return interval + splay.mul_f64(random);
    };
    let doubled = FIRST_RETRY.min(interval).saturating_mul(2u32.saturating_pow(doublings.min(31)));
    doubled.min(LONGEST.max(interval)).mul_f64(0.5 + random)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_failing_remote_is_asked_ever_less_often_but_never_forgotten() {
        let delay = |failures| until_next_pull(5 * MINUTE, MINUTE, failures, 0.5);
        assert_eq!(delay(0), 5 * MINUTE + MINUTE / 2);
        assert_eq!([delay(1), delay(2), delay(5)], [5, 10, 80].map(Duration::from_secs));
        assert_eq!([delay(9), delay(10), delay(1000)], [5 * 256, 30 * 60, 30 * 60].map(Duration::from_secs));
        assert_eq!(until_next_pull(Duration::from_secs(1), MINUTE, 1, 0.5), Duration::from_secs(1));
        let delay = until_next_pull(120 * MINUTE, MINUTE, 1000, 0.0);
        assert_eq!(delay, 60 * MINUTE, "a long interval is not made shorter than by half");
    }

    /// 100,000 hosts that all began in the same second, and a server that is away for an hour.
    #[test]
    fn after_an_outage_a_fleet_comes_back_spread_out() {
        let (hosts, outage) = (100_000, 0.0..3600.0);
        // A linear congruential generator: the same fleet in every run.
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let mut arrivals = vec![0u32; 3 * 3600];
        for _ in 0..hosts {
            let (mut time, mut failures) = (0.0, 0);
            while time < 3.0 * 3600.0 {
                if time > 0.0 {
                    arrivals[time as usize] += 1;
                }
                failures = if outage.contains(&time) { failures + 1 } else { 0 };
                time += until_next_pull(5 * MINUTE, MINUTE, failures, random()).as_secs_f64();
            }
        }
        // From the end of the outage on, beside what hosts that are spread evenly over interval and splay would be.
        let even = f64::from(hosts) / 330.0;
        let peak = f64::from(*arrivals[3600..].iter().max().unwrap());
        assert!(peak < 2.0 * even, "{peak} in the busiest second, {even} on the average");
    }
}
