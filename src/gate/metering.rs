//! Metering: an event of usage, as its ledger has to hear it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::need::Need;
use super::pipeline::Gate;
use super::plans::CompiledCatalog;
use super::run::{Cx, Exit};
use super::snapshots::Found;
use crate::ledger::{Charge, CounterOp, IdempotencyKey, Inquiry, LedgerRequest, Meter, Setting, UsageEntry};
use crate::model::bounds::{MAX_EVENT_AHEAD_MS, MAX_EVENT_BYTES, MAX_EVENT_LATE_MS};
use crate::model::{Aggregation, Key, Metric, Problem, Tenant, TenantId, UnixMillis, parse_quantity};

/// An event of usage (CloudEvents 1.0).
#[derive(Debug, Clone, PartialEq)]
pub struct UsageEvent {
    /// Its name among those of its source: the same event always has the same.
    pub id: String,
    /// Where it comes from.
    pub source: String,
    /// What it is: `type`.
    pub kind: String,
    /// Whose it is: `subject`.
    pub tenant: TenantId,
    /// When it happened; `None`: when it is told.
    pub time: Option<UnixMillis>,
    /// What it says.
    pub data: Value,
}

/// An event, and what is to be said to a ledger about it.
#[derive(Debug)]
pub struct Metered {
    tenant: TenantId,
    root: TenantId,
    once: (String, String),
    charges: Vec<(String, Meter, u64)>,
    entries: Vec<UsageEntry<'static>>,
    event: String,
    uncounted: Vec<(Key, Problem)>,
}

/// How far the metering of an event has come.
#[derive(Debug)]
pub enum Metering {
    /// This is to be said.
    Ready(Metered),
    /// Fetch this, put it in, and ask again.
    Fetch(Need),
    /// It cannot be counted.
    Refused(Vec<Problem>),
}

/// A metric, and what its ledger is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct UsageInquiry {
    /// The metric.
    pub metric: Key,
    /// Its definition.
    pub definition: Metric,
    /// The question.
    pub inquiry: Inquiry<'static>,
}

impl Gate {
    /// Says what a ledger is to be told of an event. `tell`: whether somebody is told of every single event.
    ///
    /// A tenant's status does not matter: what it has used, it has used.
    pub fn meter(&mut self, event: &UsageEvent, tell: bool, now: UnixMillis) -> Metering {
        let (plans, found) = match self.known(&event.tenant, now) {
            Ok(known) => known,
            Err(Exit::Fetch(need)) => return Metering::Fetch(need),
            Err(Exit::Deny(_)) => {
                return Metering::Refused(vec![problem("subject", "no such tenant", "the id of a tenant")]);
            }
        };
        count(event, tell, &plans, &found, now).map_or_else(Metering::Refused, Metering::Ready)
    }

    /// What the ledger of a tenant is asked for a report of usage in the periods that hold `at`, and whose ledger it is; `None` if
    /// there never was such a tenant: one that was deleted has reports. `metric`: only this.
    ///
    /// # Errors
    /// What has to be fetched first.
    pub fn usage_inquiries(
        &mut self,
        tenant: &TenantId,
        metric: Option<&str>,
        at: UnixMillis,
        now: UnixMillis,
    ) -> Result<Option<(TenantId, Vec<UsageInquiry>)>, Need> {
        let mut refresh = Vec::new();
        let plans = self.snapshots.plans(now, &mut refresh)?;
        let found = self.snapshots.kept(tenant, now, &mut refresh)?;
        self.unserved.append(&mut refresh);
        let Some((own, root)) = found else { return Ok(None) };
        let metrics =
            plans.catalog().metrics.iter().filter(|(key, _)| metric.is_none_or(|wanted| key.as_str() == wanted));
        let inquiries = metrics.map(|(key, definition)| {
            let (series, setting) = series(&plans, &own, key, definition);
            let inquiry = Inquiry { series: series.into(), setting, at_ms: at.get() };
            UsageInquiry { metric: key.clone(), definition: definition.clone(), inquiry }
        });
        Ok(Some((root, inquiries.collect())))
    }

    fn known(&mut self, tenant: &TenantId, now: UnixMillis) -> Result<(Arc<CompiledCatalog>, Found), Exit> {
        let mut run = Cx::silent(now);
        let known = self.snapshots.plans(now, &mut run.refresh).map_err(Exit::from).and_then(|plans| {
            let found = self.lookup(&mut run, &plans, tenant)?;
            Ok((plans, found))
        });
        // What grows old is fetched behind the next decision.
        self.unserved.append(&mut run.refresh);
        known
    }
}

impl Metered {
    /// The tenant whose ledger counts.
    pub const fn root(&self) -> &TenantId {
        &self.root
    }

    /// Metrics that do not count the event, and why: others do.
    pub fn uncounted(&self) -> &[(Key, Problem)] {
        &self.uncounted
    }

    /// What that ledger is told.
    pub fn order(&self) -> LedgerRequest<'_> {
        LedgerRequest {
            tenant: Some(self.tenant.as_str()),
            charges: self
                .charges
                .iter()
                .map(|(counter, meter, units)| Charge {
                    counter,
                    meter: *meter,
                    op: CounterOp::Settle(*units),
                    shadow: false,
                })
                .collect(),
            once: Some(IdempotencyKey { id: &self.once.0, fingerprint: &self.once.1, event: true }),
            usage: self.entries.clone(),
            event: (!self.event.is_empty()).then(|| self.event.as_str().into()),
            ..LedgerRequest::default()
        }
    }
}

