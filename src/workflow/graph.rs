//! The steps of a site, and which waits for which. Pure.
//!
//! ```text
//! with a gate      catalogue ─► other shards ∥ media ─► hooks ─► checks ─► the gate opens
//! without          other shards ∥ media ─► hooks ─► checks ─► catalogue
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::Workflow;
use crate::hooks::{Check, Hook};
use crate::media::Media;
use crate::model::ShardName;

/// One step of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work<'w> {
    /// Its rows in a shard.
    Shard(&'w ShardName),
    /// Its objects.
    Media(&'w Media),
    /// A call of another system.
    Hook(&'w Hook),
    /// A question whose answer must be good.
    Check(&'w Check),
}

/// A step and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<'w> {
    /// Unique among the steps.
    pub name: &'w str,
    /// What is done.
    pub work: Work<'w>,
    /// Places in the graph of the steps that come before it.
    pub after: Vec<usize>,
}

/// The steps of a site, each behind those that it waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph<'w> {
    steps: Vec<Step<'w>>,
    gated: bool,
}

impl<'w> Graph<'w> {
    /// The steps over these shards, `root` among them, or what is wrong with them.
    pub fn new(
        workflow: &'w Workflow,
        shards: impl Iterator<Item = &'w ShardName>,
        root: &'w ShardName,
    ) -> Result<Self, String> {
        let mut declared: Vec<(&str, Work, Option<Vec<&str>>)> = Vec::new();
        for name in shards {
            let after =
                workflow.shards_after.get(name).map(|after| after.iter().map(String::as_str).collect());
            declared.push((name.as_str(), Work::Shard(name), after));
        }
        let strings = |after: &'w Option<Vec<String>>| {
            after.as_ref().map(|after| after.iter().map(String::as_str).collect())
        };
        let media = workflow.media.iter();
        declared.extend(media.map(|(name, it)| (name.as_str(), Work::Media(it), strings(&it.after))));
        let hooks = workflow.hooks.iter();
        declared.extend(hooks.map(|(name, it)| (name.as_str(), Work::Hook(it), strings(&it.after))));
        let checks = workflow.checks.iter();
        declared.extend(checks.map(|(name, it)| (name.as_str(), Work::Check(it), strings(&it.after))));
        let mut seen = BTreeSet::new();
        if let Some((name, ..)) = declared.iter().find(|(name, ..)| !seen.insert(*name)) {
            return Err(format!("two steps are called '{name}'"));
        }
        let gated = workflow.gate.is_some();
        let defaults: Vec<Vec<&str>> = declared
            .iter()
            .map(|(name, work, _)| {
                let before = |other: &Work| comes_before(other, work, root, gated);
                declared
                    .iter()
                    .filter(|(other, it, _)| other != name && before(it))
                    .map(|(it, ..)| *it)
                    .collect()
            })
            .collect();
        let waits: BTreeMap<&str, Vec<&str>> = declared
            .iter()
            .zip(defaults)
            .map(|((name, _, after), default)| (*name, after.clone().unwrap_or(default)))
            .collect();
        for (name, after) in &waits {
            if let Some(unknown) = after.iter().find(|other| !waits.contains_key(*other)) {
                return Err(format!("step '{name}' comes after '{unknown}', which is no step"));
            }
        }
        let steps = sorted(declared.into_iter().map(|(name, work, _)| (name, work)).collect(), &waits)?;
        Ok(Self { steps, gated })
    }

    /// The steps.
    pub fn steps(&self) -> &[Step<'w>] {
        &self.steps
    }

    /// Whether a site is nothing but its rows, so that the shards' journals tell all about it.
    pub fn is_plain(&self) -> bool {
        !self.gated && self.steps.iter().all(|step| matches!(step.work, Work::Shard(_)))
    }
}

