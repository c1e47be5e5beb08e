//! The body of `POST /_gate/v1/decide`, as parsed and checked from JSON.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::gate::{Ask, Intent, Waiting};
use crate::ledger::CounterOp;
use crate::model::bounds::{DEFAULT_HOLD_MS, MAX_ATTRIBUTES, MAX_BODY_BYTES, MAX_HOLD_MS, MAX_IDEMPOTENCY_KEY_BYTES};
use crate::model::{Problems, Quantity, Read, Reader, document, parse_quantity};
use crate::resolve::{Attribute, Custom, EvalContext, Request};

document! {
    /// Asks for the decision on a request, or on a tenant: which tenant it is, what it may use and
    /// how much is left. Contains either `tenant` or the facts of a request.
    pub struct DecideBody {
        /// The id of a tenant that the caller vouches for. Signals are not read and no route
        /// applies.
        tenant: Option<String> = None,
        /// The request's method. Default `GET`.
        method: String = String::from("GET"),
        /// The request's host.
        host: String = String::new(),
        /// The request's path, normalised. Default `/`.
        path: String = String::from("/"),
        /// The request's query string, without `?`.
        query: String = String::new(),
        /// The request's headers.
        headers: BTreeMap<String, String> = BTreeMap::new(),
        /// The result of the caller's own resolver, for the `custom` strategy. Default: the
        /// strategy finds no signal.
        custom: Option<String> = None,
        /// The features to evaluate.
        features: Vec<String> = Vec::new(),
        /// Whether to evaluate every feature. Default false.
        all_features: bool = false,
        /// Operations on limits, which replace those of the route: a number takes units,
        /// `{"release": 1}` and `{"set": 5}` change a gauge.
        limits: BTreeMap<String, LimitOp> = BTreeMap::new(),
        /// Whether to report every limit as it stands, also those that nothing is taken from.
        /// Default false.
        all_limits: bool = false,
        /// Attributes for rules: text, numbers, booleans.
        context: BTreeMap<String, Value> = BTreeMap::new(),
        /// Whether this is a dry run: it decides in the same way and takes nothing. Default false.
        look: bool = false,
        /// The request takes from the tenant's ledger once, however often it is sent under this
        /// key: 1 to 255 visible ASCII characters except `"` and `\\`. A key is kept for at least a
        /// day. Limits that isolates count alone (`mode: local`) are charged every time.
        idempotency_key: Option<String> = None,
        /// Sets the units of `limits` and the route aside instead of taking them, until they are
        /// settled; for work whose cost is known later. A repetition under the same id returns the
        /// same reservation.
        reserve: Option<Reserve> = None,
        /// Settles the reservation, or the slots, with this id. `limits` states the units that were
        /// used, which may be more or fewer than were set aside; limits that it does not name have
        /// used none. Status, features and limits never refuse it, because the use has already
        /// happened.
        settle: Option<String> = None,
        /// Whether to add the trace. Default false.
        explain: bool = false,
    }
}

document! {
    /// A reservation.
    pub struct Reserve {
        /// The reservation's name, unique within the tenant. It is an idempotency key and has its
        /// syntax.
        id: String,
        /// Milliseconds after which the reservation expires and its units are free again: 1 to
        /// 86400000. Default 60000.
        for_ms: Option<Quantity> = None,
        /// Whether an open reservation of this `id` is changed to the units of this request, and
        /// lasts `for_ms` from now on; for work that goes on. If the limits refuse that, it stays
        /// as it is. Default false.
        renew: bool = false,
    } => Reserve::check
}

impl Reserve {
    fn check(&self, r: &mut Reader) {
        check_key(&self.id, "id", r);
        if let Some(Quantity(millis)) = self.for_ms.filter(|millis| millis.0 == 0 || millis.0 > MAX_HOLD_MS) {
            r.at("for_ms", |r| r.problem(millis.to_string(), format!("1 to {MAX_HOLD_MS}")));
        }
    }
}

/// An operation on a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitOp(pub CounterOp);

impl Read for LimitOp {
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        let only = value.as_object().filter(|members| members.len() == 1).and_then(|members| members.iter().next());
        let op = match only {
            Some((name, value)) if name == "release" => parse_quantity(value).map(CounterOp::Release),
            Some((name, value)) if name == "set" => parse_quantity(value).map(CounterOp::Set),
            Some(_) => None,
            None => parse_quantity(value).map(CounterOp::Take),
        };
        op.map(Self).or_else(|| reader.unexpected(value, "a whole number, {\"release\": n} or {\"set\": n}"))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for LimitOp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LimitOp".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let quantity = generator.subschema_for::<crate::model::Quantity>();
        let member = |name: &str| serde_json::json!({ "type": "object", "properties": { name: quantity }, "required": [name], "additionalProperties": false });
        schemars::json_schema!({ "anyOf": [quantity, member("release"), member("set")] })
    }
}

