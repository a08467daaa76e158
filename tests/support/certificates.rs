//! A certificate authority of the test's own, and a server certificate, for `localhost` and 127.0.0.1 unless a test names others.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use std::path::{Path, PathBuf};

/// Where the files are.
pub struct Certificates {
    /// What a client must trust.
    pub ca: PathBuf,
    /// The server's chain.
    pub certificate: PathBuf,
    /// The server's key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them in `folder`.
    pub fn make(folder: &Path) -> Certificates {
        Certificates::of(folder, &["localhost", "127.0.0.1"])
    }

    /// The same for other names and addresses.
    pub fn of(folder: &Path, names: &[&str]) -> Certificates {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut authority = CertificateParams::new(Vec::<String>::new()).expect("no names, so none is bad");
        authority.distinguished_name.push(DnType::CommonName, "mailgather test authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_key = KeyPair::generate().expect("a key");
        let authority_certificate = authority.self_signed(&authority_key).expect("a certificate of the authority");
        let issuer = Issuer::new(authority, authority_key);

        let mut server = CertificateParams::new(names).expect("the names are good");
        server.distinguished_name.push(DnType::CommonName, "localhost");
        let server_key = KeyPair::generate().expect("a key");
        let server_certificate = server.signed_by(&server_key, &issuer).expect("a certificate of the server");

        let put = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("a file of the temporary folder");
            path
        };
        Certificates {
            ca: put("ca.pem", authority_certificate.pem()),
            certificate: put("server.pem", server_certificate.pem()),
            key: put("server.key", server_key.serialize_pem()),
        }
    }
}
