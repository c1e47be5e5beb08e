//! One piece of work for all requests that need it.
//!
//! Requests never wait for a Promise of another request: the runtime would take them for hung and
//! cut them off together. Each looks at growing intervals whether the work has ended.

use std::cell::RefCell;

use rustc_hash::FxHashMap;

use crate::gate::SnapshotKey;
use crate::model::bounds::REFRESH_INTERVAL_MS;
use crate::model::{TenantId, UnixMillis};
use crate::worker::runtime::clock::{self, Patience};

/// What is fetched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum SharedWork {
    /// A snapshot.
    Snapshot(SnapshotKey),
    /// The recent changes.
    Feed,
    /// More units for a lease, by root and counter.
    Lease(TenantId, String),
}

#[derive(Clone, Copy)]
enum WorkState {
    UnderWay(UnixMillis),
    Failed,
}

/// How coalesced work ended.
pub(crate) enum Ended {
    /// It succeeded, here or in another request.
    Done,
    /// It failed.
    Failed,
    /// The patience of this request ended first.
    TimedOut,
}

/// The gate lacks data that could not be fetched.
#[derive(Debug)]
pub(crate) struct Unavailable;

thread_local! {
    /// SharedWork under way, and work that has just failed.
    static WORK: RefCell<FxHashMap<SharedWork, WorkState>> = RefCell::default();
}

/// The maximum number of entries that are kept.
const MAX_WORK: usize = 4_096;

/// Does `work` unless another request does it already, and waits for the end in either case.
pub(crate) async fn coalesce(
    work: SharedWork,
    patience: Patience,
    run: impl Future<Output = Result<(), String>>,
) -> Ended {
    let mut waited = false;
    loop {
        match WORK.with_borrow(|all| all.get(&work).copied()) {
            // SharedWork that takes very long may have died with the request that began it.
            Some(WorkState::UnderWay(begun)) if clock::now().since(begun) < REFRESH_INTERVAL_MS => {
                if !patience.pause(begun).await {
                    return Ended::TimedOut;
                }
            }
            // A request that has waited shares the failure. A later one tries again.
            Some(WorkState::Failed) if waited => return Ended::Failed,
            None if waited => return Ended::Done,
            _ => break,
        }
        waited = true;
    }
    note(&work, WorkState::UnderWay(clock::now()));
    match run.await {
        Ok(()) => {
            WORK.with_borrow_mut(|all| all.remove(&work));
            Ended::Done
        }
        Err(reason) => {
            web_sys::console::error_1(&format!("{}: {reason}", work.name()).into());
            note(&work, WorkState::Failed);
            Ended::Failed
        }
    }
}

fn note(work: &SharedWork, state: WorkState) {
    WORK.with_borrow_mut(|all| {
        if all.len() >= MAX_WORK {
            all.clear();
        }
        all.insert(work.clone(), state)
    });
}

impl SharedWork {
    fn name(&self) -> String {
        match self {
            Self::Snapshot(key) => format!("snapshot `{}`", key.in_kv()),
            Self::Feed => String::from("feed"),
            Self::Lease(root, _) => format!("leases of `{root}`"),
        }
    }
}
