//! TLS with a certificate that is replaced while connections are served.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Size of a certificate's or a key's file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The files of a certificate, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate, and after it what leads to a root that AWS trusts.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Certificate {
    /// Whether it can be used.
    pub fn check(&self) -> Result<(), TlsError> {
        read(self).map(drop)
    }
}

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {error}\nhint: check the path and that this user may read it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        error: std::io::Error,
    },
    /// A file is no PEM, or holds something else.
    #[error("{}: {error}\nhint: a file in PEM, with `-----BEGIN …-----`", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// The reader's words.
        #[source]
        error: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not go together, or are of a kind that is not known.
    #[error("{} and {}: {error}", .files.certificate.display(), .files.key.display())]
    Pair {
        /// The files.
        files: Certificate,
        /// rustls' words.
        #[source]
        error: rustls::Error,
    },
}

/// What tells one version of the files from another.
type Version = [Option<(SystemTime, u64)>; 2];

/// The configuration in use, and the files it came from.
#[derive(Debug)]
pub(super) struct Tls {
    files: Certificate,
    current: ArcSwap<ServerConfig>,
}

/// Looks at the files again and again.
#[derive(Debug)]
pub(super) struct Watch {
    tls: Arc<Tls>,
    /// What was read last, well or badly.
    tried: Version,
    /// What the last look saw.
    seen: Version,
}

impl Tls {
    /// Reads the files.
    pub(super) fn load(files: &Certificate) -> Result<Tls, TlsError> {
        let current = ArcSwap::new(read(files)?);
        Ok(Tls { files: files.clone(), current })
    }

    /// What new connections are to use.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }
}

impl Watch {
    /// Watches the files of `tls`, beginning with the version `before`, which [`version`] saw before they were read.
    pub(super) fn new(tls: Arc<Tls>, before: Version) -> Watch {
        Watch { tls, tried: before, seen: before }
    }

    /// Looks once. Files that changed, and were the same at two looks, are read; when they are of no use the certificate
    /// in use stays. Gives whether there was a change, and what came of it.
    pub(super) fn look(&mut self) -> Option<Result<(), TlsError>> {
        let version = version(&self.tls.files);
        let settled = std::mem::replace(&mut self.seen, version) == version;
        if !settled || version == self.tried {
            return None;
        }
        self.tried = version;
        Some(read(&self.tls.files).map(|config| self.tls.current.store(config)))
    }
}

/// Which version of the files is there.
pub(super) fn version(files: &Certificate) -> Version {
    [&files.certificate, &files.key].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

fn read(files: &Certificate) -> Result<Arc<ServerConfig>, TlsError> {
    let pem = |path: &Path, error| TlsError::Pem { path: path.to_owned(), error };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read_file(&files.certificate)?).collect();
    let chain = chain.map_err(|error| pem(&files.certificate, error))?;
    let key = PrivateKeyDer::from_pem_slice(&read_file(&files.key)?).map_err(|error| pem(&files.key, error))?;
    let pair = |error| TlsError::Pair { files: files.clone(), error };
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth();
    // This compares the key with the certificate, so one that was replaced before the other is refused.
    let mut config = config.with_single_cert(chain, key).map_err(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |error| TlsError::Read { path: path.to_owned(), error };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > FILE_BYTES_MAX {
        return Err(failed(std::io::Error::other(format!("{size} bytes, over the limit of {FILE_BYTES_MAX}"))));
    }
    std::fs::read(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Folder, certificate};
    use super::*;

    fn same(tls: &Tls, before: &Arc<ServerConfig>) -> bool {
        Arc::ptr_eq(&tls.current(), before)
    }

    #[test]
    fn a_new_certificate_is_taken_and_a_broken_one_is_not() {
        let folder = Folder::new("tls");
        let files = certificate(&folder, "localhost");
        let before = version(&files);
        let tls = Arc::new(Tls::load(&files).unwrap());
        let mut watch = Watch::new(Arc::clone(&tls), before);
        let first = tls.current();
        assert!(watch.look().is_none() && watch.look().is_none());

        certificate(&folder, "other.example");
        assert!(watch.look().is_none(), "it may be still being written");
        assert!(watch.look().unwrap().is_ok());
        assert!(!same(&tls, &first));
        let second = tls.current();

        std::fs::write(&files.key, "no key").unwrap();
        assert!(watch.look().is_none());
        assert!(matches!(watch.look(), Some(Err(TlsError::Pem { .. }))));
        assert!(watch.look().is_none(), "it is said once");
        std::fs::remove_file(&files.certificate).unwrap();
        assert!(watch.look().is_none());
        assert!(matches!(watch.look(), Some(Err(TlsError::Read { .. }))));
        assert!(same(&tls, &second));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (folder, other) = (Folder::new("tls-pair"), Folder::new("tls-other"));
        let files = certificate(&folder, "localhost");
        std::fs::copy(&certificate(&other, "localhost").key, &files.key).unwrap();
        assert!(matches!(Tls::load(&files), Err(TlsError::Pair { .. })));
        std::fs::write(&files.certificate, vec![b' '; (1 << 20) + 1]).unwrap();
        assert!(Tls::load(&files).unwrap_err().to_string().contains("over the limit"));
        std::fs::write(&files.certificate, "").unwrap();
        assert!(Tls::load(&files).is_err());
    }
}
