//! `/_gate/v1/usage`: `POST` takes usage events, `GET` returns usage reports.
//!
//! The gate computes which metrics of the catalog count an event and which ledger counts it. A
//! batch is validated as a whole before anything is sent; then each ledger counts its events.
//! Events have permanent names, so a client can safely send a batch again after a partial failure.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::json;
use web_sys::Response;

use crate::gate::{Gate, Metered, Progress, UsageEvent, UsageInquiry};
use crate::ledger::{LedgerRequest, LedgerResponse, QuotaInquiry, Seen, WaitFailure};
use crate::model::bounds::MAX_USAGE_BODY_BYTES;
use crate::model::{Problem, Problems, TenantId, UnixMillis, gather};
use crate::wire::{ReceiptView, UsageView, parse_events};
use crate::worker::config::Config;
use crate::worker::gateway;
use crate::worker::http::call::Call;
use crate::worker::http::reply::{self, Failure};
use crate::worker::ledger::client;
use crate::worker::runtime::clock::{self, Patience};
use crate::worker::sources::drive::{GateQuestion, drive};

/// Asks the gate what a ledger has to count for an event.
struct MeterQuestion<'e> {
    event: &'e UsageEvent,
    /// Whether the ledger hands on each event.
    export: bool,
}

impl GateQuestion for MeterQuestion<'_> {
    type Answer = Result<Metered, Vec<Problem>>;

    fn ask(&mut self, gate: &mut Gate, _: Option<&WaitFailure>, now: UnixMillis) -> Progress<Self::Answer> {
        gate.meter(self.event, self.export, now)
    }

    fn is_unknown(answer: &Self::Answer) -> bool {
        answer.as_ref().is_err_and(|problems| problems.iter().any(|problem| problem.path == "subject"))
    }
}

/// Asks the gate for the ledger inquiries of a usage report.
struct ReportQuestion<'q> {
    tenant: &'q TenantId,
    metric: Option<&'q str>,
    at: UnixMillis,
}

impl GateQuestion for ReportQuestion<'_> {
    type Answer = Option<(TenantId, Vec<UsageInquiry>)>;

    fn ask(&mut self, gate: &mut Gate, _: Option<&WaitFailure>, now: UnixMillis) -> Progress<Self::Answer> {
        gate.usage_inquiries(self.tenant, self.metric, self.at, now)
    }

    fn is_unknown(answer: &Self::Answer) -> bool {
        answer.is_none()
    }
}

/// `POST /_gate/v1/usage`: counts events, each once. If one event is invalid, none is counted.
pub(crate) async fn receive(call: &Call, config: &Rc<Config>) -> Response {
    let text = match reply::body(call, MAX_USAGE_BODY_BYTES).await {
        Ok(text) => text,
        Err(failure) => return failure.respond(call),
    };
    let events = match parse_events(&text) {
        Ok(events) => events,
        Err(problems) => return reply::invalid(call, &problems),
    };
    let patience = Patience::new();
    let batch = text.trim_start().starts_with('[');
    let mut problems = Vec::new();
    let mut metered = Vec::with_capacity(events.len());
    for (index, event) in events.iter().enumerate() {
        let meter = MeterQuestion { event, export: config.exports_usage };
        match drive(meter, config, &call.context, patience).await {
            Ok(Ok(ready)) => metered.push(ready),
            Ok(Err(found)) => {
                let at = if batch { format!("$[{index}]") } else { String::from("$") };
                let within = |problem: Problem| Problem { path: format!("{at}.{}", problem.path), ..problem };
                problems.extend(found.into_iter().map(within));
            }
            Err(_) => return reply::unavailable(call, &gateway::unavailable()),
        }
    }
    if !problems.is_empty() {
        return reply::invalid(call, &Problems(problems));
    }
    let mut receipt = ReceiptView::default();
    for (index, event) in metered.iter().enumerate() {
        for (metric, problem) in event.uncounted() {
            let at = if batch { format!("$[{index}].{}", problem.path) } else { format!("$.{}", problem.path) };
            receipt.note_uncounted(metric.as_str(), at, problem);
        }
    }
    count_in_ledgers(call, config, &metered, receipt).await
}

