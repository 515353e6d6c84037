//! Certificates of a test: an authority of its own, and what it has signed, as PEM files.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::folder::Folder;

/// A certificate authority, whose files live as long as it does.
#[derive(Debug)]
pub struct Authority {
    folder: Folder,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that an authority has signed.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

impl Authority {
    /// An authority that nobody else knows.
    pub fn new() -> Authority {
        let folder = Folder::new("authority");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, "Trailhound test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        folder.write("ca.pem", certificate.pem());
        Authority { folder, issuer: Issuer::new(params, key) }
    }

    /// The file of its own certificate, PEM: what a client must trust.
    pub fn file(&self) -> PathBuf {
        self.path().join("ca.pem")
    }

    /// A certificate for servers of these names, which may be addresses.
    pub fn server(&self, names: &[&str]) -> Certificate {
        self.sign(names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate for a client of this name.
    pub fn client(&self, name: &str) -> Certificate {
        self.sign(&[name], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn sign(&self, names: &[&str], usage: ExtendedKeyUsagePurpose) -> Certificate {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).expect("names");
        params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or_default());
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let serial = std::fs::read_dir(self.path()).expect("the folder").count();
        Certificate {
            certificate: self.folder.write(&format!("{serial}.pem"), certificate.pem()),
            key: self.folder.write(&format!("{serial}.key"), key.serialize_pem()),
        }
    }
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}
