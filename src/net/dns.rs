//! Mail exchangers, mail access servers and addresses by DNS: a thin shell around the resolver library.

use crate::mail::Domain;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One look-up, all name servers and tries together.
const LIMIT: Duration = Duration::from_secs(5);
/// One try at one name server.
const TRY_LIMIT: Duration = Duration::from_secs(2);
/// Most mail exchangers of a domain that are read.
const MX_MAX: usize = 50;
/// Most servers of one service that are read.
const SRV_MAX: usize = 20;
/// Most addresses of a host that are read.
const ADDRESSES_MAX: usize = 8;
/// An answer is asked for again after this time: passes may follow each other within milliseconds.
const FRESH: Duration = Duration::from_secs(300);

/// Looks up mail exchangers and remembers them: while name servers do not answer, what they said last holds.
#[derive(Default)]
pub struct Dns {
    servers: Vec<SocketAddr>,
    known: Mutex<HashMap<Domain, (Instant, Vec<String>)>>,
}

/// Records cannot be looked up now.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the {records} records of {domain} cannot be looked up: {reason}")]
pub struct DnsError {
    /// Which.
    pub records: &'static str,
    /// Whose.
    pub domain: Domain,
    /// What the resolver said.
    pub reason: String,
}

/// A server that a domain names for a service (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceHost {
    /// Its name.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Dns {
    /// With these name servers; none: those of the system.
    pub fn new(servers: &[SocketAddr]) -> Self {
        Dns { servers: servers.to_vec(), known: Mutex::default() }
    }

    /// The hosts that take this domain's mail (RFC 5321 §5.1), the first choice first. A domain without MX records takes it itself.
    pub async fn mx(&self, domain: &Domain) -> Result<Vec<String>, DnsError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(domain).cloned();
        if let Some((asked, hosts)) = &known
            && asked.elapsed() < FRESH
        {
            return Ok(hosts.clone());
        }
        let asked = match tokio::time::timeout(LIMIT, self.ask(domain)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
        };
        match (asked, known) {
            (Ok(hosts), _) => {
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(domain.clone(), (Instant::now(), hosts.clone()));
                Ok(hosts)
            }
            (Err(_), Some((_, hosts))) => Ok(hosts),
            (Err(reason), None) => Err(DnsError { records: "MX", domain: domain.clone(), reason }),
        }
    }

    /// The servers for a service, as in `_imaps._tcp` (RFC 6186), the first choice first; none if the domain says nothing, or that it has
    /// none. Not remembered: people ask.
    pub async fn srv(&self, service: &str, domain: &Domain) -> Result<Vec<ServiceHost>, DnsError> {
        let asked = match tokio::time::timeout(LIMIT, self.ask_srv(service, domain)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
        };
        asked.map_err(|reason| DnsError { records: "SRV", domain: domain.clone(), reason })
    }

    /// The addresses of a host, as the configured name servers know it, else as the system does; none if there is no such name.
    pub async fn addresses(&self, host: &Domain) -> Result<Vec<IpAddr>, DnsError> {
        let asked = match tokio::time::timeout(LIMIT, self.ask_addresses(host)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
        };
        asked.map_err(|reason| DnsError { records: "address", domain: host.clone(), reason })
    }

    async fn ask_addresses(&self, host: &Domain) -> Result<Vec<IpAddr>, String> {
        let resolver = self.resolver().map_err(|error| error.to_string())?;
        match resolver.lookup_ip(format!("{}.", host.as_ascii())).await {
            Ok(lookup) => Ok(lookup.iter().take(ADDRESSES_MAX).collect()),
            Err(error) if error.is_no_records_found() || error.is_nx_domain() => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn ask_srv(&self, service: &str, domain: &Domain) -> Result<Vec<ServiceHost>, String> {
        let resolver = self.resolver().map_err(|error| error.to_string())?;
        let lookup = match resolver.srv_lookup(format!("{service}.{}.", domain.as_ascii())).await {
            Ok(lookup) => lookup,
            Err(error) if error.is_no_records_found() || error.is_nx_domain() => return Ok(Vec::new()),
            Err(error) => return Err(error.to_string()),
        };
        let mut hosts: Vec<(u16, std::cmp::Reverse<u16>, ServiceHost)> = lookup
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => {
                    let host = srv.target.to_ascii().trim_end_matches('.').to_ascii_lowercase();
                    Some((srv.priority, std::cmp::Reverse(srv.weight), ServiceHost { host, port: srv.port }))
                }
                _ => None,
            })
            // "." says that there is no such service (RFC 2782).
            .filter(|(.., server)| !server.host.is_empty())
            .collect();
        hosts.sort_by(|a, b| (a.0, a.1, &a.2.host).cmp(&(b.0, b.1, &b.2.host)));
        hosts.truncate(SRV_MAX);
        Ok(hosts.into_iter().map(|(.., server)| server).collect())
    }

    async fn ask(&self, domain: &Domain) -> Result<Vec<String>, String> {
        let resolver = self.resolver().map_err(|error| error.to_string())?;
        // With a dot at its end a name is complete: the system's search list is for people at a keyboard.
        let lookup = match resolver.mx_lookup(format!("{}.", domain.as_ascii())).await {
            Ok(lookup) => lookup,
            Err(error) if error.is_no_records_found() || error.is_nx_domain() => return Ok(vec![domain.as_ascii().to_owned()]),
            Err(error) => return Err(error.to_string()),
        };
        let mut hosts: Vec<(u16, String)> = lookup
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::MX(mx) => Some((mx.preference, mx.exchange.to_ascii().trim_end_matches('.').to_ascii_lowercase())),
                _ => None,
            })
            // "MX 0 ." says that the domain takes no mail (RFC 7505).
            .filter(|(_, host)| !host.is_empty())
            .collect();
        hosts.sort();
        hosts.truncate(MX_MAX);
        Ok(hosts.into_iter().map(|(_, host)| host).collect())
    }

    /// Made for each look-up: resolv.conf may have changed, and look-ups are minutes apart.
    fn resolver(&self) -> Result<TokioResolver, NetError> {
        let mut builder = match self.servers.is_empty() {
            true => TokioResolver::builder_tokio()?,
            false => {
                let servers = self.servers.iter().map(|server| {
                    let connections = [ProtocolConfig::Udp, ProtocolConfig::Tcp].map(|protocol| {
                        let mut connection = ConnectionConfig::new(protocol);
                        connection.port = server.port();
                        connection
                    });
                    NameServerConfig::new(server.ip(), true, connections.into())
                });
                let config = ResolverConfig::from_name_servers(servers.collect());
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(ResolverOpts::default())
            }
        };
        builder.options_mut().timeout = TRY_LIMIT;
        builder.build()
    }
}
