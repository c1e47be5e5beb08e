//! Shared work: several requests need the same data, and one of them fetches it.
//!
//! The first request does the work. The others poll its state at growing intervals ([`Patience`])
//! and share its result. A request never awaits a Promise of another request: the runtime would
//! consider both requests hung and cut them off together.
//!
//! A request that has waited shares a failure too. A request that arrives after the failure tries
//! again.

use std::cell::RefCell;

use rustc_hash::FxHashMap;

use crate::gate::SnapshotKey;
use crate::model::bounds::REFRESH_INTERVAL_MS;
use crate::model::{TenantId, UnixMillis};
use crate::worker::runtime::clock::{self, Patience};

/// The work that requests share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum SharedWork {
    /// Fetching a snapshot.
    Snapshot(SnapshotKey),
    /// Reading the feed.
    Feed,
    /// Verifying the signature of a token with this digest.
    Signature([u8; 32]),
    /// Claiming more units for a lease, identified by the root and the counter.
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
    /// It has not ended within the time that this request may wait.
    TimedOut,
}

/// The error of a question to the gate that lacks data which cannot be fetched.
#[derive(Debug)]
pub(crate) struct Unavailable;

thread_local! {
    /// Work in progress, and work whose last attempt failed.
    static WORK: RefCell<FxHashMap<SharedWork, WorkState>> = RefCell::default();
}

/// Maximum number of entries. Beyond that, all are dropped, and work may be done twice.
const MAX_WORK: usize = 4_096;

/// Does `work` by `run`, or, if another request does it already, waits until that has ended.
pub(crate) async fn coalesce(
    work: SharedWork,
    patience: Patience,
    run: impl Future<Output = Result<(), String>>,
) -> Ended {
    let mut waited = false;
    loop {
        match WORK.with_borrow(|all| all.get(&work).copied()) {
            // Work that takes longer was probably cut off with the request that began it.
            Some(WorkState::UnderWay(begun)) if clock::now().since(begun) < REFRESH_INTERVAL_MS => {
                if !patience.pause(begun).await {
                    return Ended::TimedOut;
                }
            }
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
            Self::Signature(_) => String::from("signature"),
            Self::Lease(root, _) => format!("leases of `{root}`"),
        }
    }
}
