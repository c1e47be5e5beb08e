//! The buffer through which decisions pass: words and texts in, numbers out.

use smallvec::SmallVec;

use crate::gate::{Ask, Decision, LocalGate};
use crate::model::UnixMillis;
use crate::model::bounds::{MAX_ASKED_FEATURES, MAX_CHARGES};
use crate::resolve::{Attribute, Custom, Request};

/// Words: lengths of texts, numbers of features, kinds of attributes.
pub(super) const WORDS: usize = 512;
/// Bytes of text: what a request may carry by the bounds of the model, with room to spare.
pub(super) const BYTES: usize = 65_536;
/// Numbers of an answer.
pub(super) const RESULTS: usize = HEAD + PER_FEATURE * (MAX_ASKED_FEATURES + 1) + PER_LIMIT * MAX_CHARGES;
/// Numbers before the first feature: tenant, milliseconds to wait, whether there is a credential.
const HEAD: usize = 3;
/// Numbers per feature: its number, whether it is on, its value (1 true, 0 false, 2 ask), its tier.
const PER_FEATURE: usize = 4;
/// Numbers per limit: number of the limit, limit, used, remaining, milliseconds to reset.
const PER_LIMIT: usize = 5;

/// Names that JavaScript says by number.
#[derive(Default)]
pub(super) struct Names {
    /// Headers that strategies read.
    pub(super) headers: Vec<String>,
    /// Attributes that rules read.
    pub(super) attributes: Vec<String>,
}

/// Three regions of memory that JavaScript reads and writes in place; they never move.
pub(super) struct Buffer {
    words: Box<[u32]>,
    text: Box<[u8]>,
    results: Box<[f64]>,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { words: vec![0; WORDS].into(), text: vec![0; BYTES].into(), results: vec![0.0; RESULTS].into() }
    }
}

/// Takes one thing after the other from the buffer. What was not written reads as empty.
struct Cursor<'a> {
    words: std::slice::Iter<'a, u32>,
    text: &'a str,
}

impl<'a> Cursor<'a> {
    fn word(&mut self) -> u32 {
        self.words.next().copied().unwrap_or(0)
    }

    fn text(&mut self) -> &'a str {
        let length = usize::try_from(self.word()).unwrap_or(usize::MAX);
        let Some((text, rest)) = self.text.split_at_checked(length) else { return "" };
        self.text = rest;
        text
    }

    fn number(&mut self) -> f64 {
        let (low, high) = (u64::from(self.word()), u64::from(self.word()));
        f64::from_bits(low | high << 32)
    }
}

/// The length of a text that is not there.
const ABSENT: u32 = u32::MAX;

impl Buffer {
    pub(super) fn words(&self) -> *const u32 {
        self.words.as_ptr()
    }

    pub(super) fn text(&self) -> *const u8 {
        self.text.as_ptr()
    }

    pub(super) fn results(&self) -> *const f64 {
        self.results.as_ptr()
    }

    /// Decides what stands in the buffer: flags, method, host, path, query, headers, context, features.
    pub(super) fn decide(&self, length: usize, gate: &mut LocalGate, names: &Names, now: UnixMillis) -> Box<Decision> {
        // JavaScript's encoder writes nothing but UTF-8; if ever it does, there is no text.
        let text = self.text.get(..length).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
        let mut cursor = Cursor { words: self.words.iter(), text };
        let flags = cursor.word();
        let (method, host, path, query) = (cursor.text(), cursor.text(), cursor.text(), cursor.text());
        let mut present: SmallVec<[(&str, &str); 4]> = SmallVec::new();
        for name in &names.headers {
            if cursor.words.as_slice().first() == Some(&ABSENT) {
                cursor.word();
            } else {
                present.push((name.as_str(), cursor.text()));
            }
        }
        let count = usize::try_from(cursor.word()).unwrap_or(0).min(WORDS);
        let mut context: SmallVec<[(&str, Attribute<'_>); 8]> = SmallVec::new();
        for _ in 0..count {
            let name = usize::try_from(cursor.word())
                .ok()
                .and_then(|name| names.attributes.get(name))
                .map_or("", String::as_str);
            let value = match cursor.word() {
                0 => Attribute::Text(cursor.text()),
                1 => Attribute::Number(cursor.number()),
                kind => Attribute::Bool(kind == 2),
            };
            context.push((name, value));
        }
        let count = usize::try_from(cursor.word()).unwrap_or(0).min(WORDS);
        let mut features: SmallVec<[&str; 8]> = SmallVec::new();
        for _ in 0..count {
            features.push(cursor.text());
        }
        let request = Request {
            method,
            host,
            path,
            query,
            headers: &present,
            custom: Custom::Nobody,
            context: &context,
            ..Request::default()
        };
        let ask = Ask { features: &features, look: flags & 1 != 0, ..Ask::default() };
        gate.decide(&request, &ask, now)
    }

    /// Writes the answer as numbers, with the caller's; see [`super::Gate::decide`] for what is returned.
    #[expect(clippy::cast_precision_loss, reason = "quantities stay below 2^53 (MAX_QUANTITY)")]
    pub(super) fn answer(&mut self, decision: &Decision, caller: f64) -> u32 {
        let Self { results, .. } = self;
        let mut put = results.iter_mut();
        let mut write = |number: f64| {
            if let Some(slot) = put.next() {
                *slot = number
            }
        };
        write(decision.tenant.as_ref().map_or(0.0, |tenant| f64::from(tenant.serial())));
        write(decision.retry_after_ms.map_or(-1.0, |millis| millis as f64));
        write(caller);
        for answer in &decision.features {
            write(answer.id.map_or(-1.0, f64::from));
            write(f64::from(u8::from(answer.enabled)));
            write(answer.value.as_bool().map_or(2.0, |value| f64::from(u8::from(value))));
            write(f64::from(answer.tier as u8));
        }
        for gauged in &decision.limits {
            write(f64::from(gauged.budget.id));
            write(gauged.verdict.and_then(|verdict| verdict.limit).map_or(-1.0, |limit| limit as f64));
            write(gauged.verdict.map_or(-1.0, |verdict| verdict.used as f64));
            write(gauged.verdict.map_or(-1.0, |verdict| verdict.remaining as f64));
            write(gauged.verdict.map_or(-1.0, |verdict| verdict.reset_ms as f64));
        }
        let count = |number: usize| u32::try_from(number).unwrap_or(0);
        // INVARIANT (packing): MAX_ASKED_FEATURES and MAX_CHARGES stay below 4096.
        decision.code.index() | count(decision.features.len()) << 8 | count(decision.limits.len()) << 20
    }
}
