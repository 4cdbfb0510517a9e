//! A private SSH key that approves a plan.

use ssh_key::private::Ed25519Keypair;
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey};

use super::{NAMESPACE, Signers};
use crate::error::{Error, Result};
use crate::model::PlanHash;

/// An ed25519 key in OpenSSH's format; encrypted till it is unlocked.
pub struct Key {
    key: PrivateKey,
    name: String,
}

impl Key {
    /// Reads the text of a key file; `name` is for messages.
    pub fn parse(text: &[u8], name: &str) -> Result<Self> {
        let unable = || Error::usage(format!("unable to use key '{name}'"));
        let key = PrivateKey::from_openssh(text).map_err(|error| {
            unable().because(error).hint("a private key in OpenSSH's format: ssh-keygen -t ed25519")
        })?;
        if key.algorithm() != Algorithm::Ed25519 {
            return Err(Error::usage(format!("unable to use key '{name}': it is of type {}", key.algorithm()))
                .hint("approve with an ed25519 key; a key on a token signs with ssh-keygen -Y sign (docs/approvals.md)"));
        }
        Ok(Self { key, name: name.to_owned() })
    }

    /// The key of a secret that nobody else knows; `name` is whose it is.
    pub fn from_secret(secret: &[u8; 32], name: &str) -> Result<Self> {
        let key = PrivateKey::new(Ed25519Keypair::from_seed(secret).into(), name)
            .map_err(|error| Error::bug(format!("unable to make key '{name}'")).because(error))?;
        Ok(Self { key, name: name.to_owned() })
    }

    /// The public key, as it stands in a file of allowed signers.
    pub fn public(&self) -> Result<String> {
        let text = self.key.public_key().to_openssh();
        text.map_err(|error| Error::bug(format!("key '{}' cannot be written", self.name)).because(error))
    }

    /// Whether it takes a passphrase.
    pub fn is_encrypted(&self) -> bool {
        self.key.is_encrypted()
    }

    /// The key, decrypted.
    pub fn unlock(self, passphrase: &str) -> Result<Self> {
        let key = self.key.decrypt(passphrase).map_err(|_| {
            Error::usage(format!("unable to decrypt key '{}': the passphrase is wrong", self.name))
        })?;
        Ok(Self { key, ..self })
    }

    /// Whose key it is.
    pub fn owners<'a>(&self, signers: &'a Signers) -> Vec<&'a str> {
        signers.owners(self.key.public_key().key_data()).into_iter().collect()
    }

    /// SHA-256 fingerprint.
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(HashAlg::Sha256).to_string()
    }

    /// The armoured signature of a plan.
    pub fn sign(&self, plan: &PlanHash) -> Result<String> {
        let signed = self.key.sign(NAMESPACE, HashAlg::Sha512, plan.as_str().as_bytes());
        signed
            .and_then(|signature| signature.to_pem(LineEnding::LF))
            .map_err(|error| Error::usage(format!("unable to sign with key '{}'", self.name)).because(error))
    }
}
