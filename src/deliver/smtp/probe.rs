//! Asks a server whether it knows a recipient, and sends nothing: MAIL, RCPT, RSET.

use super::SmtpDestination;
use super::connection::{Connection, failed};
use super::failover::{Round, Standing};
use super::pool::Pool;
use crate::mail::{Address, Diagnosis, Reply, ReversePath, Stage};
use crate::proto::smtp::command::{self, MailParameters};
use crate::proto::smtp::{Verdict, is_unknown_recipient, verdict};
use std::sync::Arc;

/// What a server says about a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::deliver) enum Probed {
    /// It would take it.
    Known,
    /// There is no such mailbox, or none that it can be named to.
    Unknown(String),
    /// Anything else.
    CannotSay(String),
}

impl SmtpDestination {
    /// Asks the first server that works. No sender is given, as that is who asks (RFC 5321 §4.5.5), and no message is sent.
    pub(in crate::deliver) async fn probe(&self, address: &Address) -> Probed {
        let mut round = Round::new(&self.pools);
        let mut failure = None;
        while let Some(turn) = round.next().await {
            let pool = turn.pool;
            let (probed, standing) = run(pool, address).await;
            match turn.end(standing) {
                None => return probed,
                Some(diagnosis) => failure = Some(round.add(pool, diagnosis)),
            }
        }
        Probed::CannotSay(failure.unwrap_or_else(|| round.nobody()).to_string())
    }
}

/// One probe over a connection of the pool.
async fn run(pool: &Arc<Pool>, address: &Address) -> (Probed, Standing) {
    let mut fresh = false;
    loop {
        let opened = if fresh { pool.fresh(None).await } else { pool.connection(None).await };
        let mut connection = match opened {
            Ok(connection) => connection,
            Err(none) => {
                let said = Probed::CannotSay(none.diagnosis.to_string());
                return (said, Standing::failure(none.diagnosis, none.remembered));
            }
        };
        let smtputf8 = connection.extensions.smtputf8 && pool.relay.smtputf8;
        if address.needs_smtputf8() && !smtputf8 {
            Pool::put_back(pool, connection);
            return (Probed::Unknown("the server does not offer SMTPUTF8, which the address needs".to_owned()), Standing::Works { took: false });
        }
        let reused = connection.messages > 0;
        connection.messages += 1;
        match ask(&mut connection, address, pool.suppress_dsn).await {
            Ok(probed) => {
                if let Some(connection) = pool.keep(connection) {
                    Pool::put_back(pool, connection);
                }
                return (probed, Standing::Works { took: false });
            }
            // The server had closed a resting connection.
            Err(_) if reused && !fresh => fresh = true,
            Err(diagnosis) => return (Probed::CannotSay(diagnosis.to_string()), Standing::Failed(diagnosis)),
        }
    }
}

/// An error ends the connection.
async fn ask(connection: &mut Connection, address: &Address, suppress_dsn: bool) -> Result<Probed, Diagnosis> {
    if !connection.clean {
        reset(connection).await?;
    }
    let notify_never = suppress_dsn && connection.extensions.dsn;
    let smtputf8 = address.needs_smtputf8();
    let parameters =
        MailParameters { eight_bit: smtputf8 && connection.extensions.eight_bit_mime, smtputf8, return_headers: notify_never, size: None };
    let mail = answer(connection, &command::mail_from(&ReversePath::Null, parameters), Stage::MailFrom).await?;
    connection.clean = false;
    let probed = if mail.code / 100 == 2 {
        let reply = answer(connection, &command::rcpt_to(address, notify_never), Stage::RcptTo).await?;
        match reply.code / 100 {
            2 => Probed::Known,
            _ if is_unknown_recipient(&reply) => Probed::Unknown(reply.to_string()),
            _ => Probed::CannotSay(reply.to_string()),
        }
    } else {
        Probed::CannotSay(format!("mail from: {mail}"))
    };
    reset(connection).await?;
    Ok(probed)
}

async fn reset(connection: &mut Connection) -> Result<(), Diagnosis> {
    let reply = answer(connection, command::RSET, Stage::MailFrom).await?;
    if reply.code / 100 != 2 {
        return Err(Diagnosis { reply: Some(reply), ..failed(Stage::MailFrom, "RSET was refused") });
    }
    connection.clean = true;
    Ok(())
}

/// A reply that says something about the recipient or the sender; the others (421, a reply that has no place here) are the server's failure.
async fn answer(connection: &mut Connection, line: &[u8], stage: Stage) -> Result<Reply, Diagnosis> {
    let reply = connection.ask(line, connection.limits.command).await.map_err(|broken| failed(stage, broken))?.reply;
    match verdict(connection.protocol, stage, &reply) {
        Verdict::Unexpected => Err(Diagnosis { reply: Some(reply), ..failed(stage, "unexpected reply") }),
        _ if reply.code == 421 => Err(Diagnosis { reply: Some(reply), ..failed(stage, "") }),
        _ => Ok(reply),
    }
}
