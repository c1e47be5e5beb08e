//! API keys (`tg_live_…`, `tg_test_…`) and their records. The key itself is shown once, when it is
//! issued, and never stored. The record holds only its hash.

use serde_json::Value;
use subtle::ConstantTimeEq as _;

use super::bounds::{MAX_RECORD_BYTES, MAX_SCOPES};
use super::secret_text::{ENTROPY_BYTES, SecretText};
use super::{Epoch, KeyId, Problems, Read, Reader, Scope, TenantId, UnixMillis, choice, document};

choice! {
    /// The environment of an API key or a deployment. A key works only in deployments of its own.
    pub enum Environment {
        /// Production.
        Live = "live",
        /// Testing.
        Test = "test",
    }
}

document! {
    /// The record of an API key.
    pub struct ApiKey {
        /// The id: the public part of the key.
        id: KeyId,
        /// The tenant that the key belongs to.
        tenant: TenantId,
        /// SHA-256 of the whole key, in hexadecimal.
        hash: KeyHash,
        /// The environment in which the key works. Default `live`.
        environment: Environment = Environment::Live,
        /// What the key allows.
        scopes: Vec<Scope> = Vec::new(),
        /// Display name. Not interpreted.
        name: Option<String> = None,
        /// When the key was issued.
        created_at: UnixMillis,
        /// When the key expires, exclusive. Default: never. A replaced key keeps working until this
        /// time.
        expires_at: Option<UnixMillis> = None,
        /// When the key was revoked. It does not work from this time on.
        revoked_at: Option<UnixMillis> = None,
        /// Grows with every publication of this record.
        epoch: Epoch = Epoch(1),
    } => ApiKey::check
}

/// SHA-256 of a key. Compared in constant time and never printed by `Debug`.
#[derive(Clone, Copy, Eq)]
pub struct KeyHash([u8; 32]);

/// A key that a request presents: well-formed, but not verified.
#[derive(Clone)]
pub struct PresentedKey<'a> {
    secret: SecretText<&'a str>,
    /// The environment that the key's prefix claims.
    pub environment: Environment,
    /// The id.
    pub id: KeyId,
}

/// A newly issued key. `text` goes to its holder and nowhere else. `record` is published.
pub struct IssuedKey {
    /// The key. Never stored.
    pub text: String,
    /// The record to store.
    pub record: ApiKey,
}

impl<'a> PresentedKey<'a> {
    /// Parses a key. Returns `None` if it is malformed.
    pub fn parse(text: &'a str) -> Option<Self> {
        [Environment::Live, Environment::Test].into_iter().find_map(|environment| {
            let secret = SecretText::parse(text, environment.prefix())?;
            Some(Self { environment, id: secret.id().clone(), secret })
        })
    }

    /// Whether the checksum is correct. Mistyped and made-up keys are rejected without a lookup.
    pub fn is_whole(&self) -> bool {
        self.secret.is_whole()
    }

    fn hash(&self) -> KeyHash {
        KeyHash(self.secret.digest())
    }
}

impl Environment {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Live => "tg_live_",
            Self::Test => "tg_test_",
        }
    }
}

impl ApiKey {
    /// The approximate number of bytes that the record occupies in memory.
    pub(crate) fn bytes(&self) -> usize {
        let scopes = self.scopes.iter().map(|scope| scope.as_str().len().saturating_add(size_of::<Scope>()));
        // The credential made from the record holds the scopes again.
        let own = scopes.fold(0_usize, usize::saturating_add).saturating_mul(2);
        own.saturating_add(self.name.as_ref().map_or(0, String::len))
            .saturating_add(size_of::<Self>().saturating_mul(2))
    }

    /// Parses a record.
    ///
    /// # Errors
    /// All problems, each with its JSON path.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        Reader::run(|r| {
            let value = r.json(text, MAX_RECORD_BYTES)?;
            Self::read(&value, r)
        })
    }

    /// Issues a key for a tenant from randomness that the caller provides. The caller adds scopes,
    /// name and expiry. Returns `None` if the randomness is unusable.
    ///
    /// # Examples
    /// ```
    /// use tenantgate::model::{ApiKey, Environment, PresentedKey, TenantId, UnixMillis};
    /// let entropy = [7; 96]; // from the platform's generator, never this
    /// let tenant = TenantId::parse("t_acme").unwrap();
    /// let now = UnixMillis::new(0);
    /// let issued = ApiKey::issue(tenant, Environment::Live, &entropy, now).unwrap();
    /// assert!(issued.text.starts_with("tg_live_"));
    /// assert!(issued.record.is(&PresentedKey::parse(&issued.text).unwrap()));
    /// ```
    pub fn issue(
        tenant: TenantId,
        environment: Environment,
        entropy: &[u8; ENTROPY_BYTES],
        now: UnixMillis,
    ) -> Option<IssuedKey> {
        let secret = SecretText::make(environment.prefix(), entropy)?;
        let record = Self {
            id: secret.id().clone(),
            tenant,
            hash: KeyHash(secret.digest()),
            environment,
            scopes: Vec::new(),
            name: None,
            created_at: now,
            expires_at: None,
            revoked_at: None,
            epoch: Epoch(1),
        };
        Some(IssuedKey { text: secret.into_text(), record })
    }

    /// Whether a presented key is this key. Compares in constant time.
    pub fn is(&self, presented: &PresentedKey<'_>) -> bool {
        self.hash == presented.hash()
    }

    /// The reason why the key does not work at `now`, or `None` if it works.
    pub fn refusal(&self, environment: Environment, now: UnixMillis) -> Option<&'static str> {
        if self.environment != environment {
            Some("the API key is for another environment")
        } else if self.revoked_at.is_some_and(|at| at <= now) {
            Some("the API key was revoked")
        } else if self.expires_at.is_some_and(|at| at <= now) {
            Some("the API key has expired")
        } else {
            None
        }
    }

    /// The same key, expiring at `until` at the latest. A replaced key is retired this way, so that
    /// its holder has time to switch.
    #[must_use]
    pub fn retired(mut self, until: UnixMillis) -> Self {
        self.expires_at = Some(self.expires_at.map_or(until, |at| at.min(until)));
        self.epoch = Epoch(self.epoch.0.saturating_add(1));
        self
    }

    fn check(&self, r: &mut Reader) {
        r.at("scopes", |r| r.at_most(self.scopes.len(), MAX_SCOPES));
    }
}

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl std::fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

impl std::fmt::Display for KeyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Read for KeyHash {
    fn read(value: &Value, r: &mut Reader) -> Option<Self> {
        let text = value
            .as_str()
            .filter(|text| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        let Some(text) = text else {
            return r.refuse("an invalid hash", "the SHA-256 of the key: 64 lower-case hexadecimal digits");
        };
        let mut hash = [0; 32];
        for (index, byte) in hash.iter_mut().enumerate() {
            let start = index.saturating_mul(2);
            *byte = text.get(start..start.saturating_add(2)).and_then(|digits| u8::from_str_radix(digits, 16).ok())?;
        }
        Some(Self(hash))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for KeyHash {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "KeyHash".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{64}$" })
    }
}