fn count(
    event: &UsageEvent,
    tell: bool,
    plans: &CompiledCatalog,
    found: &Found,
    now: UnixMillis,
) -> Result<Metered, Vec<Problem>> {
    let mut problems = Vec::new();
    let at = event.time.unwrap_or(now);
    if at.since(now) > MAX_EVENT_AHEAD_MS || now.since(at) > MAX_EVENT_LATE_MS {
        let expected = format!(
            "at most {} days ago, and at most {} minutes ahead",
            MAX_EVENT_LATE_MS / 86_400_000,
            MAX_EVENT_AHEAD_MS / 60_000
        );
        problems.push(problem("time", at.to_string(), expected));
    }
    let mut metrics = plans.catalog().metrics.iter().filter(|(_, metric)| metric.event == event.kind).peekable();
    if metrics.peek().is_none() {
        problems.push(problem("type", format!("`{}`", event.kind), "a type that a metric of the catalog counts"));
    }
    let mut metered = Metered {
        tenant: event.tenant.clone(),
        root: found.tenant.root().clone(),
        once: identity(event),
        charges: Vec::new(),
        entries: Vec::new(),
        event: String::new(),
        uncounted: Vec::new(),
    };
    let mut told = serde_json::Map::new();
    for (key, metric) in metrics {
        let (value, distinct) = match value(event, metric) {
            Ok(value) => value,
            // An event that says nothing is counted by other metrics; one that says something wrong is nobody's.
            Err((problem, true)) => {
                metered.uncounted.push((key.clone(), problem));
                continue;
            }
            Err((problem, false)) => {
                // Metrics may read the same value.
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
                continue;
            }
        };
        told.insert(key.to_string(), distinct.clone().unwrap_or_else(|| value.into()));
        let distinct = distinct.map(|value| digest(&[&value.to_string()], 12));
        for tenant in found.tenant.line() {
            let (series, setting) = series(plans, tenant, key, metric);
            let distinct = distinct.clone().map(Into::into);
            metered.entries.push(UsageEntry { series: series.into(), setting, at_ms: at.get(), value, distinct });
        }
        let limit = metric.limit.as_ref().and_then(|limit| plans.limit_id(limit.as_str()));
        for budget in limit.iter().flat_map(|limit| found.tenant.budgets_of(*limit)) {
            let units = if metric.aggregation == Aggregation::Count { 1 } else { value };
            let counted = matches!(budget.meter, Meter::Quota { .. });
            match metered.charges.iter_mut().find(|(counter, _, _)| *counter == budget.counter) {
                Some((_, _, sum)) if counted => *sum = sum.saturating_add(units),
                None if counted => metered.charges.push((budget.counter.clone(), budget.meter, units)),
                _ => {}
            }
        }
    }
    if metered.entries.is_empty() {
        for (_, problem) in metered.uncounted.drain(..) {
            // Metrics may read the same value.
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
    }
    if tell {
        metered.event = serde_json::json!({
            "specversion": "1.0", "id": event.id, "source": event.source, "type": event.kind, "subject": event.tenant,
            "time": at.to_string(), "data": event.data, "metrics": told,
        })
        .to_string();
    }
    let bytes = metered.event.len().max(event.data.to_string().len());
    if bytes > MAX_EVENT_BYTES {
        problems.push(problem("data", format!("an event of {bytes} bytes"), format!("at most {MAX_EVENT_BYTES}")));
    }
    if problems.is_empty() { Ok(metered) } else { Err(problems) }
}

/// The value of an event for a metric, and what it is where different ones are counted; or what is wrong, and whether nothing is there.
fn value(event: &UsageEvent, metric: &Metric) -> Result<(u64, Option<Value>), (Problem, bool)> {
    if metric.aggregation == Aggregation::Count {
        return Ok((1, None));
    }
    let found = metric.value.split('.').try_fold(&event.data, |value, member| value.get(member));
    let unique = metric.aggregation == Aggregation::Unique;
    match (found.and_then(parse_quantity), found) {
        // `5.0` is 5; the text `5` is something else.
        (Some(quantity), _) if unique => Ok((1, Some(quantity.into()))),
        (Some(quantity), _) => Ok((quantity, None)),
        (None, Some(text @ Value::String(_))) if unique => Ok((1, Some(text.clone()))),
        _ => {
            let expected = if unique { "text, or a whole number" } else { "a whole number from 0" };
            let text = found.map_or_else(|| String::from("nothing"), |value| shorten(&value.to_string()));
            Err((problem(&format!("data.{}", metric.value), text, expected), found.is_none()))
        }
    }
}

/// The name of an event, for ever, and a digest of what it says.
fn identity(event: &UsageEvent) -> (String, String) {
    let name = digest(&[event.tenant.as_str(), &event.source, &event.id], 16);
    let time = event.time.map_or_else(String::new, |time| time.get().to_string());
    (name, digest(&[&event.kind, &time, &event.data.to_string()], 12))
}

/// So many bytes of a digest of texts, each told from the next.
fn digest(texts: &[&str], bytes: usize) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(text);
    }
    URL_SAFE_NO_PAD.encode(hash.finalize().get(..bytes).unwrap_or_default())
}

/// What a metric of a tenant is called in its ledger, and how its periods go on.
fn series(plans: &CompiledCatalog, tenant: &Tenant, key: &Key, metric: &Metric) -> (String, Setting) {
    let stamp = (plans.catalog().version.0, tenant.epoch.0);
    (format!("{}/{key}", tenant.id), Setting { period: metric.period, anchor_ms: tenant.billing_anchor.get(), stamp })
}

fn problem(path: &str, found: impl Into<String>, expected: impl Into<String>) -> Problem {
    Problem { path: path.to_owned(), found: found.into(), expected: expected.into() }
}

fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}
