//! A certificate authority of the test's own, and a server certificate, for `localhost` and 127.0.0.1 unless a test names others.

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, SupportedProtocolVersion};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

/// An authority, its file, and what it signs.
pub struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub struct Identity {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Its key.
    pub key: KeyPair,
}

impl Identity {
    /// What a server with it is made from.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.server_of(rustls::ALL_VERSIONS)
    }

    /// The same, for these versions of TLS.
    pub fn server_of(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let config = ServerConfig::builder_with_protocol_versions(versions).with_no_client_auth();
        Arc::new(config.with_single_cert(vec![self.certificate.clone()], key).expect("the key is that of the certificate"))
    }
}

impl Authority {
    /// A new one.
    pub fn new() -> Authority {
        mailgather::net::install_crypto_provider();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Authority { folder, issuer: Issuer::new(params, key) }
    }

    /// Its own certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for a new key.
    pub fn sign(&self, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        Identity { certificate: params.signed_by(&key, &self.issuer).unwrap().der().clone(), key }
    }

    /// Certificates for `localhost` that a client of this authority must refuse, and what it says; `other` is another authority.
    pub fn wrong(&self, other: &Authority) -> Vec<(&'static str, Identity, &'static str)> {
        let with = |change: &dyn Fn(&mut CertificateParams)| {
            let mut params = for_names(&["localhost"]);
            change(&mut params);
            params
        };
        let self_signed = || {
            let key = KeyPair::generate().unwrap();
            Identity { certificate: for_names(&["localhost"]).self_signed(&key).unwrap().der().clone(), key }
        };
        let expired = with(&|params| (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1)));
        let early = with(&|params| (params.not_before, params.not_after) = (date_time_ymd(2090, 1, 1), date_time_ymd(2091, 1, 1)));
        let nul = with(&|params| params.subject_alt_names = vec![SanType::DnsName("localhost\0.evil.example".try_into().unwrap())]);
        let cn_only = with(&|params| {
            params.subject_alt_names = vec![];
            params.distinguished_name.push(DnType::CommonName, "localhost");
        });
        let authority_itself = with(&|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        // Terminal sequences and 8-bit text in a certificate reach no log (CVE-2010-0562).
        let hostile = with(&|params| {
            params.subject_alt_names = vec![SanType::DnsName("x\u{1b}[31m.example".try_into().unwrap())];
            params.distinguished_name.push(DnType::CommonName, "\u{1b}[31mö\u{202e}");
        });
        vec![
            ("wrong name", self.sign(for_names(&["imap.example.org"])), "not valid for this name"),
            ("expired", self.sign(expired), "expired"),
            ("not yet valid", self.sign(early), "not valid yet"),
            ("self-signed", self_signed(), "unknown issuer"),
            // Of the same name as the right one.
            ("wrong authority", other.sign(for_names(&["localhost"])), "the authority that it names did not sign it"),
            ("NUL in a name", self.sign(nul), "certificate"),
            ("a name in CN only", self.sign(cn_only), "not valid for this name"),
            ("an authority's own", self.sign(authority_itself), "CA certificate"),
            ("hostile text", self.sign(hostile), "certificate"),
        ]
    }
}

/// What a certificate for these names says.
pub fn for_names(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params
}
