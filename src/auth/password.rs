//! A password as it is kept: Argon2 in the PHC string format, `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`.

use std::fmt;

use argon2::password_hash::{Output, PasswordHash, PasswordHasher, Salt, SaltString};
use argon2::{Argon2, Block, Params};

/// Octets of a password. A longer one is refused unread: hashing takes time.
pub const LONGEST: usize = 1_024;

/// Octets of salt.
pub const SALT: usize = 16;

/// KiB that one check may take: what is beyond it is a slip in the configuration, not a choice.
const MOST_MEMORY: u32 = 1 << 20;

/// The version of a hash that does not name it.
const DEFAULT_VERSION: u32 = 0x10;

/// What checks are made in, one after the other: as much as the largest has needed.
#[derive(Default)]
pub struct Memory(Vec<Block>);

/// A hashed password. It is what the configuration says, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Box<str>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Password").finish_non_exhaustive()
    }
}

impl Password {
    /// Reads a PHC string.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Password, String> {
        let hash = PasswordHash::new(text).map_err(|error| error.to_string())?;
        argon2::Algorithm::try_from(hash.algorithm).map_err(|_| format!("{} is not argon2", hash.algorithm))?;
        let params = Params::try_from(&hash).map_err(|error| error.to_string())?;
        if hash.salt.is_none() || hash.hash.is_none() {
            return Err("salt or hash is missing".to_owned());
        }
        if params.m_cost() > MOST_MEMORY {
            return Err(format!(
                "m={} is more than {MOST_MEMORY} KiB for each check",
                params.m_cost()
            ));
        }
        Ok(Password(text.into()))
    }

    /// Hashes a password as OWASP advises: Argon2id, 19 MiB, two passes. Takes some 20 ms of one core.
    ///
    /// # Errors
    /// It is empty, or longer than [`LONGEST`].
    pub fn of(password: &str, salt: [u8; SALT]) -> Result<Password, String> {
        Password::with(Params::default(), password, salt)
    }

    pub(super) fn with(params: Params, password: &str, salt: [u8; SALT]) -> Result<Password, String> {
        if password.is_empty() {
            return Err("an empty password".to_owned());
        }
        if password.len() > LONGEST {
            return Err(format!("a password of more than {LONGEST} octets"));
        }
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let salt = SaltString::encode_b64(&salt).map_err(|error| error.to_string())?;
        let hash = argon2
            .hash_password(password.as_bytes(), &salt)
            .map_err(|error| error.to_string())?;
        Ok(Password(hash.to_string().into()))
    }

    /// Whether it is this one. Takes as long as its parameters say, whatever the answer, and as much of `memory`, which
    /// can be used again.
    pub fn is(&self, password: &str, memory: &mut Memory) -> bool {
        self.check(password, memory).unwrap_or(false)
    }

    fn check(&self, password: &str, memory: &mut Memory) -> Option<bool> {
        let kept = PasswordHash::new(&self.0).ok()?;
        let algorithm = argon2::Algorithm::try_from(kept.algorithm).ok()?;
        let version = argon2::Version::try_from(kept.version.unwrap_or(DEFAULT_VERSION)).ok()?;
        let params = Params::try_from(&kept).ok()?;
        let (mut salt, expected) = ([0; Salt::MAX_LENGTH], kept.hash?);
        let salt = kept.salt?.decode_b64(&mut salt).ok()?;
        if memory.0.len() < params.block_count() {
            memory.0.resize(params.block_count(), Block::default());
        }
        let mut found = [0; Output::MAX_LENGTH];
        let found = found.get_mut(..expected.len())?;
        let argon2 = Argon2::new(algorithm, version, params);
        argon2
            .hash_password_into_with_memory(password.as_bytes(), salt, found, &mut memory.0)
            .ok()?;
        // Compared in a time that does not tell where they differ.
        Some(Output::new(found).ok()? == expected)
    }

    /// The PHC string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
