//! The token that opens the API and the page: 256 random bits in `data/ark.token`, made at the first start, readable by its owner only.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The file's name in the data folder.
pub const FILE: &str = "ark.token";

/// The secret that lets a program or a browser in.
#[derive(Clone)]
pub struct Token {
    token: String,
    session: String,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(secret)")
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read or made.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is there and holds nothing that can serve.
    #[error("{path}: holds no token of at least 32 letters and digits; remove it and start again to get a new one", path = path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
    },
    /// Others may read the file.
    #[error("{path}: others on this machine may read it; run `chmod 600 {path}`", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no randomness.
    #[error("the system gave no random bytes: {0}")]
    Random(String),
}

impl Token {
    /// Reads the token of a data folder, and makes folder and token when they are missing.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn load_or_create(data: &Path) -> Result<Self, TokenError> {
        let path = data.join(FILE);
        let failed = |error| TokenError::File { path: path.clone(), error };
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let mode = std::fs::metadata(&path).map_err(failed)?.permissions().mode();
                if mode & 0o077 != 0 {
                    return Err(TokenError::Open { path });
                }
                Self::new(text.trim()).ok_or(TokenError::Unusable { path })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(data).map_err(failed)?;
                let mut bytes = [0_u8; 32];
                getrandom::fill(&mut bytes).map_err(|error| TokenError::Random(error.to_string()))?;
                let token = hex(&bytes);
                let mut file =
                    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
                let written = file.write_all(format!("{token}\n").as_bytes()).and_then(|()| file.sync_all());
                if let Err(error) = written {
                    // Half a token (a full disk) would stand in the way of the next start.
                    let _ = std::fs::remove_file(&path);
                    return Err(failed(error));
                }
                Self::new(&token).ok_or(TokenError::Unusable { path })
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// A token from its text: at least 32 letters and digits.
    pub fn new(text: &str) -> Option<Self> {
        if text.len() < 32 || !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        // The cookie holds a value derived from the token: who reads a browser's cookie file does not get the token.
        let session = hex(&Sha256::digest(format!("ark page session v1:{text}")));
        Some(Self { token: text.to_owned(), session })
    }

    /// The text, for the link that is printed at start.
    pub fn reveal(&self) -> &str {
        &self.token
    }

    /// What the page's cookie holds.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// Whether a presented token is this one, in time that does not depend on where they differ.
    pub fn is(&self, presented: &str) -> bool {
        self.token.as_bytes().ct_eq(presented.as_bytes()).into()
    }

    /// Whether a presented cookie is this token's, in time that does not depend on where they differ.
    pub fn is_session(&self, presented: &str) -> bool {
        self.session.as_bytes().ct_eq(presented.as_bytes()).into()
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
