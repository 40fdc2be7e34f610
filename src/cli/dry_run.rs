//! Prints the plan of every host, and why a host has none.

use std::collections::BTreeMap;

use serde_json::Value;

use super::world::World;
use crate::deploy::outcome::Failure;
use crate::report::human::{group_by, list};
use crate::report::plan::{plan_json, plan_view};
use crate::report::sanitizer::Sieve;

/// The state below every failure of a dry run.
const STATE: &str = "this was a dry run; nothing was changed";

/// The findings of a dry run, host by host.
#[derive(Default)]
pub(super) struct HostPlans {
    /// The lines of each host's plan.
    pub(super) plans: Vec<(String, Vec<String>)>,
    /// More of each host for machines.
    pub(super) details: BTreeMap<String, Value>,
    /// Notes about all hosts, one line each.
    pub(super) notes: Vec<String>,
    /// Hosts without a plan, each with its failure; no failure: because another host has none.
    pub(super) failed: Vec<(String, Option<Failure>)>,
    /// Warnings, of a host or of the run.
    pub(super) warnings: Vec<(Option<String>, String)>,
    /// The failure outside any host, if there is one.
    pub(super) failure: Option<Failure>,
}

impl HostPlans {
    /// Prints failures to stderr and plans to stdout, and returns the exit code.
    pub(super) fn print(mut self, world: &World, sieve: &Sieve) -> u8 {
        if let Some(failure) = &self.failure {
            world.print_failure(sieve, None, failure, STATE);
        }
        let known =
            self.failed.iter().filter_map(|(host, why)| Some((host.as_str(), why.as_ref()?)));
        for (failure, hosts) in group_by(known) {
            world.print_failure(sieve, Some(&list(&hosts)), failure, STATE);
        }
        let lines = self.plans.iter_mut().flat_map(|(_, lines)| lines);
        lines.chain(self.warnings.iter_mut().map(|(_, text)| text)).for_each(|text| {
            *text = sieve.fit(text);
        });
        let (plans, warnings) = (&self.plans, &self.warnings);
        if world.common.json || !plans.is_empty() {
            let notes: String = self.notes.iter().flat_map(|note| [note, "\n"]).collect();
            world.print(
                || plan_json(plans, &self.details, warnings),
                || notes + &plan_view(plans, warnings),
            );
        }
        u8::from(self.failure.is_some() || !self.failed.is_empty())
    }
}
