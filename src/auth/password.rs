//! A password as it is kept: Argon2 in the PHC string format, `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`.

use std::fmt;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Argon2, Params};

/// Octets of a password. A longer one is refused unread: hashing takes time.
pub const LONGEST: usize = 1_024;

/// Octets of salt.
pub const SALT: usize = 16;

/// KiB that one check may take: what is beyond it is a slip in the configuration, not a choice.
const MOST_MEMORY: u32 = 1 << 20;

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

    /// Whether it is this one. Takes as long as its parameters say, whatever the answer.
    pub fn is(&self, password: &str) -> bool {
        PasswordHash::new(&self.0)
            .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
    }

    /// The PHC string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
