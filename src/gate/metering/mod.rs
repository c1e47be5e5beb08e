//! Metering: turns a usage event into one ledger request.
//!
//! Each metric of the catalog that counts the event's type adds a usage entry per tenant of the
//! line, and charges for the quotas of its limit. The ledger counts an event once, by its permanent
//! name: a digest of the tenant, the source and the id.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::gate::cache::Found;
use crate::gate::compiled::CompiledCatalog;
use crate::gate::cx::{Cx, Exit};
use crate::gate::decide::lookup;
use crate::gate::gate::Gate;
use crate::gate::need::{Need, Progress};
use crate::ledger::{Charge, CounterOp, IdempotencyKey, Inquiry, LedgerRequest, Meter, Setting, UsageEntry};
use crate::model::bounds::{MAX_EVENT_AHEAD_MS, MAX_EVENT_BYTES, MAX_EVENT_LATE_MS};
use crate::model::{Aggregation, Key, Metric, Problem, Tenant, TenantId, UnixMillis, parse_quantity};

/// A usage event (CloudEvents 1.0).
#[derive(Debug, Clone, PartialEq)]
pub struct UsageEvent {
    /// The id, unique among the events of the source. An event that is sent again has the same id.
    pub id: String,
    /// The source.
    pub source: String,
    /// The type.
    pub kind: String,
    /// The tenant (`subject`).
    pub tenant: TenantId,
    /// When it happened. `None` stands for the time at which it is received.
    pub time: Option<UnixMillis>,
    /// The payload.
    pub data: Value,
}

/// A usage event, with the charges and usage entries for its ledger.
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

/// A metric, and the inquiry about it for the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct UsageInquiry {
    /// The key of the metric.
    pub metric: Key,
    /// The definition of the metric.
    pub definition: Metric,
    /// The inquiry.
    pub inquiry: Inquiry<'static>,
}

impl Gate {
    /// Returns what the ledger has to count for an event, or the problems of the event. `export`:
    /// whether the ledger hands on each event. The tenant's status does not matter, because the
    /// usage has already happened.
    pub fn meter(
        &mut self,
        event: &UsageEvent,
        export: bool,
        now: UnixMillis,
    ) -> Progress<Result<Metered, Vec<Problem>>> {
        let mut cx = Cx::silent(now);
        let found = self.snapshots.catalog(now, &mut cx.refresh).map_err(Exit::from).and_then(|catalog| {
            let found = lookup(&mut self.snapshots, &mut cx, &catalog, &event.tenant)?;
            Ok((catalog, found))
        });
        // Refreshes are carried out behind the next decision.
        self.background.append(&mut cx.refresh);
        match found {
            Ok((catalog, found)) => Progress::Ready(count(event, export, &catalog, &found, now)),
            Err(Exit::Need(need)) => Progress::Need(need),
            Err(Exit::Denied) => {
                Progress::Ready(Err(vec![problem("subject", "an unknown tenant", "the id of a tenant")]))
            }
        }
    }

    /// Returns the inquiries for a usage report about the periods that contain `at`, and the root
    /// whose ledger answers them. `metric` restricts the report to one metric. Returns `None` if
    /// the tenant never existed; a deleted tenant has reports.
    pub fn usage_inquiries(
        &mut self,
        tenant: &TenantId,
        metric: Option<&str>,
        at: UnixMillis,
        now: UnixMillis,
    ) -> Progress<Option<(TenantId, Vec<UsageInquiry>)>> {
        self.inquiries(tenant, metric, at, now).into()
    }

    fn inquiries(
        &mut self,
        tenant: &TenantId,
        metric: Option<&str>,
        at: UnixMillis,
        now: UnixMillis,
    ) -> Result<Option<(TenantId, Vec<UsageInquiry>)>, Need> {
        let mut refresh = Vec::new();
        let catalog = self.snapshots.catalog(now, &mut refresh)?;
        let found = self.snapshots.kept(tenant, now, &mut refresh)?;
        self.background.append(&mut refresh);
        let Some((own, root)) = found else { return Ok(None) };
        let is_wanted = |key: &Key| metric.is_none_or(|wanted| key.as_str() == wanted);
        let metrics = catalog.document().metrics.iter().filter(|(key, _)| is_wanted(key));
        let inquiries = metrics.map(|(key, definition)| {
            let (series, setting) = series(&catalog, &own, key, definition);
            let inquiry = Inquiry { series: series.into(), setting, at_ms: at.get() };
            UsageInquiry { metric: key.clone(), definition: definition.clone(), inquiry }
        });
        Ok(Some((root, inquiries.collect())))
    }
}

