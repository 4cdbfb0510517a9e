//! What `init`, `init --check` and `why` share: read the schemas, suppose references, ask the rows, infer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::config::Config;
use crate::error::Result;
use crate::init::{
    Declarations, How, Root, RootSpec, Schema, ShardInference, guesses, infer, kinds_wanted, trees,
};
use crate::limits::TENANTS_COMPARED_MAX;
use crate::model::{DatabaseUrl, Rule, ShardName, TableName};
use crate::shard::{self, Hits, Probe, Shard, Wanted};

/// The live shards and what their catalogs say.
pub struct Live {
    /// The schemas, in the order of the shards.
    pub schemas: Vec<Schema>,
    shards: Vec<Arc<dyn Shard>>,
}

impl Live {
    /// Reads the catalogs.
    pub async fn read(shards: &[(ShardName, DatabaseUrl)]) -> Result<Self> {
        let (mut schemas, mut opened) = (Vec::new(), Vec::new());
        for (name, url) in shards {
            let shard = shard::open(name, url, 1).await?;
            schemas.push(Schema::new(name.clone(), shard.facts().await?.tables));
            opened.push(shard);
        }
        Ok(Self { schemas, shards: opened })
    }

    /// The shards of a configuration.
    pub async fn of(config: &Config) -> Result<Self> {
        let urls: Vec<_> =
            config.shards.iter().map(|(name, settings)| (name.clone(), settings.url.clone())).collect();
        Self::read(&urls).await
    }

    /// Keeps the rules that a person has decided.
    pub fn keep(&mut self, rules: impl Fn(&ShardName) -> BTreeMap<TableName, Rule>) {
        for schema in &mut self.schemas {
            let known = rules(&schema.shard);
            schema.kept = known
                .into_iter()
                .filter(|(name, _)| schema.tables.iter().any(|table| table.name == *name))
                .collect();
        }
    }

    /// Infers all rules; `ask`: whether the rows may be asked.
    pub async fn infer(
        &mut self,
        spec: &RootSpec,
        declared: &Declarations,
        ask: bool,
    ) -> Result<Vec<ShardInference>> {
        let root = Root::find(&self.schemas, spec)?;
        for (schema, shard) in self.schemas.iter_mut().zip(&self.shards) {
            let mut kinds = HashMap::new();
            if ask {
                schema.statistics = shard.statistics(&schema.tables).await?;
                kinds = kinds_of(schema, shard.as_ref()).await?;
            }
            schema.guesses = guesses(schema, &root, declared, &kinds);
            if ask {
                probe(schema, shard.as_ref(), &root).await?;
            }
        }
        if ask {
            self.compare_with_root(&root).await?;
        }
        let found = infer(&self.schemas, spec, declared)?;
        if !ask || !self.climb(&found).await? {
            return Ok(found);
        }
        infer(&self.schemas, spec, declared)
    }

    /// Asks the rows of trees whose rule says that rows may lack an owner; whether there are any.
    async fn climb(&mut self, found: &[ShardInference]) -> Result<bool> {
        let mut asked = false;
        for ((schema, shard), found) in self.schemas.iter_mut().zip(&self.shards).zip(found) {
            let trees = trees(schema, found);
            if trees.is_empty() {
                continue;
            }
            asked = true;
            let climbs = shard.climb(&trees, &schema.tables).await?;
            let known = trees.into_iter().zip(climbs);
            schema.climbs =
                known.filter_map(|(tree, said)| Some(((tree.table, tree.link.columns), said?))).collect();
        }
        Ok(asked)
    }

    /// Columns named like the tenant's id in other shards: their values against the ids of the root.
    async fn compare_with_root(&mut self, root: &Root) -> Result<()> {
        let Some(at) = self.schemas.iter().position(|schema| schema.shard == root.shard) else {
            return Ok(());
        };
        let abroad = self.schemas.iter().enumerate().filter(|(other, _)| *other != at);
        if !abroad.into_iter().any(|(_, schema)| schema.guesses.iter().any(|guess| guess.how == How::Tenant))
        {
            return Ok(());
        }
        let ids =
            Wanted { table: root.table.clone(), column: root.key.clone(), values_max: TENANTS_COMPARED_MAX };
        let ids = self.shards[at].values(&[ids]).await?.pop().flatten().unwrap_or_default();
        if ids.is_empty() || ids.len() > TENANTS_COMPARED_MAX {
            return Ok(());
        }
        let ids: HashSet<String> = ids.into_iter().collect();
        for (schema, shard) in
            self.schemas.iter_mut().zip(&self.shards).filter(|(schema, _)| schema.shard != root.shard)
        {
            let mut tenant: Vec<_> =
                schema.guesses.iter_mut().filter(|guess| guess.how == How::Tenant).collect();
            let wanted: Vec<Wanted> = tenant
                .iter()
                .map(|guess| Wanted {
                    table: guess.table.clone(),
                    column: guess.link.columns[0].clone(),
                    values_max: crate::limits::BATCH_ROWS_MAX,
                })
                .collect();
            for (guess, values) in tenant.iter_mut().zip(shard.values(&wanted).await?) {
                guess.hits = values.map(|values| Hits {
                    rows: values.len() as u64,
                    found: values.iter().filter(|value| ids.contains(*value)).count() as u64,
                });
            }
        }
        Ok(())
    }
}

async fn kinds_of(schema: &Schema, shard: &dyn Shard) -> Result<HashMap<(TableName, String), Vec<String>>> {
    let wanted = kinds_wanted(schema);
    let values = shard.values(&wanted).await?;
    let known = wanted.into_iter().zip(values);
    Ok(known.filter_map(|(wanted, values)| Some(((wanted.table, wanted.column), values?))).collect())
}

/// Asks about all guesses that stay in the shard.
async fn probe(schema: &mut Schema, shard: &dyn Shard, root: &Root) -> Result<()> {
    let here = schema.shard == root.shard;
    let mut inside: Vec<_> =
        schema.guesses.iter_mut().filter(|guess| here || guess.how != How::Tenant).collect();
    let probes: Vec<Probe> =
        inside.iter().map(|guess| Probe { table: guess.table.clone(), link: guess.link.clone() }).collect();
    for (guess, hits) in inside.iter_mut().zip(shard.probe(&probes, &schema.tables).await?) {
        guess.hits = hits;
    }
    Ok(())
}
