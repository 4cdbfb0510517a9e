//! The synthetic fleet: sites of very different size, their rows interleaved as years of work would leave them.
//! Pure and seeded: the same seed makes the same rows.

use std::collections::{BTreeSet, HashMap};

use fastrand::Rng;

use super::tables::{SERVICES, TABLES, TableSpec};
use crate::model::TenantId;

/// A value of the fleet.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// A boolean (an integer on SQLite).
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A decimal number, two places.
    Real(f64),
    /// Text, and everything that is written as text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// One tenant of the fleet.
pub struct Site {
    /// Its id.
    pub id: TenantId,
    name: String,
    host: String,
    /// Which shard of each product it lives in.
    place: usize,
}

/// What somebody of a site works at.
#[derive(Clone)]
pub struct Work {
    /// The site.
    pub site: TenantId,
    /// A user of it.
    pub user: i64,
    /// The shard of its issues.
    pub issues: &'static str,
    /// An issue of it.
    pub issue: i64,
    /// The shard of its pages.
    pub docs: &'static str,
    /// A page of it, if it has any.
    pub page: Option<i64>,
}

/// Who owns what; the rows themselves are made when asked for.
pub struct Fleet {
    /// The tenants.
    pub sites: Vec<Site>,
    /// Site of each user, by id minus one.
    user_site: Vec<usize>,
    group_site: Vec<usize>,
    project_site: Vec<usize>,
    /// Project of each issue, by id minus one.
    issue_project: Vec<usize>,
    change_issue: Vec<usize>,
    space_site: Vec<usize>,
    page_space: Vec<usize>,
    site_users: Vec<Vec<i64>>,
    scale: f64,
    seed: u64,
}

const ADJECTIVES: [&str; 12] = [
    "amber", "brisk", "calm", "daring", "eager", "fjord", "golden", "hidden", "iron", "jolly", "keen",
    "lunar",
];
const NOUNS: [&str; 12] = [
    "harbor", "mill", "forge", "garden", "bridge", "orchard", "signal", "canyon", "library", "studio",
    "clinic", "market",
];
const WORDS: [&str; 16] = [
    "login",
    "fails",
    "after",
    "upgrade",
    "slow",
    "page",
    "export",
    "für",
    "Zürich",
    "📦",
    "import",
    "null",
    "timeout",
    "permission",
    "naïve",
    "retry",
];

impl Fleet {
    /// A fleet of `tenants` sites; the largest has several hundred times the rows of the smallest.
    pub fn new(tenants: usize, scale: f64, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let sites: Vec<Site> = (0..tenants).map(|number| site(number, &mut rng)).collect();
        let skew = Skew::new(tenants);
        let rows = |name| scaled(name, scale).max(tenants);
        // One of each for every site, the rest by size.
        let mut spread = |count: usize| -> Vec<usize> {
            (0..count).map(|number| if number < tenants { number } else { skew.pick(&mut rng) }).collect()
        };
        let user_site = spread(rows("users"));
        let group_site = spread(rows("groups"));
        let project_site = spread(rows("projects"));
        let space_site = spread(rows("spaces"));
        let issue_project = (0..rows("issues")).map(|_| rng.usize(..project_site.len())).collect::<Vec<_>>();
        let change_issue = (0..rows("change_groups")).map(|_| rng.usize(..issue_project.len())).collect();
        let page_space = (0..rows("pages")).map(|_| rng.usize(..space_site.len())).collect();
        let mut site_users = vec![Vec::new(); tenants];
        for (index, site) in user_site.iter().enumerate() {
            site_users[*site].push(index as i64 + 1);
        }
        Self {
            sites,
            user_site,
            group_site,
            project_site,
            issue_project,
            change_issue,
            space_site,
            page_space,
            site_users,
            scale,
            seed,
        }
    }

    /// The tenants that the accident deletes: picked by chance, so of every size.
    pub fn choose_victims(&self, count: usize, seed: u64) -> Vec<TenantId> {
        let mut order: Vec<usize> = (0..self.sites.len()).collect();
        Rng::with_seed(seed ^ 0x5eed).shuffle(&mut order);
        let mut victims: Vec<TenantId> =
            order.into_iter().take(count).map(|site| self.sites[site].id.clone()).collect();
        victims.sort();
        victims
    }

