// SPDX-License-Identifier: Apache-2.0
//! Asks sq-git, another verifier by other people, about the same generated histories, and compares the verdicts.
//!
//! Both policies lie in the same tree and mean the same: whoever is listed may do everything. On a chain of single parents the two
//! must agree about every commit as a tip, but for the differences that are intended, which `differences` names and the
//! test counts. On histories with merges, what we accept sq-git accepts; it is content with one good path, and we are not.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

#[path = "../fixture/mod.rs"]
mod fixture;

mod differences;
mod history;
mod people;
mod sq_git;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::SystemTime;

use hostwrit::model::git::Oid;
use hostwrit::trust::{Cache, Code, Refusal, authenticate};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use differences::INTENDED;
use history::{Commit, History, Plan};
use people::People;
use sq_git::SqGit;

const CHAINS: u32 = 40;
const MERGES: u32 = 25;

/// The same cases in every run.
fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 25, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

#[test]
fn on_chains_sq_git_agrees_but_for_the_differences_that_are_intended() {
    let Some(sq_git) = SqGit::find() else { return };
    let people = People::new();
    let counts = RefCell::new(BTreeMap::new());
    let count = |what: &'static str| *counts.borrow_mut().entry(what).or_insert(0_usize) += 1;
    let result = runner(CHAINS).run(&history::chains(), |plans| {
        let mut history = History::new(&people);
        for plan in &plans {
            let ours_and_theirs = add(&mut history, &sq_git, plan);
            match ours_and_theirs {
                (Ok(()), true) => count("both accept"),
                (Err(_), false) => count("both refuse"),
                (Err(refusal), true) => match intended(&history, &refusal) {
                    Some(why) => count(why),
                    None => {
                        return fails(&history, format!("only sq-git accepts, and that is not intended: {refusal}"));
                    }
                },
                (Ok(()), false) => return fails(&history, "only hostwrit accepts".to_owned()),
            }
        }
        Ok(())
    });
    passed(result);
    let counts = counts.into_inner();
    println!("{counts:#?}");
    for what in ["both accept", "both refuse"].into_iter().chain(INTENDED.iter().map(|(_, why)| *why)) {
        assert!(counts.contains_key(what), "no chain shows this: {what}");
    }
}

#[test]
fn on_merges_sq_git_accepts_whatever_is_accepted_here() {
    let Some(sq_git) = SqGit::find() else { return };
    let people = People::new();
    let (merges, stricter) = (RefCell::new(0), RefCell::new(0));
    let result = runner(MERGES).run(&history::merges(), |plans| {
        let mut history = History::new(&people);
        for plan in &plans {
            let (ours, theirs) = add(&mut history, &sq_git, plan);
            match ours {
                Ok(()) if !theirs => return fails(&history, "only hostwrit accepts".to_owned()),
                Ok(()) => *merges.borrow_mut() += usize::from(history.last().parents.len() == 2),
                Err(_) => *stricter.borrow_mut() += usize::from(theirs),
            }
        }
        Ok(())
    });
    passed(result);
    let (merges, stricter) = (merges.into_inner(), stricter.into_inner());
    println!("merges that both accept: {merges}; commits that only sq-git accepts: {stricter}");
    assert!(merges >= 10, "hardly any merge was accepted: {merges}");
    assert!(stricter > 0, "no merge of something refused was tried");
}

/// Adds a commit and judges it as a tip, here and there.
fn add(history: &mut History<'_>, sq_git: &SqGit, plan: &Plan) -> (Result<(), Refusal>, bool) {
    let tip = history.commit(plan);
    let ours = judge(history, &tip, SystemTime::now());
    let theirs = sq_git.accepts(history, &tip);
    history.judged(ours.is_ok() && theirs);
    (ours, theirs)
}

fn judge(history: &History<'_>, tip: &Oid, now: SystemTime) -> Result<(), Refusal> {
    authenticate(history.store(), &history.anchor(), None, tip, now, &mut Cache::default()).map(drop)
}

/// Returns why the two differ, if it is one of the reasons that we have: the refusal names the very commit that was
/// made so that it earns it.
fn intended(history: &History<'_>, refusal: &Refusal) -> Option<&'static str> {
    let culprit = history.find(refusal.commit()?)?;
    let why = |code| INTENDED.iter().find(|(intended, _)| *intended == code).map(|(_, why)| *why);
    if culprit.oddities.contains(&refusal.code()) {
        return why(refusal.code());
    }
    // That its signer's key counts no more today is asked of a tip alone; on the day that it was signed it was good.
    let tip = history.last();
    let then = |tip: &Commit| judge(history, &tip.id, tip.signed + std::time::Duration::from_secs(60));
    if !matches!(refusal.code(), Code::KeyExpired | Code::KeyRevoked) || culprit.id != tip.id {
        return None;
    }
    // A tip that is odd in another way as well is refused for whichever is looked at first.
    let odd = || culprit.oddities.first().copied();
    if then(tip).is_ok() { why(refusal.code()) } else { odd().and_then(why) }
}

/// The plans of a failed case say little; the story that `fails` tells is enough.
#[track_caller]
fn passed(result: Result<(), TestError<Vec<Plan>>>) {
    match result {
        Ok(()) => {}
        Err(TestError::Fail(why, _)) => panic!("{why}"),
        Err(error) => panic!("{error}"),
    }
}

fn fails(history: &History<'_>, why: String) -> Result<(), TestCaseError> {
    Err(TestCaseError::fail(format!("{why}\n{history}")))
}