/// Each behind those that it waits for.
fn sorted<'w>(
    mut open: Vec<(&'w str, Work<'w>)>,
    waits: &BTreeMap<&str, Vec<&str>>,
) -> Result<Vec<Step<'w>>, String> {
    let mut steps: Vec<Step> = Vec::with_capacity(open.len());
    while !open.is_empty() {
        let place = |steps: &[Step], name: &str| steps.iter().position(|step| step.name == name);
        let ready =
            open.iter().position(|(name, _)| waits[name].iter().all(|it| place(&steps, it).is_some()));
        let Some(ready) = ready else {
            let names: Vec<String> = open.iter().map(|(name, _)| format!("'{name}'")).collect();
            return Err(format!("the steps {} wait for each other", names.join(", ")));
        };
        let (name, work) = open.remove(ready);
        let after = waits[name].iter().filter_map(|it| place(&steps, it)).collect();
        steps.push(Step { name, work, after });
    }
    Ok(steps)
}

/// The order by default.
fn comes_before(other: &Work<'_>, work: &Work<'_>, root: &ShardName, gated: bool) -> bool {
    let rank = |work: &Work<'_>| match work {
        Work::Shard(name) if *name == root => {
            if gated {
                0
            } else {
                4
            }
        }
        Work::Shard(_) | Work::Media(_) => 1,
        Work::Hook(_) => 2,
        Work::Check(_) => 3,
    };
    rank(other) < rank(work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Gate;

    fn shards() -> [ShardName; 3] {
        ["catalogue", "identity", "product"].map(ShardName::new)
    }

    fn check(after: Option<&[&str]>) -> Check {
        let text = match after {
            None => "shard = 'product'\nsql = 'SELECT 1'".to_owned(),
            Some(after) => format!("shard = 'product'\nsql = 'SELECT 1'\nafter = {after:?}"),
        };
        toml::from_str(&text).expect("a check")
    }

    /// `step: those before it`, by name.
    fn shown(workflow: &Workflow) -> Result<Vec<String>, String> {
        let shards = shards();
        let graph = Graph::new(workflow, shards.iter(), &shards[0])?;
        let line = |step: &Step| {
            let before: Vec<&str> = step.after.iter().map(|at| graph.steps()[*at].name).collect();
            format!("{}: {}", step.name, before.join(" "))
        };
        Ok(graph.steps().iter().map(line).collect())
    }

    #[test]
    fn without_a_gate_the_catalogue_is_the_last() {
        let mut workflow = Workflow::default();
        assert_eq!(
            shown(&workflow).expect("steps"),
            ["identity: ", "product: ", "catalogue: identity product"]
        );
        workflow.checks.insert("x".to_owned(), check(None));
        let steps = shown(&workflow).expect("steps");
        assert_eq!(steps[2..], ["x: identity product", "catalogue: identity product x"]);
    }

    #[test]
    fn with_a_gate_it_is_the_first() {
        let gate = Some(Gate { column: "state".to_owned(), restoring: "restoring".to_owned() });
        let mut workflow = Workflow { gate, ..Workflow::default() };
        workflow.checks.insert("x".to_owned(), check(None));
        workflow.shards_after.insert(ShardName::new("product"), ["identity".to_owned()].into());
        assert_eq!(
            shown(&workflow).expect("steps"),
            ["catalogue: ", "identity: catalogue", "product: identity", "x: catalogue identity product"]
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let with = |checks: &[(&str, &[&str])]| {
            let checks = checks.iter().map(|(name, after)| ((*name).to_owned(), check(Some(after))));
            shown(&Workflow { checks: checks.collect(), ..Workflow::default() }).expect_err("refused")
        };
        assert_eq!(with(&[("x", &["y"])]), "step 'x' comes after 'y', which is no step");
        assert_eq!(
            with(&[("x", &["y"]), ("y", &["x"])]),
            "the steps 'catalogue', 'x', 'y' wait for each other"
        );
        assert_eq!(with(&[("product", &[])]), "two steps are called 'product'");
    }
}