/// The parts of a body that borrow from it.
#[derive(Debug)]
pub struct Borrowed<'a> {
    features: Vec<&'a str>,
    limits: Vec<(&'a str, CounterOp)>,
    headers: Vec<(&'a str, &'a str)>,
    context: Vec<(&'a str, Attribute<'a>)>,
}

impl DecideBody {
    /// Parses and checks a body.
    ///
    /// # Errors
    /// All problems, each with its JSON path.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        Reader::run(|r| {
            // The parts of a request have their own bounds, checked where they are read.
            r.take_texts_of(MAX_BODY_BYTES);
            let value = r.json(text, MAX_BODY_BYTES)?;
            let mut body = Self::read(&value, r)?;
            for (name, value) in std::mem::take(&mut body.headers) {
                if body.headers.insert(name.to_ascii_lowercase(), value).is_some() {
                    r.at("headers", |r| r.problem(format!("`{name}` twice"), "each header once, in any case"));
                }
            }
            for (key, at) in [(&body.idempotency_key, "idempotency_key"), (&body.settle, "settle")] {
                if let Some(key) = key {
                    check_key(key, at, r);
                }
            }
            let names = [body.idempotency_key.is_some(), body.reserve.is_some(), body.settle.is_some()];
            if names.into_iter().filter(|given| *given).count() > 1 {
                r.problem("more than one of them", "at most one of `idempotency_key`, `reserve` and `settle`");
            }
            if body.settle.is_some() && body.limits.values().any(|op| !matches!(op.0, CounterOp::Take(_))) {
                r.at("limits", |r| r.problem("`release` or `set`", "whole numbers: the units used"));
            }
            r.at("context", |r| {
                r.at_most(body.context.len(), MAX_ATTRIBUTES);
                for (key, value) in &body.context {
                    if attribute(value).is_none() {
                        r.at(key, |r| r.unexpected::<()>(value, "text, a number or a boolean"));
                    }
                }
            });
            Some(body)
        })
    }

    /// Returns the parts that [`Self::request`] and [`Self::ask`] need.
    pub fn borrow(&self) -> Borrowed<'_> {
        Borrowed {
            features: self.features.iter().map(String::as_str).collect(),
            limits: self.limits.iter().map(|(key, op)| (key.as_str(), op.0)).collect(),
            headers: self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            context: self.context.iter().filter_map(|(key, value)| Some((key.as_str(), attribute(value)?))).collect(),
        }
    }

    /// Returns the facts of the request.
    pub fn request<'a>(&'a self, borrowed: &'a Borrowed<'a>, place: Option<&'a str>) -> Request<'a> {
        Request {
            preflights: false,
            method: &self.method,
            host: &self.host,
            path: &self.path,
            query: &self.query,
            headers: &borrowed.headers,
            custom: self.custom.as_deref().map_or(Custom::Nobody, Custom::Named),
            place,
            context: EvalContext::Named(&borrowed.context),
            explain: self.explain,
        }
    }

    fn intent(&self) -> Intent<'_> {
        if let Some(reserve) = &self.reserve {
            let for_ms = reserve.for_ms.map_or(DEFAULT_HOLD_MS, |millis| millis.0);
            return Intent::Reserve { id: &reserve.id, for_ms, renewal: reserve.renew.then_some(0) };
        }
        match (&self.settle, &self.idempotency_key) {
            (Some(id), _) => Intent::Settle { id },
            (None, Some(key)) => Intent::Once { key },
            (None, None) => Intent::Decide,
        }
    }

    /// Returns what the caller asks for in addition to the route.
    pub fn ask<'a>(&'a self, borrowed: &'a Borrowed<'a>) -> Ask<'a> {
        Ask {
            tenant: self.tenant.as_deref(),
            features: &borrowed.features,
            all_features: self.all_features,
            limits: &borrowed.limits,
            all_limits: self.all_limits,
            dry_run: self.look,
            intent: self.intent(),
            waiting: Waiting::default(),
        }
    }
}

fn check_key(key: &str, at: &str, r: &mut Reader) {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY_BYTES || !key.bytes().all(plain) {
        r.at(at, |r| {
            let expected = format!("1 to {MAX_IDEMPOTENCY_KEY_BYTES} visible ASCII characters except `\"` and `\\`");
            r.problem(format!("{} bytes", key.len()), expected);
        });
    }
}

pub(super) fn attribute(value: &Value) -> Option<Attribute<'_>> {
    match value {
        Value::String(text) => Some(Attribute::Text(text)),
        Value::Number(number) => number.as_f64().map(Attribute::Number),
        Value::Bool(value) => Some(Attribute::Bool(*value)),
        _ => None,
    }
}