    /// Something that a site whose id passes `wanted` works at, picked by chance.
    pub fn some_work(&self, rng: &mut Rng, wanted: impl Fn(&TenantId) -> bool) -> Option<Work> {
        (0..1000).find_map(|_| {
            let issue = rng.usize(..self.issue_project.len());
            let site = self.project_site[self.issue_project[issue]];
            wanted(&self.sites[site].id).then_some(())?;
            let page =
                (0..self.page_space.len()).find(|page| self.space_site[self.page_space[*page]] == site);
            Some(Work {
                site: self.sites[site].id.clone(),
                user: self.user_of(site, rng),
                issues: self.shard("issues", site),
                issue: issue as i64 + 1,
                docs: self.shard("docs", site),
                page: page.map(|page| page as i64 + 1),
            })
        })
    }

    /// The shard of a service in which a site lives.
    fn shard(&self, service: &str, site: usize) -> &'static str {
        let shards = SERVICES.iter().find(|it| it.name == service).map_or(&[] as &[&str], |it| it.shards);
        let turn = if service == "docs" { self.sites[site].place / 2 } else { self.sites[site].place };
        shards.get(turn % shards.len().max(1)).copied().unwrap_or_default()
    }

    /// The shards that a row of a table goes to: that of its owner, or all.
    pub fn shards_of(&self, table: &TableSpec, row: &[Value]) -> Vec<&'static str> {
        match self.owner(table, row) {
            Some(site) => vec![self.shard(table.service, site)],
            None => table.shards().to_vec(),
        }
    }

    /// The site of a product's row.
    fn owner(&self, table: &TableSpec, row: &[Value]) -> Option<usize> {
        let at = |column: usize| match row.get(column) {
            Some(Value::Int(id)) => usize::try_from(id - 1).ok(),
            _ => None,
        };
        let of_issue = |issue: usize| self.project_site[self.issue_project[issue]];
        let of_page = |page: usize| self.space_site[self.page_space[page]];
        match table.name {
            "projects" => at(0).map(|project| self.project_site[project]),
            "issues" => at(1).map(|project| self.project_site[project]),
            "comments" | "attachments" | "change_groups" => at(1).map(of_issue),
            "change_items" => at(1).map(|change| of_issue(self.change_issue[change])),
            "issue_labels" => at(0).map(of_issue),
            "spaces" => at(0).map(|space| self.space_site[space]),
            "pages" => at(1).map(|space| self.space_site[space]),
            "page_comments" => at(1).map(of_page),
            "page_versions" => at(0).map(of_page),
            _ => None,
        }
    }

    /// The rows of a table, in the order in which they were written over the years.
    pub fn rows(&self, table: &TableSpec) -> Vec<Vec<Value>> {
        let mut rng = Rng::with_seed(self.seed ^ blake3_seed(table.name));
        let rng = &mut rng;
        let count = scaled(table.name, self.scale);
        let id = |index: usize| Value::Int(index as i64 + 1);
        match table.name {
            "sites" => self.sites.iter().map(|site| site_row(site, rng)).collect(),
            "users" => self.each(&self.user_site, |i, site| {
                let active = Value::Bool(!rng.u8(..).is_multiple_of(9));
                let email = Value::Text(format!("user{i}@{}", self.sites[site].host));
                vec![id(i), self.id_of(site), email, words(rng, 2), active, instant(rng)]
            }),
            "groups" => self.each(&self.group_site, |i, site| {
                vec![id(i), self.id_of(site), Value::Text(format!("group-{i}"))]
            }),
            "group_members" => self.members(count, rng),
            "sign_ins" => self.times(count, |_| {
                let user = rng.usize(..self.user_site.len());
                // Few days: equal rows do occur.
                let day = Value::Text(format!("2026-10-{:02}", rng.u8(1..=9)));
                vec![self.id_of(self.user_site[user]), id(user), day]
            }),
            "permissions" => self.times(count, |i| {
                let product = Value::Text(["issues", "docs"][rng.usize(..2)].into());
                let may = Value::Text(["read", "write", "administer"][rng.usize(..3)].into());
                vec![id(i), id(rng.usize(..self.group_site.len())), product, may]
            }),
            "projects" => self.each(&self.project_site, |i, site| {
                vec![id(i), self.id_of(site), Value::Text(format!("P{i}")), words(rng, 2)]
            }),
            "issues" => self.each(&self.issue_project, |i, project| self.issue_row(i, project, rng)),
            "comments" => self.comments(count, rng),
            "attachments" => self.times(count, |i| {
                let digest = Value::Bytes((0..32).map(|_| rng.u8(..)).collect());
                let name = Value::Text(format!("screenshot {i}.png"));
                vec![
                    id(i),
                    id(rng.usize(..self.issue_project.len())),
                    name,
                    Value::Int(rng.i64(100..9_000_000)),
                    digest,
                ]
            }),
            "change_groups" => self.each(&self.change_issue, |i, issue| {
                vec![id(i), id(issue), Value::Int(self.author(issue, rng)), instant(rng)]
            }),
            "change_items" => self.times(count, |i| {
                let old = if rng.bool() { Value::Null } else { words(rng, 1) };
                vec![id(i), id(rng.usize(..self.change_issue.len())), words(rng, 1), old, words(rng, 2)]
            }),
            "labels" => (0..40).map(|i| vec![id(i), Value::Text(format!("label-{i}"))]).collect(),
            "issue_labels" => {
                let pairs: BTreeSet<(usize, usize)> =
                    (0..count).map(|_| (rng.usize(..self.issue_project.len()), rng.usize(..40))).collect();
                let mut pairs: Vec<_> = pairs.into_iter().collect();
                rng.shuffle(&mut pairs);
                pairs.into_iter().map(|(issue, label)| vec![id(issue), id(label)]).collect()
            }
            "spaces" => self.each(&self.space_site, |i, site| {
                vec![id(i), self.id_of(site), Value::Text(format!("S{i}")), words(rng, 2)]
            }),
            "pages" => self.pages(rng),
            "page_versions" => {
                let mut versions = HashMap::new();
                self.times(count, |_| {
                    let page = rng.usize(..self.page_space.len());
                    let number = versions.entry(page).and_modify(|number| *number += 1).or_insert(1);
                    let length = 20 + rng.usize(..60);
                    vec![id(page), Value::Int(*number), words(rng, length), instant(rng)]
                })
            }
            "page_comments" => self.times(count, |i| {
                let page = rng.usize(..self.page_space.len());
                let author = self.user_of(self.space_site[self.page_space[page]], rng);
                vec![id(i), id(page), Value::Int(author), words(rng, 8)]
            }),
            _ => Vec::new(),
        }
    }

    fn each(&self, owners: &[usize], mut row: impl FnMut(usize, usize) -> Vec<Value>) -> Vec<Vec<Value>> {
        owners.iter().enumerate().map(|(index, owner)| row(index, *owner)).collect()
    }

    fn times(&self, count: usize, row: impl FnMut(usize) -> Vec<Value>) -> Vec<Vec<Value>> {
        (0..count).map(row).collect()
    }

    fn id_of(&self, site: usize) -> Value {
        Value::Text(self.sites[site].id.to_string())
    }

    fn user_of(&self, site: usize, rng: &mut Rng) -> i64 {
        let users = &self.site_users[site];
        users[rng.usize(..users.len())]
    }

    fn author(&self, issue: usize, rng: &mut Rng) -> i64 {
        self.user_of(self.project_site[self.issue_project[issue]], rng)
    }

    fn issue_row(&self, index: usize, project: usize, rng: &mut Rng) -> Vec<Value> {
        let reporter = self.user_of(self.project_site[project], rng);
        let estimate =
            if rng.bool() { Value::Null } else { Value::Real(f64::from(rng.u32(1..100_000)) / 100.0) };
        let fields = format!("{{\"priority\": {}, \"team\": \"{}\"}}", rng.u8(1..5), NOUNS[rng.usize(..12)]);
        let status = ["open", "in progress", "done"][rng.usize(..3)];
        vec![
            Value::Int(index as i64 + 1),
            Value::Int(project as i64 + 1),
            Value::Int(reporter),
            words(rng, 6),
            Value::Text(status.into()),
            estimate,
            Value::Text(fields),
            instant(rng),
            instant(rng),
        ]
    }

    /// Comments; some answer an earlier one of the same issue.
    fn comments(&self, count: usize, rng: &mut Rng) -> Vec<Vec<Value>> {
        let mut last: HashMap<usize, i64> = HashMap::new();
        self.times(count, |i| {
            let issue = rng.usize(..self.issue_project.len());
            let parent = last.get(&issue).filter(|_| i % 2 == 0).map_or(Value::Null, |id| Value::Int(*id));
            last.insert(issue, i as i64 + 1);
            let length = 4 + rng.usize(..30);
            vec![
                Value::Int(i as i64 + 1),
                Value::Int(issue as i64 + 1),
                parent,
                Value::Int(self.author(issue, rng)),
                words(rng, length),
                instant(rng),
            ]
        })
    }

    /// Pages; most stand below an earlier one of the same space.
    fn pages(&self, rng: &mut Rng) -> Vec<Vec<Value>> {
        let mut last: HashMap<usize, i64> = HashMap::new();
        self.each(&self.page_space, |i, space| {
            let parent = last.get(&space).filter(|_| i % 3 != 0).map_or(Value::Null, |id| Value::Int(*id));
            last.insert(space, i as i64 + 1);
            let author = self.user_of(self.space_site[space], rng);
            let (own, space) = (Value::Int(i as i64 + 1), Value::Int(space as i64 + 1));
            vec![own, space, parent, words(rng, 3), Value::Int(author), instant(rng)]
        })
    }

    fn members(&self, count: usize, rng: &mut Rng) -> Vec<Vec<Value>> {
        let pairs: BTreeSet<(i64, i64)> = (0..count)
            .map(|_| {
                let group = rng.usize(..self.group_site.len());
                (group as i64 + 1, self.user_of(self.group_site[group], rng))
            })
            .collect();
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        rng.shuffle(&mut pairs);
        pairs.into_iter().map(|(group, user)| vec![Value::Int(group), Value::Int(user)]).collect()
    }
}