/// Sends the events to their ledgers. All are sent before the first response is awaited, so that
/// the events for one ledger travel in one message.
async fn count_in_ledgers(call: &Call, config: &Config, metered: &[Metered], mut receipt: ReceiptView) -> Response {
    let mut answers = Vec::with_capacity(metered.len());
    for event in metered {
        answers.push(client::ask(event.root(), &event.request(), config, &call.context));
    }
    let mut conflicts = Vec::new();
    let mut unheard = 0_usize;
    for (index, answer) in answers.into_iter().enumerate() {
        match client::outcome(answer).await {
            // The tenant has moved to another family, and its newer record has not arrived here
            // yet.
            Ok(LedgerResponse { gone: true, .. }) | Err(_) => unheard = unheard.saturating_add(1),
            Ok(LedgerResponse { seen: None, .. }) => receipt.accepted = receipt.accepted.saturating_add(1),
            Ok(LedgerResponse { seen: Some(Seen::Repeated), .. }) => {
                receipt.duplicates = receipt.duplicates.saturating_add(1)
            }
            Ok(LedgerResponse { seen: Some(Seen::Reused), .. }) => conflicts.push(index),
        }
    }
    let details = json!({
        "accepted": receipt.accepted, "duplicates": receipt.duplicates, "conflicts": conflicts, "unheard": unheard,
    });
    if unheard > 0 {
        return Failure::USAGE_UNHEARD.respond_with(call, details);
    }
    if !conflicts.is_empty() {
        return Failure::EVENT_CONFLICT.respond_with(call, details);
    }
    reply::view(&receipt)
}

/// `GET /_gate/v1/usage?tenant=t_acme[&metric=tokens][&at=2026-11-24T00:00:00Z]`: reports the usage
/// of a tenant in the period that contains `at` (default: now).
pub(crate) async fn report(call: &Call, config: &Rc<Config>) -> Response {
    let query: BTreeMap<_, _> = gather(form_urlencoded::parse(call.query().as_bytes()));
    let mut problems = Vec::new();
    let mut problem = |path: &str, found: &str, expected: &str| {
        problems.push(Problem { path: path.into(), found: found.into(), expected: expected.into() })
    };
    let tenant = query.get("tenant").and_then(|id| TenantId::parse(id));
    if tenant.is_none() {
        problem("tenant", query.get("tenant").map_or("nothing", |id| id), "the id of a tenant");
    }
    let at = match query.get("at") {
        None => Some(clock::now()),
        Some(text) => UnixMillis::parse(text),
    };
    if at.is_none() {
        problem("at", query.get("at").map_or("nothing", |at| at), "a time (RFC 3339)");
    }
    for name in query.keys().filter(|name| !["tenant", "metric", "at"].contains(&name.as_ref())) {
        problem(name, "an unknown parameter", "`tenant`, `metric`, `at`");
    }
    let (Some(tenant), Some(at), []) = (tenant, at, problems.as_slice()) else {
        return reply::invalid(call, &Problems(problems));
    };
    let metric = query.get("metric").map(AsRef::as_ref);
    let report = ReportQuestion { tenant: &tenant, metric, at };
    let Ok(inquiries) = drive(report, config, &call.context, Patience::new()).await else {
        return reply::unavailable(call, &gateway::unavailable());
    };
    let Some((root, inquiries)) = inquiries.filter(|(_, found)| metric.is_none() || !found.is_empty()) else {
        return Failure::USAGE_UNKNOWN.respond(call);
    };
    let quotas = metric.is_none().then(|| QuotaInquiry { tenant: tenant.as_str(), from_ms: at.get(), to_ms: at.get() });
    let report = inquiries.iter().map(|asked| asked.inquiry.clone()).collect();
    let order = LedgerRequest { report, quotas, ..LedgerRequest::default() };
    match client::outcome(client::ask(&root, &order, config, &call.context)).await {
        Ok(outcome) => reply::view(&UsageView::new(tenant.as_str(), &inquiries, &outcome, clock::now())),
        _ => Failure::USAGE_UNHEARD.respond(call),
    }
}
