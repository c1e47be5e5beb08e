//! Moves of tenants to other places in the tree. Within a family that is a change of a record; to another family the counts go first,
//! from one ledger to the other, as a job that whoever comes finishes.

use std::collections::BTreeMap;

use serde_json::json;

use super::desk::{Answer, Desk};
use super::records::Record;
use super::refusal::Refusal;
use super::store::sql;
use super::{jobs, publish};
use crate::control::{MoveTenant, merge};
use crate::ledger::{Move, Once, Order, Outcome};
use crate::model::TenantId;
use crate::model::bounds::MAX_HIERARCHY_DEPTH;
use crate::worker::charge;

/// Moves a tenant under another one. Where that is of another family, its counts move first.
pub(super) async fn move_to(desk: &Desk<'_>, id: &str) -> Result<Answer, Refusal> {
    let asked: MoveTenant = desk.read()?;
    let record = desk.tenant(id).await?;
    desk.expect(record.epoch)?;
    place(desk, record, &asked).await
}

/// Puts a tenant where it is asked to be; goes on where an earlier try has stopped.
pub(super) async fn place(desk: &Desk<'_>, record: Record, asked: &MoveTenant) -> Result<Answer, Refusal> {
    let id = record.id.as_str();
    let published = desk.catalog().await?;
    let below = desk.store.below(id).await?;
    let mut parent_head = None;
    let (root, above) = match &asked.parent {
        None => (record.id.clone(), Vec::new()),
        Some(parent) => {
            let line = desk.store.line(parent.as_str()).await?;
            let Some(own) = line.first().filter(|own| own.status() != "deleted") else {
                return Err(Refusal::problem("$.parent", format!("`{parent}`"), "the id of a tenant"));
            };
            let deepest = deepest(&record.id, &below);
            if line.iter().any(|above| above.id == record.id) {
                return Err(Refusal::problem("$.parent", format!("`{parent}`"), "a tenant that is not below this one"));
            }
            if line.len().saturating_add(deepest) > MAX_HIERARCHY_DEPTH {
                let expected = format!("a line of at most {MAX_HIERARCHY_DEPTH} generations");
                return Err(Refusal::problem("$.parent", format!("`{parent}`"), &expected));
            }
            if record.member("parent") != parent.as_str() {
                desk.has_room_below(parent.as_str(), &published).await?;
            }
            parent_head = Some((parent.to_string(), own.head.clone()));
            let root = own.root.clone();
            (root, line.iter().map(|above| above.id.clone()).collect())
        }
    };
    let mut after = record.value.clone();
    merge(&mut after, &json!({ "parent": asked.parent.as_ref().map(TenantId::as_str) }));
    let mut change = desk.change();
    if let Some((parent, head)) = parent_head.filter(|(parent, _)| record.member("parent") != parent) {
        // One after the other, so that none of two exceeds what the parent may have.
        change.follow(&parent, &head);
        change.note(&parent, "tenant.child", None, &json!({ "child": { "after": record.id } })).await?;
    }
    // It is the new family's ledger that is told of the new record.
    let moved = Record {
        root: root.clone(),
        value: record.value.clone(),
        id: record.id.clone(),
        head: record.head.clone(),
        ..record
    };
    let after = desk.save(&mut change, &moved, after, &published, ("tenant.move", asked.reason.as_deref())).await?;
    if root != record.root {
        let old_above: Vec<String> = desk.store.line(id).await?.into_iter().skip(1).map(|above| above.id).collect();
        // What was begun is finished, by whoever comes: until then no ledger counts for the tenant.
        let job = format!("move {id} to {root} from {}", record.epoch);
        desk.store
            .run(&[jobs::begun(
                &job,
                "move",
                &json!({ "tenant": id, "parent": asked.parent.as_ref().map(TenantId::as_str), "reason": asked.reason }),
                1,
                desk.now,
            )])
            .await?;
        relocate(desk, &record, &below, old_above, (&root, above), &job).await?;
        change.run(jobs::ended(&job, desk.now));
        change.run(sql!(
            "UPDATE tenants SET root = ? WHERE id IN (SELECT value FROM json_each(?))",
            root,
            family(&record.id, &below)
        ));
        change.publish(&record.key(), moved.epoch.saturating_add(1), Some(&record.root));
    }
    let body = after.to_string();
    desk.remember(&mut change, 200, &body);
    change.commit().await?;
    publish::after(desk).await;
    Ok(Answer::text(200, body).with_version(record.epoch.saturating_add(1)))
}

/// The ids of a tenant and those below it, as JSON.
fn family(id: &str, below: &[(String, String)]) -> String {
    let ids: Vec<&str> = below.iter().map(|(id, _)| id.as_str()).chain([id]).collect();
    json!(ids).to_string()
}

/// Generations from a tenant down to the last below it.
fn deepest(id: &str, below: &[(String, String)]) -> usize {
    let mut depths = BTreeMap::from([(id, 1_usize)]);
    for (child, parent) in below {
        let depth = depths.get(parent.as_str()).copied().unwrap_or(1).saturating_add(1);
        depths.insert(child, depth);
    }
    depths.into_values().max().unwrap_or(1)
}

/// Has the old family's ledger give up the counts of tenants, and the new one take them in. Both may be said again: where this
/// stops half-way, the same request goes on.
async fn relocate(
    desk: &Desk<'_>,
    record: &Record,
    below: &[(String, String)],
    old_above: Vec<String>,
    (root, above): (&str, Vec<String>),
    job: &str,
) -> Result<(), Refusal> {
    let mut tenants: BTreeMap<String, Option<String>> =
        below.iter().map(|(id, parent)| (id.clone(), Some(parent.clone()))).collect();
    tenants.insert(record.id.clone(), None);
    let epoch = record.epoch.saturating_add(1);
    let leave = Order {
        leave: Some(Move { tenants: tenants.clone(), above: old_above }),
        epochs: [(record.id.as_str().into(), epoch)].into_iter().collect(),
        ..Order::default()
    };
    crate::worker::fault(desk.fault.as_deref(), "move-begun");
    let luggage = tell(desk, &record.root, &leave).await?.luggage.ok_or(Refusal::UNAVAILABLE)?;
    crate::worker::fault(desk.fault.as_deref(), "move-left");
    let arrive = Order {
        arrive: Some((Move { tenants, above }, luggage)),
        once: Some(Once { id: job, print: root, event: false }),
        ..Order::default()
    };
    tell(desk, root, &arrive).await?;
    crate::worker::fault(desk.fault.as_deref(), "move-arrived");
    Ok(())
}

async fn tell(desk: &Desk<'_>, root: &str, order: &Order<'_>) -> Result<Outcome, Refusal> {
    let root = TenantId::parse(root).ok_or(Refusal::UNAVAILABLE)?;
    let asked = charge::ask(&root, order, desk.config, &desk.context);
    let heard = match asked {
        Ok(promise) => charge::outcome(promise).await,
        Err(reason) => Err(reason),
    };
    match heard {
        Ok(Some(outcome)) => Ok(outcome),
        Ok(None) => Err(Refusal::UNAVAILABLE),
        Err(reason) => {
            web_sys::console::error_1(&format!("ledger: {reason}").into());
            Err(Refusal::UNAVAILABLE)
        }
    }
}