fn scaled(table: &str, scale: f64) -> usize {
    let rows = TABLES.iter().find(|spec| spec.name == table).map_or(0, |spec| spec.rows);
    (rows as f64 * scale).round() as usize
}

fn site(number: usize, rng: &mut Rng) -> Site {
    let (a, b) = (rng.u64(..), rng.u64(..));
    let id = format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        (b >> 48) & 0xfff,
        b & 0xffff_ffff_ffff
    );
    let name = format!("{} {}", ADJECTIVES[rng.usize(..12)], NOUNS[rng.usize(..12)]);
    let host = format!("{}-{number}.example.net", name.replace(' ', "-"));
    Site { id: TenantId::new(id), name: format!("{name} {number}"), host, place: rng.usize(..4) }
}

fn site_row(site: &Site, rng: &mut Rng) -> Vec<Value> {
    let plan = ["free", "standard", "premium"][rng.usize(..3)];
    vec![
        Value::Text(site.id.to_string()),
        Value::Text(site.name.clone()),
        Value::Text(site.host.clone()),
        Value::Text(plan.into()),
        Value::Text(["live", "live", "live", "trial", "read-only"][rng.usize(..5)].into()),
        instant(rng),
    ]
}

fn instant(rng: &mut Rng) -> Value {
    let (year, month, day) = (rng.u16(2019..2026), rng.u8(1..=12), rng.u8(1..=28));
    let (hour, minute, second) = (rng.u8(..24), rng.u8(..60), rng.u8(..60));
    Value::Text(format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

fn words(rng: &mut Rng, count: usize) -> Value {
    let chosen: Vec<&str> = (0..count).map(|_| WORDS[rng.usize(..WORDS.len())]).collect();
    Value::Text(chosen.join(" "))
}

fn blake3_seed(name: &str) -> u64 {
    crate::model::row_hash(name.as_bytes()) as u64
}

/// Sizes by rank: the n-th site has 1/n of the first one's weight, as in real fleets.
struct Skew {
    sums: Vec<f64>,
}

impl Skew {
    fn new(count: usize) -> Self {
        let mut sum = 0.0;
        let sums = (1..=count)
            .map(|rank| {
                sum += 1.0 / (rank as f64).powf(0.9);
                sum
            })
            .collect();
        Self { sums }
    }

    fn pick(&self, rng: &mut Rng) -> usize {
        let total = self.sums.last().copied().unwrap_or_default();
        let point = rng.f64() * total;
        self.sums.partition_point(|sum| *sum < point).min(self.sums.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_fleet_has_at_least_200_000_rows_and_is_the_same_for_the_same_seed() {
        let fleet = Fleet::new(500, 1.0, 7);
        let rows: usize = TABLES.iter().map(|table| fleet.rows(table).len()).sum();
        for table in &TABLES {
            let mut used: BTreeSet<&str> = BTreeSet::new();
            for row in fleet.rows(table) {
                used.extend(fleet.shards_of(table, &row));
            }
            assert_eq!(used, table.shards().iter().copied().collect(), "{}", table.name);
        }
        assert!(rows >= 200_000, "{rows}");
        let again = Fleet::new(500, 1.0, 7);
        for table in &TABLES {
            assert_eq!(fleet.rows(table), again.rows(table), "{}", table.name);
        }
        assert_ne!(fleet.sites[0].id, Fleet::new(500, 1.0, 8).sites[0].id);
    }
}
