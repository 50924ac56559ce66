// SPDX-License-Identifier: Apache-2.0
//! How 100,000 hosts come back: a simulation with the schedule that the daemon has, and with simpler ones.
//!
//! The server answers half as much again as the fleet asks on the average; what comes beyond that in one second is refused,
//! and counts as a failure for the host, which then waits as its schedule says.

use std::time::Duration;

use hostwrit::engine::schedule::until_next_pull;

const HOSTS: u32 = 100_000;
const INTERVAL: Duration = Duration::from_secs(5 * 60);
const SPLAY: Duration = Duration::from_secs(60);
const HOUR: usize = 3_600;
/// How long is simulated.
const SPAN: usize = 4 * HOUR;
/// Of what the fleet asks on the average.
const CAPACITY: f64 = 1.5;

/// The time to the next pull after so many failures; the number is random.
type Schedule = fn(u32, f64) -> Duration;

const SCHEDULES: [(&str, Schedule); 4] = [
    ("interval alone", |_, _| INTERVAL),
    ("interval, splay", |_, random| INTERVAL + SPLAY.mul_f64(random)),
    ("doubled, no jitter", |failures, random| match failures {
        0 => INTERVAL + SPLAY.mul_f64(random),
        // A half for chance: the middle of what hostwrit draws from.
        failures => until_next_pull(INTERVAL, SPLAY, failures, 0.5),
    }),
    ("hostwrit", |failures, random| until_next_pull(INTERVAL, SPLAY, failures, random)),
];

/// What befalls the fleet.
struct Event {
    name: &'static str,
    /// All hosts start in the first so many seconds.
    started_within: u32,
    /// When the server answers.
    back_at: usize,
}

pub fn print() {
    let even = f64::from(HOSTS) / (INTERVAL + SPLAY / 2).as_secs_f64();
    println!(
        "arrival of {HOSTS} hosts that ask every {} s and up to {} s; spread evenly they are {even:.0} a second, and the server \
         answers {:.0}",
        INTERVAL.as_secs(),
        SPLAY.as_secs(),
        CAPACITY * even
    );
    for event in [
        Event { name: "started in one second, and the server is away for an hour", started_within: 1, back_at: HOUR },
        Event { name: "the server answers, and all hosts start within 30 seconds", started_within: 30, back_at: 0 },
    ] {
        println!("{}", event.name);
        println!(
            "{:>20} {:>15} {:>14} {:>9} {:>12} {:>12} {:>12}",
            "", "busiest second", "ratio to even", "refused", "50 % after s", "99 % after s", "all after s"
        );
        for (name, schedule) in SCHEDULES {
            let came = simulate(&event, schedule, (CAPACITY * even) as usize);
            let after = |share: f64| {
                let wanted = (f64::from(HOSTS) * share) as usize;
                came.served.get(wanted.max(1) - 1).map_or_else(|| "never".to_owned(), usize::to_string)
            };
            println!(
                "{name:>20} {:>15} {:>14.2} {:>9} {:>12} {:>12} {:>12}",
                came.peak,
                came.peak as f64 / even,
                came.refused,
                after(0.5),
                after(0.99),
                after(1.0)
            );
        }
    }
}

struct Came {
    /// The most that came in one second, once the server was back.
    peak: usize,
    refused: usize,
    /// For each host that was answered, in order: how many seconds after the server was back.
    served: Vec<usize>,
}

fn simulate(event: &Event, schedule: Schedule, capacity: usize) -> Came {
    let mut random = Random(1);
    // Who comes in each second.
    let mut due: Vec<Vec<u32>> = vec![Vec::new(); SPAN];
    let start = |random: &mut Random| (random.next() * f64::from(event.started_within)) as usize;
    (0..HOSTS).for_each(|host| due[start(&mut random)].push(host));
    let (mut failures, mut was_served) = (vec![0u32; HOSTS as usize], vec![false; HOSTS as usize]);
    let mut came = Came { peak: 0, refused: 0, served: Vec::new() };
    for second in 0..SPAN {
        let arrived = std::mem::take(&mut due[second]);
        let room = if second < event.back_at { 0 } else { capacity };
        if second >= event.back_at {
            came.peak = came.peak.max(arrived.len());
            came.refused += arrived.len().saturating_sub(room);
        }
        for (place, host) in arrived.into_iter().enumerate() {
            let index = host as usize;
            if place < room {
                failures[index] = 0;
                if !std::mem::replace(&mut was_served[index], true) {
                    came.served.push(second - event.back_at);
                }
            } else {
                failures[index] += 1;
            }
            let next = second + (schedule(failures[index], random.next()).as_secs_f64().round() as usize).max(1);
            if let Some(due) = due.get_mut(next) {
                // Whoever came later is not always behind.
                let at = (random.next() * due.len() as f64) as usize;
                due.push(host);
                let last = due.len() - 1;
                due.swap(at, last);
            }
        }
    }
    came
}

/// A linear congruential generator: the same fleet in every run.
struct Random(u64);

impl Random {
    /// Returns a number between 0 and 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}
