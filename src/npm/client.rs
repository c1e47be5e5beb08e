//! The features of one tenant, for use in a page.

use serde::Serialize;
use wasm_bindgen::prelude::*;

use super::json;
use crate::flags::{AnswerId, ClientFlags};
use crate::model::UnixMillis;
use crate::wire::AnswerView;
use crate::wire::buffer::{self, Input, Outcomes};

/// The features of one tenant that depend on the evaluation context.
#[wasm_bindgen]
pub struct Client {
    flags: ClientFlags,
    input: Input,
    outcomes: Outcomes,
}

#[wasm_bindgen]
impl Client {
    /// Reads a client snapshot as JSON text. Throws the list of problems as JSON text.
    #[wasm_bindgen(constructor)]
    pub fn new(snapshot: &str) -> Result<Client, JsValue> {
        let flags = ClientFlags::parse(snapshot).map_err(|problems| json(&problems))?;
        Ok(Self { flags, input: Input::default(), outcomes: Outcomes::default() })
    }

    /// Returns the names as `{features, attributes}` in JSON text. The index of a name is its
    /// number in calls and results.
    pub fn keys(&self) -> String {
        #[derive(Serialize)]
        struct ClientNames<'a> {
            features: Vec<&'a str>,
            attributes: &'a [String],
        }
        let set = self.flags.set();
        json(&ClientNames { features: set.keys().collect(), attributes: set.attributes() })
    }

    /// Returns the addresses and lengths of the words, the text and the outcomes.
    pub fn buffer(&self) -> Vec<usize> {
        vec![
            self.input.words() as usize,
            buffer::WORDS,
            self.input.text() as usize,
            buffer::BYTES,
            self.outcomes.as_ptr() as usize,
            buffer::OUTCOMES,
        ]
    }

    /// Evaluates every feature for the context in the buffer, with `length` bytes of text. The
    /// context follows a name, which is ignored. Writes one outcome for each feature.
    pub fn evaluate(&mut self, length: usize, now_ms: f64) {
        let Self { flags, input, outcomes } = self;
        let (_, context) = input.name_and_context(length, flags.set());
        outcomes.write(flags.set().outcomes(flags.facts(&context, UnixMillis::from_js(now_ms))));
    }

    /// Returns the answer that an outcome denotes, as JSON text.
    pub fn outcome(&self, feature: u32, outcome: u32) -> String {
        json(&self.flags.answer(feature, AnswerId::from(outcome)).as_ref().map(AnswerView::from))
    }
}
