//! The gate: closed in the transaction that brings the tenant's root row back, opened when all else is there. Both
//! change one column of that one row, which the write set proves.

use std::collections::BTreeMap;

use super::Replay;
use crate::error::{Error, Result};
use crate::model::{Gate, OwnedTable, PlanHash, TenantId};
use crate::plan::{ShardPlan, TenantPlan, TenantShard, TenantTable};
use crate::shard::{Claim, EventRecord, Session, TableWrites};
use crate::verify;

/// Where a tenant's gate is.
pub(super) struct TenantGate<'a> {
    pub gate: &'a Gate,
    pub root: &'a OwnedTable,
    rows: &'a TenantTable,
}

/// What became of opening it.
pub enum Opened {
    /// It is open now.
    Now,
    /// Another process is at work on the tenant.
    Held {
        /// Who.
        by: String,
    },
}

impl TenantGate<'_> {
    /// Closes it.
    pub async fn close(&self, session: &mut dyn Session, plan: &PlanHash, tenant: &TenantId) -> Result<()> {
        match session.close_gate(self.root, self.gate, plan, tenant).await? {
            1 => Ok(()),
            rows => Err(Error::failed(format!(
                "unable to close the gate of tenant '{tenant}': {rows} rows of table '{}' are its own",
                self.root.table.name
            ))),
        }
    }
}

impl Replay<'_> {
    /// The gate of a tenant whose root row this plan brings back into this shard, if the plan has a gate.
    pub(super) fn gate_of<'s>(&'s self, part: &'s TenantShard) -> Option<TenantGate<'s>> {
        let plan = self.plan.plan();
        let (gate, root) = (plan.workflow.gate.as_ref()?, plan.root.as_ref()?);
        let rows = part.tables.iter().find(|rows| part.shard == root.shard && rows.table == root.table)?;
        let planned = plan.shard(&root.shard)?;
        let root = planned.tables.iter().find(|owned| owned.table.name == root.table)?;
        (rows.written() == 1).then_some(TenantGate { gate, root, rows })
    }

    /// Whether a tenant's gate was closed when its root row came back.
    pub fn has_gate(&self, tenant: &TenantPlan) -> bool {
        tenant.shards.iter().any(|part| self.gate_of(part).is_some())
    }

    /// Opens the gate of a tenant that is whole, and adds the event that says so, in one commit.
    pub async fn open_gate(&self, tenant: &TenantPlan, event: &EventRecord) -> Result<Opened> {
        let root = self.plan.plan().root.as_ref();
        let part = root.and_then(|root| tenant.shards.iter().find(|part| part.shard == root.shard));
        let Some((part, gate)) = part.and_then(|part| Some((part, self.gate_of(part)?))) else {
            return Err(Error::bug(format!("tenant '{}' has no gate", tenant.id)));
        };
        let connected = self.connected.get(&part.shard)?;
        let planned = self.plan.plan().shard(&part.shard);
        let planned = planned.ok_or_else(|| Error::bug("a tenant's shard is not in the plan"))?;
        let mut session = match connected.shard.begin_again(&tenant.id).await? {
            Claim::Session(session) => session,
            Claim::Held { by } => return Ok(Opened::Held { by }),
            Claim::Done(_) => return Err(Error::bug("a claim without a plan is never done")),
        };
        match self.open(session.as_mut(), planned, &gate, tenant, event).await {
            Ok(true) => {
                session.commit().await?;
                Ok(Opened::Now)
            }
            Ok(false) => {
                session.abort().await?;
                Ok(Opened::Held { by: "another process".to_owned() })
            }
            Err(error) => {
                // The first error is the one to report.
                let _ = session.abort().await;
                Err(error)
            }
        }
    }

    /// Everything between begin and commit; `false` if somebody else has added an event meanwhile.
    async fn open(
        &self,
        session: &mut dyn Session,
        planned: &ShardPlan,
        gate: &TenantGate<'_>,
        tenant: &TenantPlan,
        event: &EventRecord,
    ) -> Result<bool> {
        let triggers_off = planned.constraints.by_engine();
        if triggers_off {
            session.disable_triggers().await?;
        }
        let table = &gate.root.table.name;
        let unable = |what: String| {
            Error::failed(format!("unable to open the gate of tenant '{}': {what}", tenant.id))
        };
        let opened = session.open_gate(gate.root, gate.gate, self.hash(), &tenant.id).await?;
        if opened != 1 {
            let (column, restoring) = (&gate.gate.column, &gate.gate.restoring);
            return Err(unable(format!("its column '{column}' is not '{restoring}' any more"))
                .hint("somebody changed the row since it came back; set the column by hand, or give it that value again"));
        }
        if session.read_back(gate.root, &tenant.id).await? != gate.rows.expected() {
            return Err(unable(format!("its row of table '{table}' is not the snapshot's"))
                .hint("somebody changed the row since it came back, or a trigger changes values on UPDATE"));
        }
        let expected =
            BTreeMap::from([(table.clone(), TableWrites { updated: 1, ..TableWrites::default() })]);
        let written = session.write_set().await?;
        verify::check_write_set(&expected, &written, &planned.tables, triggers_off)?;
        session.append(event).await
    }
}