impl Metered {
    /// The tenant whose ledger counts.
    pub const fn root(&self) -> &TenantId {
        &self.root
    }

    /// The metrics that do not count the event, each with the reason.
    pub fn uncounted(&self) -> &[(Key, Problem)] {
        &self.uncounted
    }

    /// The ledger request that counts the event.
    pub fn request(&self) -> LedgerRequest<'_> {
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
    export: bool,
    catalog: &CompiledCatalog,
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
    let mut metrics = catalog.document().metrics.iter().filter(|(_, metric)| metric.event == event.kind).peekable();
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
    let mut reported = serde_json::Map::new();
    for (key, metric) in metrics {
        let (value, distinct) = match value(event, metric) {
            Ok(value) => value,
            // Without the value, other metrics still count the event. An invalid value makes the
            // whole event invalid.
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
        reported.insert(key.to_string(), distinct.clone().unwrap_or_else(|| value.into()));
        let distinct = distinct.map(|value| digest(&[&value.to_string()], 12));
        for tenant in found.tenant.line() {
            let (series, setting) = series(catalog, tenant, key, metric);
            let distinct = distinct.clone().map(Into::into);
            metered.entries.push(UsageEntry { series: series.into(), setting, at_ms: at.get(), value, distinct });
        }
        let limit = metric.limit.as_ref().and_then(|limit| catalog.limit_id(limit.as_str()));
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
    if export {
        metered.event = serde_json::json!({
            "specversion": "1.0", "id": event.id, "source": event.source, "type": event.kind, "subject": event.tenant,
            "time": at.to_string(), "data": event.data, "metrics": reported,
        })
        .to_string();
    }
    let bytes = metered.event.len().max(event.data.to_string().len());
    if bytes > MAX_EVENT_BYTES {
        problems.push(problem("data", format!("an event of {bytes} bytes"), format!("at most {MAX_EVENT_BYTES}")));
    }
    if problems.is_empty() { Ok(metered) } else { Err(problems) }
}

/// Returns the value of an event for a metric, and the distinct value if the metric counts those.
/// The flag in the error is true if the value is missing, and false if it is invalid.
fn value(event: &UsageEvent, metric: &Metric) -> Result<(u64, Option<Value>), (Problem, bool)> {
    if metric.aggregation == Aggregation::Count {
        return Ok((1, None));
    }
    let found = metric.value.split('.').try_fold(&event.data, |value, member| value.get(member));
    let unique = metric.aggregation == Aggregation::Unique;
    match (found.and_then(parse_quantity), found) {
        // `5.0` equals 5; the text `5` does not.
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

/// The permanent name of an event, and a fingerprint of its content.
fn identity(event: &UsageEvent) -> (String, String) {
    let name = digest(&[event.tenant.as_str(), &event.source, &event.id], 16);
    let time = event.time.map_or_else(String::new, |time| time.get().to_string());
    (name, digest(&[&event.kind, &time, &event.data.to_string()], 12))
}

/// The first bytes of a digest of texts. Each text is preceded by its length, so that different
/// lists of texts differ.
fn digest(texts: &[&str], bytes: usize) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(text);
    }
    URL_SAFE_NO_PAD.encode(hash.finalize().get(..bytes).unwrap_or_default())
}

/// The ledger's name for a tenant's metric, and the setting that determines its periods.
fn series(catalog: &CompiledCatalog, tenant: &Tenant, key: &Key, metric: &Metric) -> (String, Setting) {
    let stamp = (catalog.document().version.0, tenant.epoch.0);
    (format!("{}/{key}", tenant.id), Setting { period: metric.period, anchor_ms: tenant.billing_anchor.get(), stamp })
}

fn problem(path: &str, found: impl Into<String>, expected: impl Into<String>) -> Problem {
    Problem { path: path.to_owned(), found: found.into(), expected: expected.into() }
}

fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}
