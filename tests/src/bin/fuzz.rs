//! Runs the seeded fuzzers: `fuzz [--seed N] [--iterations N] [--seconds N] [--list] [NAME...]`.
//!
//! Without names, every target. `--seconds` is the time for each (10 by default). `--seed` with `--iterations` plays
//! one round again. `fuzz canary` must fail. Exit 1 when an invariant broke, 2 when the command line was not
//! understood.
#![allow(clippy::print_stdout, reason = "a command-line program speaks on standard output")]

use std::{process::ExitCode, time::Duration};

use ark_tests::fuzz::{self, CANARY, TARGETS, Target};

struct Wish {
    seed: Option<u64>,
    iterations: Option<u64>,
    seconds: u64,
    names: Vec<String>,
    list: bool,
}

fn wish(mut arguments: impl Iterator<Item = String>) -> Result<Wish, String> {
    let replay = fuzz::replay_from_environment();
    let mut wish = Wish {
        seed: replay.map(|(seed, _)| seed),
        iterations: replay.map(|(_, iterations)| iterations),
        seconds: 10,
        names: Vec::new(),
        list: false,
    };
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let text = arguments.next().unwrap_or_default();
            fuzz::parse_seed(&text).ok_or_else(|| format!("{argument} needs a number, not {text:?}"))
        };
        match argument.as_str() {
            "--seed" => wish.seed = Some(number()?),
            "--iterations" => wish.iterations = Some(number()?),
            "--seconds" => wish.seconds = number()?,
            "--list" => wish.list = true,
            name if name.starts_with('-') => return Err(format!("unknown option {name}")),
            name => wish.names.push(name.to_owned()),
        }
    }
    Ok(wish)
}

fn chosen(names: &[String]) -> Result<Vec<Target>, String> {
    if names.is_empty() {
        return Ok(TARGETS.to_vec());
    }
    let find = |name: &String| TARGETS.iter().chain([&CANARY]).find(|target| target.name == name).copied();
    names.iter().map(|name| find(name).ok_or_else(|| format!("no target {name:?}; --list names them"))).collect()
}

fn main() -> ExitCode {
    let wish = wish(std::env::args().skip(1));
    let (wish, targets) = match wish.and_then(|wish| chosen(&wish.names).map(|targets| (wish, targets))) {
        Ok(both) => both,
        Err(what) => {
            eprintln!("fuzz: {what}");
            return ExitCode::from(2);
        }
    };
    if wish.list {
        for target in TARGETS {
            println!("{}", target.name);
        }
        return ExitCode::SUCCESS;
    }
    let mut broken = 0;
    for target in &targets {
        let seed = wish.seed.unwrap_or_else(fuzz::fresh_seed);
        let outcome = match wish.iterations {
            Some(iterations) => fuzz::replay(target, seed, iterations),
            None => fuzz::run(target, seed, Duration::from_secs(wish.seconds)),
        };
        let rate = outcome.iterations as f64 / outcome.took.as_secs_f64().max(1e-9);
        println!(
            "{:<24} {:>12} iterations  {:>7.1} s  {:>10.0} a second  seed {seed}",
            target.name,
            outcome.iterations,
            outcome.took.as_secs_f64(),
            rate
        );
        if let Some(found) = outcome.broken {
            broken += 1;
            println!("  BROKEN: {}", found.message);
            println!(
                "  again:  ARK_SEED={} ARK_ITERATIONS={} make fuzz FUZZ={}",
                found.seed, found.iterations, target.name
            );
        }
    }
    println!("{} targets, {broken} broken", targets.len());
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
